"""A clock that is set back stops Dask, and that is noticed."""

from __future__ import annotations

import pytest

from wsiproc.cluster._clock import LATE_S, Clock


class Time:
    """A wall clock that can be set, and one that cannot."""

    def __init__(self) -> None:
        self.passed = 0.0
        self.set_by = 1e9

    def wall(self) -> float:
        return self.passed + self.set_by

    def steady(self) -> float:
        return self.passed


@pytest.fixture
def now() -> Time:
    return Time()


def test_waiting_long_is_nothing_while_the_clock_goes_on(now: Time) -> None:
    clock = Clock(now.wall, now.steady)
    now.passed += 10 * LATE_S
    assert clock.stopped_s() == 0


def test_a_clock_set_back_is_told_once_nothing_comes_back(now: Time) -> None:
    clock = Clock(now.wall, now.steady)
    now.set_by -= 3600
    assert clock.stopped_s() == 0, "what comes back a little later was not stopped"
    now.passed += LATE_S / 2
    clock.heard()
    now.passed += LATE_S + 1
    assert clock.stopped_s() == pytest.approx(3600)


def test_a_clock_set_forward_and_then_right_again_was_set_back(now: Time) -> None:
    clock = Clock(now.wall, now.steady)
    now.set_by += 86_400
    assert clock.stopped_s() == 0
    now.set_by -= 86_400
    now.passed += LATE_S + 1
    assert clock.stopped_s() == pytest.approx(86_400)


def test_a_second_is_no_matter(now: Time) -> None:
    clock = Clock(now.wall, now.steady)
    now.set_by -= 1
    now.passed += LATE_S + 1
    assert clock.stopped_s() == 0
