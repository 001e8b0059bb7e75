"""Voronoi and cluster labels say what they are meant to, and k-means finds the clusters."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from wsiproc.evaluate import box_centres
from wsiproc.slide._drawn import draw_image
from wsiproc_partial_points.config import LabelConfig
from wsiproc_partial_points.kmeans import kmeans
from wsiproc_partial_points.weak import (
    BACKGROUND,
    NUCLEUS,
    UNKNOWN,
    cells,
    cluster_label,
    edges,
    otsu,
    roles,
    smoothed,
    voronoi_label,
)

MPP = 0.5
CONFIG = LabelConfig()


def _points(seed: int, count: int, shape: tuple[int, int]) -> np.ndarray:
    rng = np.random.default_rng(seed)
    flat = rng.choice(shape[0] * shape[1], count, replace=False)
    return np.stack([flat % shape[1], flat // shape[1]], 1) + 0.5


def test_cells_are_what_is_nearest_to_each_point() -> None:
    shape, points = (50, 70), _points(0, 25, (50, 70))
    cell = cells(points, shape)
    row, column = np.mgrid[:50, :70] + 0.5
    each = np.hypot(column - points[:, 0, None, None], row - points[:, 1, None, None])
    np.testing.assert_allclose(cell.away, each.min(0), atol=1e-9)
    own = np.floor(points).astype(int)
    number = cell.nearest[own[:, 1], own[:, 0]]
    assert sorted(number) == list(range(1, 26))
    chosen = np.take_along_axis(each, np.argsort(number)[cell.nearest - 1][None], 0)[0]
    np.testing.assert_allclose(chosen, each.min(0), atol=1e-9)


def test_points_outside_the_image_are_left_out() -> None:
    assert not cells(np.array([[-1.0, 3.0], [4.0, 99.0]]), (20, 20)).nearest.any()


@pytest.mark.parametrize("width", [1, 2, 4])
def test_edges_part_every_two_cells_and_are_as_wide_as_asked(width: int) -> None:
    nearest = np.repeat(np.repeat([[1, 2], [3, 4]], 20, 0), 20, 1).astype(np.int32)
    line = edges(nearest, width)
    parts, count = ndimage.label(~line, np.ones((3, 3)) if width > 1 else None)
    assert count == 4
    assert all(len(np.unique(nearest[parts == part])) == 1 for part in range(1, 5))
    assert line[10].sum() == width
    assert not line[:10, :10].any(), "the image's border is no edge"


def test_the_voronoi_label_knows_points_and_edges_alone() -> None:
    points = _points(1, 12, (80, 80))
    cell = cells(points, (80, 80))
    label = voronoi_label(cell, CONFIG, MPP)
    assert (label[cell.away <= CONFIG.dot_um / MPP] == NUCLEUS).all()
    line = edges(cell.nearest, 1) & (cell.away > CONFIG.dot_um / MPP)
    assert (label[line] == BACKGROUND).all()
    assert (label[~line & (cell.away > CONFIG.dot_um / MPP)] == UNKNOWN).all()


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_on_drawn_tissue_the_cluster_label_is_mostly_right(seed: int) -> None:
    pixels, truth = draw_image(256, 256, seed=seed, mpp=MPP)
    cell = cells(box_centres(truth), truth.shape)
    label = cluster_label(pixels, cell, CONFIG, MPP, seed=0)
    nuclei = truth > 0
    assert nuclei[label == NUCLEUS].mean() > 0.9
    assert (~nuclei[label == BACKGROUND]).mean() > 0.95
    assert (label[nuclei] == NUCLEUS).mean() > 0.6
    assert (label[~nuclei] == BACKGROUND).mean() > 0.6
    assert (label == cluster_label(pixels, cell, CONFIG, MPP, seed=0)).all()


def test_where_clusters_say_the_opposite_darkness_decides() -> None:
    pixels, truth = draw_image(192, 192, seed=4, mpp=MPP)
    beside = np.argwhere(ndimage.distance_transform_edt(truth == 0) > 4)[::400, ::-1] + 0.5
    label = cluster_label(pixels, cells(beside, truth.shape), CONFIG, MPP, seed=0)
    told = truth[label == NUCLEUS] > 0
    assert len(told) == 0 or told.mean() > 0.5


def test_without_points_nothing_is_known() -> None:
    pixels = draw_image(64, 64, seed=0, mpp=MPP)[0]
    empty = cells(np.empty((0, 2)), (64, 64))
    assert (cluster_label(pixels, empty, CONFIG, MPP, seed=0) == UNKNOWN).all()
    assert (voronoi_label(empty, CONFIG, MPP) == UNKNOWN).all()


def test_far_from_every_point_all_is_background() -> None:
    pixels = draw_image(128, 128, seed=0, mpp=MPP)[0]
    cell = cells(np.array([[10.5, 10.5]]), (128, 128))
    label = cluster_label(pixels, cell, CONFIG, MPP, seed=0)
    assert (label[cell.away * MPP > CONFIG.far_um] == BACKGROUND).all()


def test_a_third_cluster_that_is_lighter_than_the_background_belongs_to_it() -> None:
    row, column = np.mgrid[:60, :60] + 0.5
    pixels = np.full((60, 60, 3), (200, 120, 170), np.uint8)
    pixels[np.hypot(column - 40, row - 30) < 16] = 240  # glass, and a nucleus in it
    pixels[np.hypot(column - 40, row - 30) < 7] = (70, 40, 120)
    cell = cells(np.array([[40.5, 30.5]]), (60, 60))
    glass = (np.hypot(column - 40, row - 30) > 9) & (np.hypot(column - 40, row - 30) < 15)
    far = {"far_um": 1000.0}
    taken = cluster_label(pixels, cell, LabelConfig(**far), MPP, seed=0)
    left = cluster_label(pixels, cell, LabelConfig(**far, lighter=False), MPP, seed=0)
    assert (taken[glass] == BACKGROUND).all()
    assert (left[glass] == UNKNOWN).all()
    assert (taken[28:33, 38:43] == NUCLEUS).all()


def test_nucleus_is_where_points_are_and_background_where_they_are_least() -> None:
    member = np.repeat([[0, 1, 2]], 10, 0).repeat(10, 1)
    at, around = np.zeros((10, 30), bool), np.zeros((10, 30), bool)
    at[5, 25] = at[2, 27] = at[5, 5] = True
    around[:, 8:] = True
    assert roles(member, at, around) == (2, 0)


def test_smoothing_fills_holes_and_joins_no_neighbours() -> None:
    shape = (60, 60)
    cell = cells(np.array([[20.5, 30.5], [40.5, 30.5]]), shape)
    row, column = np.mgrid[:60, :60] + 0.5
    inside = (np.hypot(column - 20.5, row - 30.5) < 9.5) | (np.hypot(column - 40.5, row - 30.5) < 9.5)
    inside[28:33, 19:22] = False
    config = LabelConfig(widen_um=1.25, narrow_um=2.0)
    out = smoothed(inside, cell, config, MPP)
    assert out[28:33, 19:22].all()
    assert ndimage.label(out)[1] == 2
    assert out.sum() < inside.sum() + 15
    assert not (out & ~ndimage.binary_fill_holes(inside)).any()


def test_a_nucleus_at_the_images_edge_is_not_narrowed_there() -> None:
    inside = np.zeros((40, 40), bool)
    inside[:12, 10:30] = True
    cell = cells(np.array([[20.5, 3.5]]), (40, 40))
    out = smoothed(inside, cell, LabelConfig(widen_um=1.0, narrow_um=2.0), MPP)
    assert out[0, 14:26].all()
    assert not out[11].any()


def test_k_means_is_as_good_as_scikit_learns() -> None:
    from sklearn.cluster import KMeans

    rng = np.random.default_rng(0)
    rows = np.concatenate([rng.normal(m, 2, (400, 4)) for m in (0.0, 6.0, 9.0)])

    def spread(member: np.ndarray) -> float:
        return sum(
            ((rows[member == k] - rows[member == k].mean(0)) ** 2).sum() for k in np.unique(member)
        )

    theirs = KMeans(3, n_init=10, random_state=0).fit(rows)
    assert spread(kmeans(rows, 3, seed=0)) <= theirs.inertia_ * 1.001


def test_k_means_survives_rows_that_are_all_alike() -> None:
    assert len(np.unique(kmeans(np.ones((50, 4)), 3, seed=0))) == 1


def test_otsus_level_lies_between_two_heaps() -> None:
    rng = np.random.default_rng(0)
    level = otsu(np.concatenate([rng.normal(0, 1, 500), rng.normal(10, 1, 1500)]))
    assert 2.5 < level < 7.5
