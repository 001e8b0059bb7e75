"""Eq. 5: what teaches is sure, and everything else is left out."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from wsiproc_mcf.centres import Centres  # noqa: E402
from wsiproc_mcf.filter_config import FilterConfig  # noqa: E402
from wsiproc_mcf.pseudo import pseudo_masks  # noqa: E402

MPP = 0.5
TISSUE = np.full((64, 64, 3), 150, np.uint8)


def at(*places: tuple[int, int]) -> Centres:
    xy = np.array(places, np.float64) + 0.5
    return Centres(xy, np.ones(len(xy), np.float32), np.ones(len(xy), np.float32))


def cone(x: int, y: int, height: float, slope: float) -> np.ndarray:
    down, right = np.mgrid[:64, :64]
    fall = height - slope * np.hypot(right - x, down - y)
    return np.clip(fall, 0, 1).astype(np.float32)


def test_a_nucleus_is_what_exceeds_four_fifths_of_its_centre() -> None:
    response = cone(30, 20, 0.9, 0.03)
    masks = pseudo_masks(response, at((30, 20)), TISSUE, FilterConfig(), MPP)
    assert np.array_equal(masks.nuclei == 1, response >= 0.8 * 0.9)


def test_background_is_below_the_threshold_and_between_is_unknown() -> None:
    response = cone(30, 20, 0.9, 0.03)
    masks = pseudo_masks(response, at((30, 20)), TISSUE, FilterConfig(), MPP)
    assert np.array_equal(masks.background, response < 0.3)
    unknown = ~masks.background & (masks.nuclei == 0)
    assert unknown.sum() > 100


def test_only_the_part_that_holds_the_centre_is_its_nucleus() -> None:
    response = np.maximum(cone(28, 32, 0.9, 0.1), cone(37, 32, 0.85, 0.1))
    masks = pseudo_masks(response, at((28, 32)), TISSUE, FilterConfig(), MPP)
    assert masks.nuclei[32, 28] == 1
    assert masks.nuclei[32, 37] == 0


def test_what_two_centres_want_goes_to_the_nearer() -> None:
    response = np.maximum(cone(28, 32, 0.9, 0.02), cone(36, 32, 0.9, 0.02))
    masks = pseudo_masks(response, at((28, 32), (36, 32)), TISSUE, FilterConfig(), MPP)
    assert masks.nuclei[32, 30] == 1
    assert masks.nuclei[32, 34] == 2
    assert set(np.unique(masks.nuclei)) == {0, 1, 2}


def test_a_nucleus_stays_within_the_middle_filter() -> None:
    config = FilterConfig()
    response = np.full((64, 64), 0.8, np.float32)
    masks = pseudo_masks(response, at((32, 32)), TISSUE, config, MPP)
    edge = config.template_um * config.context / MPP
    rows = np.flatnonzero((masks.nuclei > 0).any(1))
    assert np.ptp(rows) <= edge


def test_glass_is_background_however_loud_the_response() -> None:
    image = TISSUE.copy()
    image[:, 32:] = 245
    response = np.full((64, 64), 0.8, np.float32)
    masks = pseudo_masks(response, at((31, 31)), image, FilterConfig(), MPP)
    assert masks.background[:, 32:].all()
    assert not masks.nuclei[:, 32:].any()
    assert masks.nuclei[31, 31] == 1


def test_without_centres_there_are_no_nuclei() -> None:
    empty = Centres(np.zeros((0, 2)), np.zeros(0, np.float32), np.zeros(0, np.float32))
    masks = pseudo_masks(cone(30, 20, 0.9, 0.03), empty, TISSUE, FilterConfig(), MPP)
    assert not masks.nuclei.any()
    assert masks.background.any()
