"""What ``import wsiproc`` offers: the same as the command line, from Python."""

from __future__ import annotations

import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wsiproc import pipeline
from wsiproc.card import Card, MaskPost, NucleusClass
from wsiproc.cluster import Done, Failed, run_slides
from wsiproc.config import Execution, RunConfig, Science
from wsiproc.errors import ConfigError, StoreError
from wsiproc.geometry import Frame
from wsiproc.nuclei import Nuclei
from wsiproc.plan import Job
from wsiproc.progress import Listener, unheard
from wsiproc.slide import fingerprint, open_slide
from wsiproc.slide._drawn import BAND_PX, Drawing, draw_slide, true_nuclei
from wsiproc.store.manifest import read_manifest
from wsiproc.store.schema import Provenance
from wsiproc.store.tables import write_nuclei
from wsiproc.workbench import Workbench

if TYPE_CHECKING:
    from geopandas import GeoDataFrame

__all__ = ["DrawnSample", "Result", "draw_sample", "open_slide", "preview", "read_nuclei", "run"]

IN_PROCESS = RunConfig(execution=Execution(workers=0))
"""From Python a run works in the caller's process, unless it asks for workers: new processes
would import the caller's script once more."""


@dataclass(frozen=True, slots=True)
class Result:
    """A finished slide.

    Parameters
    ----------
    folder
        Where its files are.
    slide_id
        What they call the slide.
    summary
        Counts, densities, seconds, device and seam audit, as ``--json`` prints them.
    """

    folder: Path
    slide_id: str
    summary: dict[str, Any]

    def nuclei(self) -> GeoDataFrame:
        """The nuclei, see `read_nuclei`."""
        return read_nuclei(self.folder)


def run(
    slide: str | Path,
    model: str = "unet",
    out: str | Path = "wsiproc-out",
    *,
    mpp: float | None = None,
    settings: RunConfig = IN_PROCESS,
    card: Path | None = None,
    slide_id: str | None = None,
    replace: bool = False,
    listen: Listener = unheard,
) -> Result:
    """Find every nucleus of a slide and publish them at ``out/SLIDE_ID/``.

    A run that was stopped goes on where it stopped; a finished one is not done again.

    Parameters
    ----------
    slide
        The slide's file.
    model
        Name of a registered model, or path of an ONNX file.
    out
        Folder of results, made if need be.
    mpp
        µm per level-0 px, where the slide does not say; short for ``settings.science.mpp``.
    settings
        Everything else.  To use worker processes, give ``Execution(workers=n)`` and call from
        under ``if __name__ == "__main__":``.
    card
        Card (TOML) of an ONNX file that has none.
    slide_id
        What results call the slide; by default the stem of its file name.
    replace
        Replace a result made with other settings.
    listen
        Is told what happens.

    Raises
    ------
    WsiprocError
        See `wsiproc.errors`.
    """
    if mpp is not None:
        science = Science.model_validate(settings.science.model_dump() | {"mpp": mpp})
        settings = RunConfig(science=science, execution=settings.execution)
    out = Path(out)
    job = _job(Path(slide), model, out, settings, card, slide_id, replace=replace)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"the output folder cannot be made: {error.strerror}") from None
    for outcome in run_slides([job], settings.execution, listen):
        match outcome:
            case Failed():
                raise outcome.error
            case Done():
                return Result(out / job.slide_id, job.slide_id, outcome.finished.summary)
    raise AssertionError("a job has an outcome")


def preview(
    slide: str | Path,
    model: str = "unet",
    *,
    settings: RunConfig = IN_PROCESS,
    card: Path | None = None,
) -> dict[str, Any]:
    """What `run` would do: tissue, tiles, windows, device; writes nothing."""
    bench = Workbench()
    try:
        return pipeline.preview(_job(Path(slide), model, Path(), settings, card, None), bench)
    finally:
        bench.close()


def _job(
    slide: Path,
    model: str,
    out: Path,
    settings: RunConfig,
    card: Path | None,
    slide_id: str | None,
    *,
    replace: bool = False,
) -> Job:
    """Paths are made absolute, since workers may live in another folder."""
    return Job(
        slide=slide.absolute(),
        slide_id=named(slide) if slide_id is None else checked_id(slide_id),
        model=str(Path(model).absolute()) if model.endswith(".onnx") else model,
        out=out.absolute(),
        card=card.absolute() if card is not None else None,
        science=settings.science,
        execution=settings.execution,
        replace=replace,
    )


def named(slide: Path) -> str:
    """The default id of a slide: its file's stem, made safe for paths and keys."""
    stem = slide.name.removesuffix("".join(slide.suffixes[-2:] if ".ome" in slide.suffixes else []))
    stem = stem if stem != slide.name else slide.stem
    safe = re.sub(r"[^A-Za-z0-9._-]+", "_", stem).strip("._-")[:100]
    return safe or "slide"


def checked_id(slide_id: str) -> str:
    """`slide_id` if it can be a folder's name and part of a task's key.

    Raises
    ------
    ConfigError
        If it cannot.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", slide_id):
        raise ConfigError(
            "a slide id has 1 to 100 letters, digits, '.', '_' or '-', and begins with a letter "
            "or digit"
        )
    return slide_id


@dataclass(frozen=True, slots=True)
class DrawnSample:
    """A drawn slide, the GeoParquet of its true outlines, and how many those are."""

    slide: Path
    truth: Path
    nuclei: int


@dataclass(frozen=True, slots=True)
class _Band:
    """The true nuclei of some rows of a drawing."""

    drawing: Drawing
    y0: int
    y1: int

    def load(self) -> Nuclei:
        return true_nuclei(self.drawing, self.y0, self.y1)


def draw_sample(
    out: str | Path, *, width: int, height: int, seed: int = 0, mpp: float = 0.25
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
    path = Path(out)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        drawn = draw_slide(path, width=width, height=height, seed=seed, mpp=mpp)
    except OSError as error:
        raise StoreError(f"the slide cannot be written: {error.strerror}") from None
    drawing = drawn.drawing
    frame = Frame.covering((width, height), (mpp, mpp), (1.0, 1.0))
    card = Card(
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
    provenance = Provenance(
        slide_id=named(path),
        slide_sha256=fingerprint(path),
        level0_size=(width, height),
        mpp_source="file",
        bounds_offset=(0, 0),
        model_sha256="",
        params_sha256="",
    )
    bands = [_Band(drawing, y, min(y + BAND_PX, height)) for y in range(0, height, BAND_PX)]
    truth = path.with_name(f"{path.name}.nuclei.parquet")
    with tempfile.TemporaryDirectory(dir=path.parent) as scratch:
        written = write_nuclei(Path(scratch), bands, frame=frame, card=card, provenance=provenance)
        (Path(scratch) / "nuclei.parquet").replace(truth)
    return DrawnSample(path, truth, written.nuclei)


def read_nuclei(result: str | Path) -> GeoDataFrame:
    """The nuclei of a published result, one row each; geometry in µm (x right, y down).

    Outlines where the model gives them, centroids otherwise.

    Raises
    ------
    StoreError
        If `result` is no published result.
    """
    import geopandas

    folder = Path(result)
    files = read_manifest(folder).files
    name = "nuclei.parquet" if "nuclei.parquet" in files else "centroids.parquet"
    return geopandas.read_parquet(folder / name)
