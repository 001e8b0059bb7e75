"""How far one slide has come: from what came back of it to what follows.  Knows no Dask."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import Literal

from wsiproc.errors import WorkerLostError
from wsiproc.finish import Finished, Work
from wsiproc.pipeline import Opened, TileReceipt
from wsiproc.plan import Job
from wsiproc.progress import Listener, StageDone, StageStarted, TileDone, Warned
from wsiproc.store.lease import lease
from wsiproc.store.manifest import lease_of

DEATHS = 2
"""Workers that a step may take down alone before it is blamed: after the first, the process that
takes the dead one's place is fresh."""


@dataclass(frozen=True, slots=True)
class Done:
    """A slide that is finished, by this run or an earlier one."""

    job: Job
    finished: Finished


@dataclass(frozen=True, slots=True)
class Failed:
    """A slide that could not be finished; the others are not touched by it."""

    job: Job
    error: Exception


Outcome = Done | Failed


@dataclass(frozen=True, slots=True)
class Step:
    """One of the pipeline's three; `deaths` counts workers that died with it alone."""

    what: Literal["plan", "tile", "finish"]
    tile: tuple[int, int] | None = None
    alone: bool = False
    deaths: int = 0

    @property
    def name(self) -> str:
        return self.what if self.tile is None else f"{self.what}-{self.tile[0]}-{self.tile[1]}"


@dataclass(slots=True, eq=False)
class Run:
    """One slide on its way through the pipeline.

    Parameters
    ----------
    job
        The slide; its share of the cores is set once it is known how many workers take part.
    listen
        Is told what happens.
    opened
        What planning said, once it is back.
    waiting
        Tiles to be sent, in this order.
    suspects
        Steps that were on a worker when it died, to be tried again alone.
    in_flight
        Steps sent and not yet back.
    work
        Receipts, added up.
    held
        The lease on the job, once its key is known.
    """

    job: Job
    listen: Listener
    opened: Opened | None = None
    waiting: deque[tuple[int, int]] = field(default_factory=deque)
    suspects: deque[Step] = field(default_factory=deque)
    in_flight: int = 0
    work: Work = field(default_factory=lambda: Work(began=time.time()))
    held: ExitStack = field(default_factory=ExitStack)
    _finished: Finished | None = None
    _error: Exception | None = None
    _stage_began: float = field(default_factory=time.monotonic)

    @property
    def outcome(self) -> Outcome | None:
        """How it ended; None while it has not, or something of it is still in flight."""
        if self.in_flight:
            return None
        if self._error is not None:
            return Failed(self.job, self._error)
        return None if self._finished is None else Done(self.job, self._finished)

    @property
    def joinable(self) -> bool:
        """Whether every tile is on disk, so that the slide can be finished."""
        left = self.in_flight or self.waiting or self.suspects
        return self.opened is not None and self.outcome is None and not left

    def begin(self, stage: str, total: int = 0, reused: int = 0) -> None:
        """Say that `stage` begins."""
        self._stage_began = time.monotonic()
        self.listen(StageStarted(self.job.slide_id, stage, total, reused))

    def settle(
        self, result: Opened | TileReceipt | Finished, threads_for: Callable[[int], int]
    ) -> None:
        """Take in what a step gave.

        Parameters
        ----------
        result
            What came back.
        threads_for
            Given how many tiles wait, how many threads of inference a worker has.

        Raises
        ------
        BusyError
            If another run is working on the same job.
        """
        match result:
            case Opened(done=Finished() as before):
                self._finished = before
            case Opened():
                self._plan_is_there(result, threads_for)
            case TileReceipt():
                self.work = replace(
                    self.work,
                    windows=self.work.windows + result.windows,
                    seconds=_sum(self.work.seconds, result.seconds),
                    peaks=self.work.peaks | {result.pid: result.peak_bytes},
                )
                self.listen(TileDone(self.job.slide_id, result.nuclei))
            case Finished():
                self._end("finish")
                self._finished = result

    def _plan_is_there(self, opened: Opened, threads_for: Callable[[int], int]) -> None:
        self.held.enter_context(lease(lease_of(self.job.out, opened.job_key)))
        self._end("plan")
        for warning in opened.warnings:
            self.listen(Warned(self.job.slide_id, warning))
        threads = threads_for(len(opened.waiting))
        how = self.job.execution
        if not how.threads:
            self.job = replace(self.job, execution=how.model_copy(update={"threads": threads}))
        self.opened, self.waiting = opened, deque(opened.waiting)
        total, reused = opened.tiles_total, opened.tiles_total - len(opened.waiting)
        self.work = replace(
            self.work, tiles_total=total, tiles_reused=reused, seconds={"plan": opened.seconds}
        )
        self.begin("tiles", total, reused)

    def join(self) -> Step:
        """The last step, once the slide is `joinable`."""
        self._end("tiles")
        self.begin("finish")
        return Step("finish")

    def mourn(self, step: Step) -> None:
        """A worker died; Dask blames every task that was on it, so only deaths alone count."""
        deaths = step.deaths + step.alone
        if deaths >= DEATHS:
            self.fail(
                WorkerLostError(
                    f"step {step.name} took {deaths} fresh worker processes down when it ran "
                    "alone, or ran into the time limit: the slide is damaged in a way that its "
                    "decoder does not survive, or memory is short"
                )
            )
        elif self._error is None:
            self.suspects.append(replace(step, deaths=deaths))

    def fail(self, error: Exception) -> None:
        """Give the slide up; what is in flight is still waited for."""
        self._error = self._error or error
        self.waiting.clear()
        self.suspects.clear()

    def _end(self, stage: str) -> None:
        seconds = time.monotonic() - self._stage_began
        self.listen(StageDone(self.job.slide_id, stage, seconds))


def _sum(so_far: dict[str, float], more: dict[str, float]) -> dict[str, float]:
    return so_far | {stage: so_far.get(stage, 0.0) + value for stage, value in more.items()}
