"""Whether a clock that was set back has stopped Dask.

Dask sends what it has to say a few milliseconds later, in bundles, by the wall clock.  If that is
set back by an hour in between, the bundle waits for an hour, and nobody is told.  To end and go on
from the fragments takes seconds.
"""

from __future__ import annotations

import time
from collections.abc import Callable

LATE_S = 60.0
"""A clock that was set back by less costs no more than that, and a bundle that is later than that
is not on its way."""


class Clock:
    """The wall clock, watched by one that nobody sets.

    Parameters
    ----------
    wall, steady
        Seconds by the one and by the other.
    """

    def __init__(
        self,
        wall: Callable[[], float] = time.time,
        steady: Callable[[], float] = time.monotonic,
    ) -> None:
        self._wall, self._steady = wall, steady
        self._furthest = wall() - steady()
        self._heard = steady()

    def heard(self) -> None:
        """Something has come back."""
        self._heard = self._steady()

    def stopped_s(self) -> float:
        """How far the clock was set back, if nothing has come back for long since; else 0."""
        ahead = self._wall() - self._steady()
        self._furthest = max(self._furthest, ahead)
        back = self._furthest - ahead
        return back if back > LATE_S and self._steady() - self._heard > LATE_S else 0.0
