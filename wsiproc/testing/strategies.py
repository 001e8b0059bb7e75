"""Hypothesis strategies for wsiproc's own values; needs hypothesis, so for tests only."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from wsiproc.card import Card, MaskPost, NucleusClass, PointsPost
from wsiproc.geometry import Box, Frame
from wsiproc.nuclei import Nuclei
from wsiproc.tiling import Grid, make_grid


def a_card(*, polygons: bool = True, local: bool = True, step: int = 8, margin: int = 16) -> Card:
    """A card of one class at .5 µm per px, whose largest nucleus is 40 px."""
    post = (
        MaskPost(threshold=0.5, chosen_on="tests")
        if polygons
        else PointsPost(threshold=0.5, radius_um=3.0, chosen_on="tests")
    )
    return Card(
        name="drawn",
        method="foreign",
        kind=post.kind,
        mpp=0.5,
        step=step,
        windows=(16 * max(step, 16),),
        margin=margin,
        largest_nucleus_um=20.0,
        classes=(NucleusClass(name="nucleus", color=(255, 0, 0)),),
        post=post,
        local=local,
    )


def frame_of(width: int, height: int, mpp: float = 0.5) -> Frame:
    """A slide whose level-0 px are the model's px."""
    return Frame(mpp, mpp, 1.0, 1.0, width, height)


@st.composite
def boxes(draw: st.DrawFn, low: int = -200, high: int = 200, least: int = 0) -> Box:
    """Boxes with corners in [low, high] and edges of at least `least`."""
    x0, y0 = draw(st.integers(low, high - least)), draw(st.integers(low, high - least))
    return Box(x0, y0, draw(st.integers(x0 + least, high)), draw(st.integers(y0 + least, high)))


@st.composite
def frames(draw: st.DrawFn) -> Frame:
    """Frames of slides of up to 5000 x 5000 level-0 px, of any sensible mpp and scale."""
    size = (draw(st.integers(1, 5000)), draw(st.integers(1, 5000)))
    mpp = draw(st.floats(0.05, 5.0))
    scale = draw(st.sampled_from([1.0, 2.0, 4.0]) | st.floats(0.5, 8.0))
    return Frame.covering(size, (mpp, mpp * draw(st.floats(0.98, 1.02))), (scale, scale))


@st.composite
def cards(draw: st.DrawFn) -> Card:
    """Cards of every step, margin and locality that windows of 256 px and more leave room for."""
    step = draw(st.sampled_from([1, 2, 8, 16, 32]))
    margin = draw(st.integers(0, 96 // step)) * step
    return a_card(polygons=draw(st.booleans()), local=draw(st.booleans()), step=step, margin=margin)


@st.composite
def grids(draw: st.DrawFn, largest: int = 900) -> Grid:
    """Grids over slides of up to `largest` px, with a few tiles or one."""
    return make_grid(
        frame_of(draw(st.integers(1, largest)), draw(st.integers(1, largest))),
        draw(cards()),
        window=draw(st.sampled_from([256, 320, 512])),
        reach_px=draw(st.integers(0, 60)),
        handover_px=draw(st.none() | st.integers(0, 20)),
        tile_px=draw(st.integers(1, 500)),
    )


@st.composite
def label_maps(draw: st.DrawFn, edge: int = 24, most: int = 6) -> NDArray[np.int32]:
    """``[edge, edge]`` int32 maps of up to `most` discs that may hide one another."""
    labels = np.zeros((edge, edge), np.int32)
    rows, columns = np.mgrid[:edge, :edge]
    for label in range(1, draw(st.integers(0, most)) + 1):
        x, y = draw(st.integers(0, edge - 1)), draw(st.integers(0, edge - 1))
        radius = draw(st.integers(1, 5))
        labels[(columns - x) ** 2 + (rows - y) ** 2 <= radius**2] = label
    return labels


@st.composite
def nuclei(draw: st.DrawFn, *, polygons: bool | None = None, most: int = 8) -> Nuclei:
    """Up to `most` nuclei with distinct reference pixels, outlined by octagons or not at all."""
    outlined = draw(st.booleans()) if polygons is None else polygons
    places = draw(
        st.lists(st.tuples(st.integers(0, 5000), st.integers(0, 5000)), max_size=most, unique=True)
    )
    if not places:
        return Nuclei.none(polygons=outlined)
    n = len(places)
    eighths = st.integers(0, 8).map(lambda k: k / 8)
    radius = np.array(draw(st.lists(st.integers(3, 12), min_size=n, max_size=n)), np.float64)
    ref = np.array(places, np.int64)
    x = ref[:, 0].astype(np.float64) + 0.5
    y: NDArray[np.float64] = ref[:, 1] + radius
    angle = np.arange(8) * (np.pi / 4)
    ring = np.stack(
        [
            x[:, None] + radius[:, None] * np.cos(angle),
            y[:, None] + radius[:, None] * np.sin(angle),
        ],
        axis=-1,
    ).reshape(-1, 2)
    return Nuclei(
        ref_x=ref[:, 0],
        ref_y=ref[:, 1],
        x=x,
        y=y,
        class_id=np.array(draw(st.lists(st.integers(0, 3), min_size=n, max_size=n)), np.int16),
        score=np.array(draw(st.lists(eighths, min_size=n, max_size=n)), np.float32),
        cut=np.array(draw(st.lists(st.booleans(), min_size=n, max_size=n)), np.bool_),
        ring=ring if outlined else None,
        ring_start=np.arange(0, 8 * n + 1, 8, dtype=np.int64) if outlined else None,
    )
