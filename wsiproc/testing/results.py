"""Results with drawn nuclei, published through the store's own writers: quick, and any number.

::

    result = drawn_result(tmp_path / "S-1", nuclei=5000, classes=("tumour", "lymphocyte"))
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from wsiproc.card import Card, MaskPost, NucleusClass, PointsPost
from wsiproc.config import Science
from wsiproc.density import DensityGrid
from wsiproc.geometry import Frame
from wsiproc.nuclei import Nuclei
from wsiproc.overview import draw_overview
from wsiproc.results.stored import StoredResult
from wsiproc.slide import Thumbnail
from wsiproc.store.manifest import (
    Manifest,
    ModelRecord,
    SlideRecord,
    job_key,
    params_digest,
)
from wsiproc.store.schema import Provenance
from wsiproc.store.staging import publish, staging
from wsiproc.store.tables import write_nuclei, write_tissue
from wsiproc.tissue import Region

MPP: Final = 0.25
"""µm per level-0 px; the model works at twice that."""
_SCALE: Final = 2.0
_CELL: Final = 28
"""Edge of a nucleus' own square, model px: 14 µm.  None reaches out of it, so none overlap."""
_BLOCK: Final = 64
"""Squares on the edge of the blocks that are drawn, and loaded, at once."""
_VERTICES: Final = 24
_TAKEN: Final = 0.8
"""Share of the tissue's squares that hold a nucleus."""
_COLOURS: Final = (
    (204, 51, 63),
    (59, 107, 208),
    (237, 173, 38),
    (46, 143, 92),
    (139, 84, 179),
    (110, 110, 118),
)
_BLOBS: Final = ((0.34, 0.36, 0.28, 0.26), (0.62, 0.58, 0.30, 0.27), (0.22, 0.80, 0.15, 0.11))
"""Centres and semi-axes of the pieces of tissue, as shares of the slide's edge."""


@dataclass(frozen=True, slots=True, eq=False)
class _Drawing:
    """Which squares hold a nucleus, and how it is drawn."""

    taken: NDArray[np.bool_]
    """``[s, s]``."""
    classes: int
    seed: int
    polygons: bool


@dataclass(frozen=True, slots=True)
class _Block:
    """A block of squares, drawn anew each time it is loaded."""

    drawing: _Drawing
    row: int
    column: int

    def load(self) -> Nuclei:
        return _drawn(self.drawing, self.row, self.column)


def drawn_result(
    folder: Path,
    *,
    nuclei: int,
    classes: Sequence[str] = ("nucleus",),
    seed: int = 0,
    polygons: bool = True,
    replace: bool = False,
) -> StoredResult:
    """Publish a result of drawn nuclei at `folder`, whose name is the slide's id.

    Ellipses with uneven rims, 4 to 12 µm long, in three pieces of tissue; none overlap.  With
    several classes each has its own nests.  The same arguments give the same bytes; a million
    take about a minute.

    Parameters
    ----------
    folder
        Where the result will be; its parent is made if need be.
    nuclei
        How many, exactly.
    classes
        Names of the classes.
    seed
        Another seed draws other nuclei on a slide of the same size.
    polygons
        Outlines, or centroids alone.
    replace
        Replace what is there.

    Raises
    ------
    StoreError
        If something else is there, or it cannot be written.
    """
    squares = _edge(nuclei)
    size = int(squares * _CELL * _SCALE)
    frame = Frame.covering((size, size), (MPP, MPP), (_SCALE, _SCALE))
    card, science = _card(classes, polygons), Science()
    drawing = _Drawing(_chosen(squares, nuclei, seed), len(classes), seed, polygons)
    steps = range(math.ceil(squares / _BLOCK))
    blocks = [_Block(drawing, row, column) for row in steps for column in steps]
    provenance = Provenance(
        slide_id=folder.name,
        slide_sha256=_hex("slide", squares),
        level0_size=(size, size),
        mpp_source="file",
        bounds_offset=(0, 0),
        model_sha256=_hex("model", nuclei, tuple(classes), seed, polygons),
        params_sha256=params_digest(science),
    )
    region = Region(_tissue_mask(squares), _CELL * _SCALE, _CELL * _SCALE, size, size)
    tissue = region.polygons_um(frame)
    density = DensityGrid.over(size * MPP, size * MPP)
    with staging(folder.parent, folder.name) as stage:
        written = write_nuclei(
            stage,
            blocks,
            frame=frame,
            card=card,
            provenance=provenance,
            heard=lambda x, y, _class: density.add(x, y),
        )
        write_tissue(stage, tissue, frame=frame, card=card, provenance=provenance)
        picture = draw_overview(_picture(region, density), region, density, frame, folder.name)
        (stage / "overview.png").write_bytes(picture)
        area = sum(shape.area for shape in tissue) / 1e6
        manifest = Manifest(
            slide_id=folder.name,
            job_key=job_key(provenance.slide_sha256, provenance.model_sha256, science, "drawn"),
            slide=SlideRecord(
                sha256=provenance.slide_sha256,
                width=size,
                height=size,
                mpp=(MPP, MPP),
                mpp_source="file",
                vendor="drawn",
                objective=40.0,
            ),
            model=ModelRecord(
                name=card.name,
                version=card.version,
                sha256=provenance.model_sha256,
                card=card.model_dump(mode="json"),
            ),
            um_to_px=(1 / MPP, 0.0, 0.0, 0.0, 1 / MPP, 0.0),
            science=science.model_dump(mode="json"),
            numerics="drawn",
            nuclei=written.nuclei,
            classes={c.name: n for c, n in zip(card.classes, written.by_class, strict=True)},
            audit={
                "tissue_mm2": round(area, 6),
                "nuclei_per_mm2": round(written.nuclei / area, 3) if area else None,
                "outlines_repaired": written.repaired,
                "outlines_collapsed": written.collapsed,
            },
            finished="2026-01-01T00:00:00+00:00",
        )
        published = publish(stage, manifest, folder.parent, replace=replace)
    return StoredResult(published.folder, published.manifest)


def _edge(nuclei: int) -> int:
    """Squares along the edge of a slide whose tissue has room for so many."""
    edge = max(8, math.isqrt(round(nuclei / 0.35 / _TAKEN)))
    while np.count_nonzero(_tissue_mask(edge)) * _TAKEN < nuclei:
        edge += max(1, edge // 50)
    return edge


def _tissue_mask(squares: int) -> NDArray[np.bool_]:
    """Which squares of a slide are tissue."""
    at = (np.arange(squares) + 0.5) / squares
    mask = np.zeros((squares, squares), np.bool_)
    for x, y, a, b in _BLOBS:
        mask |= ((at[None, :] - x) / a) ** 2 + ((at[:, None] - y) / b) ** 2 <= 1
    return mask


def _chosen(squares: int, nuclei: int, seed: int) -> NDArray[np.bool_]:
    """Squares that hold a nucleus: all in tissue, drawn without regard to each other."""
    room = np.flatnonzero(_tissue_mask(squares))
    taken = np.zeros(squares * squares, np.bool_)
    taken[np.random.default_rng((seed, 0)).choice(room, nuclei, replace=False)] = True
    return taken.reshape(squares, squares)


def _drawn(drawing: _Drawing, row: int, column: int) -> Nuclei:
    """The nuclei of one block."""
    part = drawing.taken[row * _BLOCK : (row + 1) * _BLOCK, column * _BLOCK : (column + 1) * _BLOCK]
    at_row, at_column = np.nonzero(part)
    n = len(at_row)
    if not n:
        return Nuclei.none(polygons=drawing.polygons)
    rng = np.random.default_rng((drawing.seed, 1, row, column))
    left = (column * _BLOCK + at_column) * float(_CELL)
    top = (row * _BLOCK + at_row) * float(_CELL)
    class_id = _nested(rng, left, top, drawing.classes)
    # Each class has its size; model px of .5 µm.
    long = np.clip(rng.normal(8.5 - 1.2 * (class_id % 3), 1.2), 4.0, 11.5)
    short = long * rng.uniform(0.6, 1.0, n)
    slack = _CELL / 2 - 1 - long
    x = left + _CELL / 2 + rng.uniform(-1, 1, n) * slack
    y = top + _CELL / 2 + rng.uniform(-1, 1, n) * slack
    turn, phase = rng.uniform(0, np.pi, n), rng.uniform(0, 2 * np.pi, n)
    angle = np.arange(_VERTICES) * (2 * np.pi / _VERTICES)
    # Its rim is uneven: never by so much that the outline turns back on itself.
    uneven = 1 - 0.06 * (1 + np.cos(3 * angle + phase[:, None]))
    u, v = long[:, None] * np.cos(angle) * uneven, short[:, None] * np.sin(angle) * uneven
    cos, sin = np.cos(turn)[:, None], np.sin(turn)[:, None]
    ring_x, ring_y = x[:, None] + cos * u - sin * v, y[:, None] + sin * u + cos * v
    highest = ring_y.argmin(axis=1)
    outlined = drawing.polygons
    return Nuclei(
        ref_x=np.floor(ring_x[np.arange(n), highest]).astype(np.int64),
        ref_y=np.floor(ring_y[np.arange(n), highest]).astype(np.int64),
        x=x,
        y=y,
        class_id=class_id.astype(np.int16),
        score=rng.beta(8, 2, n).astype(np.float32),
        cut=np.zeros(n, np.bool_),
        ring=np.stack([ring_x, ring_y], axis=-1).reshape(-1, 2) if outlined else None,
        ring_start=_VERTICES * np.arange(n + 1, dtype=np.int64) if outlined else None,
    )


def _nested(
    rng: np.random.Generator,
    x: NDArray[np.floating],
    y: NDArray[np.floating],
    classes: int,
) -> NDArray[np.int64]:
    """A class for each place (model px): waves of some 400 µm, each class on its own crests."""
    number = np.arange(classes)
    wave = np.sin(x[:, None] / (120 + 17 * number) + number) + np.sin(
        y[:, None] / (140 + 11 * number) - 2 * number
    )
    return np.asarray((wave + rng.gumbel(0, 0.35, wave.shape)).argmax(axis=1), np.int64)


def _picture(region: Region, density: DensityGrid) -> Thumbnail:
    """A slide as it might look: pink where there is tissue, darker where there are nuclei."""
    counts = density.counts
    edge = min(512, max(counts.shape))
    at = np.minimum((np.arange(edge) + 0.5) / edge, 1)
    rows, columns = ((at * n).astype(np.intp) for n in counts.shape)
    many = counts[np.ix_(rows, columns)] / max(1, counts.max())
    x, y = np.meshgrid(at * region.width, at * region.height)
    inside = region.contains(np.column_stack([x.ravel(), y.ravel()])).reshape(edge, edge)
    pink, purple = np.array([236.0, 200.0, 214.0]), np.array([128.0, 82.0, 148.0])
    stained = pink + (purple - pink) * many[..., None]
    pixels = np.where(inside[..., None], stained, 244.0)
    return Thumbnail(np.rint(pixels).astype(np.uint8), region.width / edge, region.height / edge)


def _card(classes: Sequence[str], polygons: bool) -> Card:
    post = (
        MaskPost(threshold=0.5, chosen_on="drawn")
        if polygons
        else PointsPost(threshold=0.5, radius_um=3.0, chosen_on="drawn")
    )
    return Card(
        name="drawn",
        method="drawn",
        kind=post.kind,
        mpp=MPP * _SCALE,
        step=16,
        windows=(256,),
        margin=48,
        largest_nucleus_um=20.0,
        classes=tuple(
            NucleusClass(name=name, color=_COLOURS[i % len(_COLOURS)])
            for i, name in enumerate(classes)
        ),
        post=post,
        local=True,
        licence="CC0-1.0",
    )


def _hex(*what: object) -> str:
    return hashlib.sha256(repr(what).encode()).hexdigest()
