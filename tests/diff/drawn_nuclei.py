"""Results of the very nuclei that a test names."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from wsiproc.card import Card, MaskPost, NucleusClass, PointsPost
from wsiproc.config import Science
from wsiproc.density import DensityGrid
from wsiproc.geometry import Frame
from wsiproc.nuclei import Nuclei
from wsiproc.overview import draw_overview
from wsiproc.results.stored import StoredResult, open_result
from wsiproc.slide import Thumbnail
from wsiproc.store.manifest import Manifest, ModelRecord, SlideRecord, params_digest
from wsiproc.store.schema import Provenance
from wsiproc.store.staging import publish, staging
from wsiproc.store.tables import write_nuclei, write_tissue
from wsiproc.tissue import Region

SIZE, MPP = 20_000, 0.25
"""A slide of 5 mm: nine squares of the curve."""


@dataclass(frozen=True)
class Drawn:
    """A nucleus: a regular 16-gon, in µm."""

    x: float
    y: float
    radius: float = 4.0
    kind: str = "a"
    off: float = 0.0
    """How far to the right of its middle the stored centroid lies."""


@dataclass(frozen=True)
class _Whole:
    nuclei: Nuclei

    def load(self) -> Nuclei:
        return self.nuclei


Publish = Callable[..., StoredResult]


def publish_drawn(
    drawn: Sequence[Drawn],
    classes: Sequence[str],
    polygons: bool,
    slide: str,
    slide_id: str,
    model: str,
    mpp: float,
    out: Path,
) -> StoredResult:
    frame = Frame.covering((SIZE, SIZE), (mpp, mpp), (2.0, 2.0))
    post = (
        MaskPost(threshold=0.5, chosen_on="drawn")
        if polygons
        else PointsPost(threshold=0.5, radius_um=3.0, chosen_on="drawn")
    )
    card = Card(
        name=model,
        method="drawn",
        kind=post.kind,
        mpp=2 * mpp,
        step=16,
        windows=(256,),
        margin=48,
        largest_nucleus_um=20.0,
        classes=tuple(NucleusClass(name=name, color=(200, 40, 60)) for name in classes),
        post=post,
        local=True,
    )
    provenance = Provenance(slide_id, slide, (SIZE, SIZE), "file", (0, 0), "cd" * 32, "ef" * 32)
    region = _region()
    with staging(out, slide_id) as stage:
        written = write_nuclei(
            stage,
            [_Whole(_nuclei(drawn, list(classes), 2 * mpp, polygons))],
            frame=frame,
            card=card,
            provenance=provenance,
        )
        write_tissue(
            stage, region.polygons_um(frame), frame=frame, card=card, provenance=provenance
        )
        (stage / "overview.png").write_bytes(_overview(mpp))
        science = Science()
        manifest = Manifest(
            slide_id=slide_id,
            job_key=params_digest(science),
            slide=SlideRecord(
                sha256=slide, width=SIZE, height=SIZE, mpp=(mpp, mpp), mpp_source="file"
            ),
            model=ModelRecord(
                name=model, version="1", sha256="cd" * 32, card=card.model_dump(mode="json")
            ),
            um_to_px=(1 / mpp, 0.0, 0.0, 0.0, 1 / mpp, 0.0),
            science=science.model_dump(mode="json"),
            numerics="drawn",
            nuclei=written.nuclei,
            classes=dict(zip(classes, written.by_class, strict=True)),
            audit={"tissue_mm2": 24.5},
            finished="2026-01-01T00:00:00+00:00",
        )
        publish(stage, manifest, out, replace=False)
    return open_result(out / slide_id)


def _region() -> Region:
    """Tissue all over, but for a gap down the middle."""
    mask = np.ones((50, 50), np.bool_)
    mask[:, 25] = False
    return Region(mask, SIZE / 50, SIZE / 50, SIZE, SIZE)


@cache
def _overview(mpp: float) -> bytes:
    """Drawn once: what is in it is of no matter here."""
    white = Thumbnail(np.full((50, 50, 3), 240, np.uint8), SIZE / 50, SIZE / 50)
    frame = Frame.covering((SIZE, SIZE), (mpp, mpp), (2.0, 2.0))
    return draw_overview(white, _region(), DensityGrid.over(SIZE * mpp, SIZE * mpp), frame, "S")


def _nuclei(drawn: Sequence[Drawn], classes: list[str], px: float, polygons: bool) -> Nuclei:
    x, y, radius = (
        np.array([getattr(d, name) for d in drawn], np.float64) / px
        for name in ("x", "y", "radius")
    )
    angle = np.arange(16) * (2 * np.pi / 16)
    ring = np.stack(
        [
            x[:, None] + radius[:, None] * np.cos(angle),
            y[:, None] + radius[:, None] * np.sin(angle),
        ],
        axis=-1,
    )
    n = len(drawn)
    return Nuclei(
        ref_x=np.floor(x).astype(np.int64),
        ref_y=np.floor(y).astype(np.int64),
        x=x + np.array([d.off for d in drawn], np.float64) / px,
        y=y,
        class_id=np.array([classes.index(d.kind) for d in drawn], np.int16),
        score=np.full(n, 0.75, np.float32),
        cut=np.zeros(n, np.bool_),
        ring=ring.reshape(-1, 2) if polygons else None,
        ring_start=16 * np.arange(n + 1, dtype=np.int64) if polygons else None,
    )
