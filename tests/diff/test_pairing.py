"""Which nucleus is which: one to one, by rules that look around a nucleus and prefer neither."""

from __future__ import annotations

import numpy as np
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from wsiproc.diff.pairing import Pairs, Place, candidates, joined, settled

RADIUS = 3.0


def points(xy: NDArray[np.float64]) -> Place:
    return Place(np.arange(len(xy)), xy[:, 0].copy(), xy[:, 1].copy(), None)


def discs(xy: NDArray[np.float64], radius: NDArray[np.float64]) -> Place:
    outline = shapely.buffer(shapely.points(xy), radius, quad_segs=4)
    return Place(np.arange(len(xy)), xy[:, 0].copy(), xy[:, 1].copy(), outline)


def partners(pairs: Pairs) -> list[tuple[int, int]]:
    return list(zip(pairs.a.tolist(), pairs.b.tolist(), strict=True))


grid_points = st.lists(
    st.tuples(st.integers(0, 30), st.integers(0, 30)), min_size=0, max_size=25, unique=True
).map(lambda some: np.array(some, np.float64).reshape(-1, 2))
"""On a grid of 1 µm, so that ties are common."""


@settings(max_examples=80, deadline=None)
@given(grid_points, grid_points)
def test_of_points_pairs_are_one_to_one_and_none_that_could_be_is_left(
    one: NDArray[np.float64], other: NDArray[np.float64]
) -> None:
    pairs = settled(candidates(points(one), points(other), RADIUS), RADIUS)
    assert len(set(pairs.a.tolist())) == len(set(pairs.b.tolist())) == len(pairs)
    assert (pairs.distance <= RADIUS).all()
    free_a = np.delete(one, pairs.a, axis=0)
    free_b = np.delete(other, pairs.b, axis=0)
    apart = np.linalg.norm(free_a[:, None] - free_b[None], axis=2)
    assert (apart > RADIUS).all()


@settings(max_examples=80, deadline=None)
@given(grid_points, grid_points, st.integers(0, 2**32 - 1))
def test_neither_result_is_preferred_and_the_order_of_rows_says_nothing(
    one: NDArray[np.float64], other: NDArray[np.float64], seed: int
) -> None:
    pairs = partners(settled(candidates(points(one), points(other), RADIUS), RADIUS))
    turned = settled(candidates(points(other), points(one), RADIUS), RADIUS)
    assert sorted(pairs) == sorted((a, b) for b, a in partners(turned))
    found = candidates(points(one), points(other), RADIUS)
    order = np.random.default_rng(seed).permutation(len(found))
    assert partners(settled(found.take(order), RADIUS)) == pairs


@settings(max_examples=60, deadline=None)
@given(grid_points, grid_points)
def test_nobody_would_rather_have_another_who_would_rather_have_them(
    one: NDArray[np.float64], other: NDArray[np.float64]
) -> None:
    pairs = settled(candidates(points(one), points(other), RADIUS), RADIUS)
    mine = np.full(len(one), np.inf)
    theirs = np.full(len(other), np.inf)
    mine[pairs.a], theirs[pairs.b] = pairs.distance, pairs.distance
    apart = np.linalg.norm(one[:, None] - other[None], axis=2)
    both_rather = (apart < mine[:, None]) & (apart < theirs[None]) & (apart <= RADIUS)
    assert not both_rather.any()


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0.0, 6.0))
def test_outlines_that_share_more_than_half_are_pairs_whatever_else_is_near(
    seed: int, jitter: float
) -> None:
    rng = np.random.default_rng(seed)
    centres = np.stack(np.meshgrid(np.arange(4), np.arange(4)), -1).reshape(-1, 2) * 11.0
    one = discs(centres, rng.uniform(3, 5, 16))
    other = discs(centres + rng.normal(0, jitter, (16, 2)), rng.uniform(3, 5, 16))
    assert one.outline is not None
    assert other.outline is not None
    pairs = settled(candidates(one, other, RADIUS), RADIUS)
    common = shapely.area(shapely.intersection(one.outline[:, None], other.outline[None]))
    iou = common / (shapely.area(one.outline)[:, None] + shapely.area(other.outline)[None] - common)
    # A disc of B may lie on two of B's own here, unlike in a result: then the larger IoU counts.
    sure = np.argwhere((iou > 0.5) & (iou == iou.max(axis=0)) & (iou == iou.max(axis=1)[:, None]))
    assert {(int(a), int(b)) for a, b in sure} <= set(partners(pairs))
    np.testing.assert_allclose(pairs.iou, iou[pairs.a, pairs.b], atol=1e-12)
    np.testing.assert_allclose(pairs.common, common[pairs.a, pairs.b], atol=1e-9)


def test_a_nucleus_inside_another_is_the_same_one_only_by_its_centroid() -> None:
    at = np.array([[0.0, 0.0]])
    large, small = discs(at, np.array([5.0])), discs(at + 1.0, np.array([2.0]))
    assert len(settled(candidates(large, small, 3.0), 3.0)) == 1
    assert len(settled(candidates(large, small, 1.0), 1.0)) == 0


def test_nothing_against_something_gives_no_pairs() -> None:
    none, some = points(np.empty((0, 2))), points(np.zeros((1, 2)))
    assert len(candidates(none, some, RADIUS)) == len(candidates(some, none, RADIUS)) == 0
    assert len(settled(joined([]), RADIUS)) == 0
