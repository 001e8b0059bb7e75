"""Gaussians, the ring around them, and what is taken for background."""

from __future__ import annotations

import numpy as np
import pytest

from wsiproc.training.labels import IGNORE
from wsiproc_partial_points.masks import background, distance_to, gaussian_mask, weighty

RADIUS = 5.0
POINTS = np.array([[20.5, 18.0], [30.2, 25.7], [-2.0, 40.0]])


def _away() -> np.ndarray:
    row, column = np.mgrid[:48, :56] + 0.5
    each = np.hypot(column - POINTS[:, 0, None, None], row - POINTS[:, 1, None, None])
    return each.min(0)


def test_distances_are_those_to_the_nearest_point_also_to_one_outside() -> None:
    found, wanted = distance_to(POINTS, (48, 56), 12.0), _away()
    near = wanted < 12
    np.testing.assert_allclose(found[near], wanted[near], rtol=1e-5)
    assert np.isinf(found[wanted > 12]).all()


def test_the_mask_is_equation_1() -> None:
    mask, away = gaussian_mask(POINTS, (48, 56), RADIUS), _away()
    inner, ring = away < RADIUS, (away >= RADIUS) & (away < 2 * RADIUS)
    sigma = RADIUS / 4
    np.testing.assert_allclose(mask[inner], np.exp(-(away[inner] ** 2) / (2 * sigma**2)), atol=1e-5)
    assert (mask[ring] == 0).all()
    assert (mask[away >= 2 * RADIUS] == IGNORE).all()


def test_without_points_nothing_is_known() -> None:
    assert (gaussian_mask(np.empty((0, 2)), (8, 9), RADIUS) == IGNORE).all()


def test_pixels_weigh_more_within_two_and_a_half_sigma() -> None:
    heavy, away = weighty(gaussian_mask(POINTS, (48, 56), RADIUS)), _away()
    assert heavy[away < 2.4 * RADIUS / 4].all()
    assert not heavy[away > 2.5 * RADIUS / 4].any()


def test_quiet_pixels_and_loud_areas_larger_than_a_nucleus_are_background() -> None:
    prob = np.full((60, 60), 0.4, np.float32)
    prob[:5] = 0.05
    prob[10:18, 10:18] = 0.9  # 64 px < pi 5²: a nucleus
    prob[30:45, 10:45] = 0.9  # 525 px: no nucleus
    found = background(prob, RADIUS, below=0.1, above=0.7)
    wanted = np.zeros((60, 60), bool)
    wanted[:5] = wanted[30:45, 10:45] = True
    assert (found == wanted).all()


@pytest.mark.parametrize("prob", [0.0, 1.0])
def test_a_detector_that_says_one_thing_everywhere_teaches_background(prob: float) -> None:
    said = np.full((40, 40), prob, np.float32)
    assert background(said, RADIUS, below=0.1, above=0.7).all()
