"""Masks that are drawn from a patch's nuclei."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from wsiproc.slide._drawn import draw_image
from wsiproc_label_efficient.config import SynthesisConfig
from wsiproc_label_efficient.masks import (
    Stock,
    draw_mask,
    draw_masks,
    stock,
    turned,
)

CONFIG = SynthesisConfig(per_patch=3)


def disc(radius: int) -> np.ndarray:
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    return y**2 + x**2 <= radius**2


@given(st.integers(0, 10_000))
@settings(max_examples=10, deadline=None)
def test_no_nucleus_covers_another(seed: int) -> None:
    """Discs stay discs however they are turned, so one that is partly covered would be too small,
    and one that is cut by the edge alone is not."""
    nuclei = Stock((disc(4), disc(6)), 1 / 150)
    labels = draw_mask(nuclei, (96, 80), CONFIG, np.random.default_rng(seed))
    for number, box in enumerate(ndimage.find_objects(labels), 1):
        rows, columns = box
        if rows.start and columns.start and rows.stop < 96 and columns.stop < 80:
            radius = (rows.stop - rows.start) / 2
            area = (labels[box] == number).sum()
            assert area >= 0.85 * min(disc(4).sum(), np.pi * radius**2)


@given(st.integers(0, 10_000), st.integers(0, 3))
@settings(max_examples=12, deadline=None)
def test_nuclei_are_numbered_and_each_in_one_piece(seed: int, patch: int) -> None:
    _, truth = draw_image(96, 96, seed=patch, mpp=0.5)
    pieces = stock(truth)
    labels = draw_mask(pieces, (96, 96), CONFIG, np.random.default_rng(seed))
    assert labels.shape == (96, 96)
    assert set(np.unique(labels)) == set(range(labels.max() + 1))
    largest = max(shape.sum() for shape in pieces.shapes)
    assert np.bincount(labels.ravel())[1:].max(initial=0) <= 1.25 * largest


@given(st.integers(0, 10_000), st.floats(0.2, 0.6))
@settings(max_examples=8, deadline=None)
def test_nuclei_are_as_much_denser_as_was_asked_where_there_is_room(
    seed: int, denser: float
) -> None:
    config = SynthesisConfig(denser=(denser, denser), margin_um=0)
    nuclei = Stock((disc(2), disc(3)), 40 / 200**2)
    labels = draw_mask(nuclei, (200, 200), config, np.random.default_rng(seed))
    assert labels.max() == round(40 * (1 + denser))


def test_a_field_too_small_for_all_is_filled_and_no_more() -> None:
    labels = draw_mask(Stock((disc(9),), 1.0), (40, 40), CONFIG, np.random.default_rng(0))
    assert 1 <= labels.max() < 40


def test_nuclei_at_edges_are_cut_as_in_a_real_patch() -> None:
    nuclei = Stock((disc(6),), 1 / 200)
    masks = [draw_mask(nuclei, (96, 96), CONFIG, np.random.default_rng(i)) for i in range(5)]
    assert any((np.bincount(m.ravel())[1:] < 0.6 * disc(6).sum()).any() for m in masks)


@given(st.integers(0, 10_000))
@settings(deadline=None, max_examples=40)
def test_a_turned_nucleus_keeps_its_area(seed: int) -> None:
    shape = np.ones((9, 21), bool)
    area = turned(shape, np.random.default_rng(seed)).sum()
    assert abs(area - shape.sum()) < 0.1 * shape.sum()


def test_stock_leaves_out_what_the_edge_cuts_but_counts_it() -> None:
    labels = np.zeros((40, 40), np.int32)
    labels[10:20, 10:20] = 5
    labels[30:40, 0:10] = 9
    found = stock(labels)
    assert [shape.shape for shape in found.shapes] == [(10, 10)]
    assert found.per_px == 2 / 1600


def test_a_patch_without_nuclei_gives_empty_masks() -> None:
    nuclei = stock(np.zeros((30, 30), np.int32))
    assert not any(mask.any() for mask in draw_masks(nuclei, (30, 30), CONFIG, (0, 1)))


def test_masks_follow_the_seed_and_differ() -> None:
    nuclei = Stock((disc(4),), 1 / 300)
    first, again = (draw_masks(nuclei, (64, 64), CONFIG, (3, 1)) for _ in range(2))
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a, b)
    assert not np.array_equal(first[0], first[1])
