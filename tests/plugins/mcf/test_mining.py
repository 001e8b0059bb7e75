"""Only what was seen and not detected becomes a template."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch")

from wsiproc_mcf.config import MiningConfig
from wsiproc_mcf.mining import (
    Candidate,
    candidates,
    mined,
    nucleus_areas,
    residual,
    solidity,
)

MPP = 0.5
CONFIG = MiningConfig()
NOWHERE = np.zeros((0, 2))


def _disc(shape: tuple[int, int], y: float, x: float, radius: float) -> np.ndarray:
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    return (rows - y) ** 2 + (columns - x) ** 2 <= radius**2


def _two(shape: tuple[int, int] = (80, 80)) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities with two nuclei, of which one was detected, smaller than it is."""
    seen = _disc(shape, 20, 20, 8) | _disc(shape, 55, 55, 8)
    return seen.astype(np.float32), _disc(shape, 20, 20, 6)


def test_the_residual_is_the_missed_nucleus_without_rings_round_the_others() -> None:
    prob, detected = _two()
    left = residual(prob, detected, CONFIG, MPP)
    assert left[55, 55]
    assert not left[:40, :40].any()


def test_nuclei_that_the_segmenter_misses_are_no_residual() -> None:
    prob, detected = _two()
    assert not residual(np.zeros_like(prob), detected, CONFIG, MPP).any()


def test_a_missed_nucleus_is_a_candidate_with_its_box() -> None:
    prob, detected = _two()
    found = candidates(7, prob, detected, NOWHERE, 50.0, CONFIG, MPP)
    assert [c.field for c in found] == [7]
    assert found[0].box == pytest.approx((47.0, 47.0, 64.0, 64.0), abs=1), "the tips are opened"
    assert found[0].score == 1


@pytest.mark.parametrize(
    ("why", "prob", "centres", "area"),
    [
        ("it was detected", _disc((80, 80), 40, 40, 8), np.array([[40.5, 43.5]]), 50.0),
        ("it is too small", _disc((80, 80), 40, 40, 8), NOWHERE, 150.0),
        ("it is too large", _disc((80, 80), 40, 40, 8), NOWHERE, 20.0),
        ("the edge cuts it", _disc((80, 80), 3, 40, 8), NOWHERE, 40.0),
        (
            "it is no compact shape",
            _disc((80, 80), 40, 40, 12) & ~_disc((80, 80), 40, 48, 10),
            NOWHERE,
            50.0,
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_it_is_no_candidate_where(why, prob, centres, area) -> None:
    nothing = np.zeros(prob.shape, bool)
    assert not candidates(0, prob.astype(np.float32), nothing, centres, area, CONFIG, MPP), why


def test_areas_are_of_nuclei_that_hold_one_centre() -> None:
    shape = (80, 80)
    prob = (_disc(shape, 20, 20, 8) | _disc(shape, 55, 55, 5)).astype(np.float32)
    one = np.array([[20.5, 20.5]])
    assert nucleus_areas(prob, one, CONFIG, MPP).tolist() == [
        pytest.approx(_disc(shape, 20, 20, 8).sum() * MPP**2)
    ]
    two = np.array([[20.5, 20.5], [24.5, 20.5]])
    assert not len(nucleus_areas(prob, two, CONFIG, MPP))


def test_solidity_is_one_for_a_square_and_less_for_a_hook() -> None:
    assert solidity(np.ones((5, 5), bool)) == pytest.approx(1)
    hook = np.ones((6, 6), bool)
    hook[2:, 2:] = False
    assert solidity(hook) < 0.8


def _choose(found, *, answers, per_round=1):
    config = CONFIG.model_copy(update={"per_round": per_round})
    described = {c: np.array([i, 0.0], np.float32) for i, c in enumerate(found)}
    bank = np.zeros((1, 2), np.float32)
    return mined(found, described.__getitem__, bank, lambda c: answers[found.index(c)], config)


def test_the_one_most_unlike_the_bank_is_chosen() -> None:
    found = [Candidate(0, (i, 0.0, i + 1.0, 1.0), 0.9) for i in range(4)]
    assert _choose(found, answers=[0] * 4) == [found[3]]
    assert _choose(found, answers=[0] * 4, per_round=2) == [found[3], found[1]]


def test_what_a_filter_answers_is_not_chosen() -> None:
    found = [Candidate(0, (i, 0.0, i + 1.0, 1.0), 0.9) for i in range(3)]
    assert _choose(found, answers=[0.1, 0.2, 0.9]) == [found[1]]
    assert _choose(found, answers=[0.9] * 3) == []


def test_without_candidates_nothing_is_chosen() -> None:
    assert _choose([], answers=[]) == []
