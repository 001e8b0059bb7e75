"""Where the cluster gets its slides from, while it is at work on others."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from wsiproc.plan import Job


@dataclass(frozen=True, slots=True)
class Begin:
    """A slide to begin with: to ``identify`` it only, or to run it from its ``plan`` on."""

    job: Job
    what: Literal["identify", "plan"] = "plan"


class Source(Protocol):
    """Slides, some of which may come later; asked again after every outcome, and each second."""

    def take(self) -> Begin | None:
        """The next slide, if there is one to begin with now."""

    def exhausted(self) -> bool:
        """Whether none will come any more but for outcomes that are still to come."""

    def check(self) -> None:
        """Raise whatever shall end the whole."""


class Listed:
    """A source of jobs that are all known."""

    def __init__(self, jobs: Sequence[Job]) -> None:
        self._jobs = deque(jobs)

    def take(self) -> Begin | None:
        return Begin(self._jobs.popleft()) if self._jobs else None

    def exhausted(self) -> bool:
        return not self._jobs

    def check(self) -> None:
        return
