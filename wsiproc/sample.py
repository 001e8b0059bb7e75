"""A drawn slide with its true nuclei beside it: something to try a model on."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

from wsiproc.card import Card, MaskPost, NucleusClass
from wsiproc.errors import StoreError
from wsiproc.geometry import Frame
from wsiproc.slide import fingerprint
from wsiproc.slide._drawn import DrawnSlide, draw_slide
from wsiproc.slide.naming import named
from wsiproc.store.schema import Provenance
from wsiproc.store.tables import write_nuclei


@dataclass(frozen=True, slots=True)
class DrawnSample:
    """A drawn slide, the GeoParquet of its true outlines, and how many those are."""

    slide: Path
    truth: Path
    nuclei: int


def draw_sample(
    out: Path, *, width: int, height: int, seed: int = 0, mpp: float = 0.25
) -> DrawnSample:
    """Draw a slide of H&E-like tissue, and write its nuclei beside it as ``OUT.nuclei.parquet``.

    Parameters
    ----------
    out
        The TIFF to write.
    width, height
        Its size, px.
    seed
        Another seed draws another slide.
    mpp
        µm per px.

    Raises
    ------
    StoreError
        If it cannot be written.
    """
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        drawn = draw_slide(out, width=width, height=height, seed=seed, mpp=mpp)
    except OSError as error:
        raise StoreError(f"the slide cannot be written: {error.strerror}") from None
    truth = out.with_name(f"{out.name}.nuclei.parquet")
    with tempfile.TemporaryDirectory(dir=out.parent) as scratch:
        written = write_nuclei(
            Path(scratch),
            drawn.bands,
            frame=Frame.covering((width, height), (mpp, mpp), (1.0, 1.0)),
            card=_card(mpp),
            provenance=_provenance(drawn),
        )
        (Path(scratch) / "nuclei.parquet").replace(truth)
    return DrawnSample(out, truth, written.nuclei)


def _card(mpp: float) -> Card:
    """Of the model that would find just what was drawn."""
    return Card(
        name="drawn",
        method="drawn",
        kind="mask",
        mpp=mpp,
        step=1,
        windows=(1,),
        margin=0,
        largest_nucleus_um=30.0,
        classes=(NucleusClass(name="nucleus", color=(96, 48, 160)),),
        post=MaskPost(threshold=0.5, chosen_on="drawn"),
        local=True,
    )


def _provenance(drawn: DrawnSlide) -> Provenance:
    return Provenance(
        slide_id=named(drawn.path),
        slide_sha256=fingerprint(drawn.path),
        level0_size=(drawn.drawing.width, drawn.drawing.height),
        mpp_source="file",
        bounds_offset=(0, 0),
        model_sha256="",
        params_sha256="",
    )
