"""How far one slide has come: from what came back of it to what follows.  Knows no Dask."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field, replace

from wsiproc.cluster._orders import Order, Result, What
from wsiproc.errors import (
    NotReadyError,
    SlideError,
    SlideReadError,
    StorageError,
    WorkerLostError,
)
from wsiproc.finish import Finished, Work
from wsiproc.pipeline import Opened, TileReceipt
from wsiproc.plan import Job
from wsiproc.progress import Listener, StageDone, StageStarted, TileDone, Warned
from wsiproc.slide.arrival import Seen
from wsiproc.store.lease import lease
from wsiproc.store.manifest import lease_of

DEATHS_SHARED = 2
"""Workers that may die with a step and others on them before it runs in a process of its own.
Most deaths have another cause, and going on in a warm worker is quick."""
DEATHS = 30
"""Workers that may die with a step at all: more is no accident, whoever is to blame."""


@dataclass(frozen=True, slots=True)
class Done:
    """A slide that is finished, by this run or an earlier one."""

    job: Job
    finished: Finished


@dataclass(frozen=True, slots=True)
class Failed:
    """A slide that could not be finished; the others are not touched by it.

    Parameters
    ----------
    error
        Anything that was raised; what is no `WsiprocError` is a bug.
    tile
        (row, column) of the tile that failed, where one did.
    batch
        Windows the network took at once; 0 where planning did not get so far.
    """

    job: Job
    error: Exception
    tile: tuple[int, int] | None = None
    batch: int = 0


@dataclass(frozen=True, slots=True)
class Identified:
    """A slide whose files were read for its fingerprint, and nothing else."""

    job: Job
    seen: Seen


Outcome = Done | Failed | Identified


@dataclass(frozen=True, slots=True)
class Step:
    """One of a slide's; `deaths` counts workers that died with it, `alone` or with others."""

    what: What
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
    confirm
        Whether a step that says that the slide is bad is done once more in a fresh process before
        it is believed.
    opened
        What planning said, once it is back.
    waiting
        Tiles to be sent, in this order.
    suspects
        Steps to be done again: their worker died, or their error waits to be confirmed.
    in_flight
        Steps sent and not yet back.
    work
        Receipts, added up.
    held
        The lease on the job, once its key is known.
    """

    job: Job
    listen: Listener
    confirm: bool = False
    opened: Opened | None = None
    waiting: deque[tuple[int, int]] = field(default_factory=deque)
    suspects: deque[Step] = field(default_factory=deque)
    in_flight: int = 0
    work: Work = field(default_factory=lambda: Work(began=time.time()))
    held: ExitStack = field(default_factory=ExitStack)
    _finished: Finished | None = None
    _seen: Seen | None = None
    _failed: Failed | None = None
    _unread: int = 0
    _stage_began: float = field(default_factory=time.monotonic)

    @property
    def outcome(self) -> Outcome | None:
        """How it ended; None while it has not, or something of it is still in flight."""
        if self.in_flight:
            return None
        if self._failed is not None:
            return self._failed
        if self._seen is not None:
            return Identified(self.job, self._seen)
        return None if self._finished is None else Done(self.job, self._finished)

    @property
    def planning(self) -> bool:
        """Whether nobody knows yet which tiles it has."""
        return self.opened is None

    @property
    def joinable(self) -> bool:
        """Whether every tile is on disk, so that the slide can be finished."""
        left = self.in_flight or self.waiting or self.suspects
        return self.opened is not None and self.outcome is None and not left

    def next(self) -> Step | None:
        """The step to send next, taken from those that wait."""
        if self.suspects:
            return self.suspects.popleft()
        return Step("tile", self.waiting.popleft()) if self.waiting else None

    def order(self, step: Step) -> Order:
        """All that a worker needs for `step`."""
        last = step.alone or not self.confirm
        tile = step.what == "tile"
        return Order(
            step.what,
            self.job,
            opened=self.opened,
            work=self.work if step.what == "finish" else None,
            tile=step.tile,
            leave_out=tile and last and self.job.science.max_bad_tiles > 0,
            last=last,
        )

    def begin(self, stage: str, total: int = 0, reused: int = 0) -> None:
        """Say that `stage` begins."""
        self._stage_began = time.monotonic()
        self.listen(StageStarted(self.job.slide_id, stage, total, reused))

    def settle(self, result: Result, threads_for: Callable[[int], int]) -> None:
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
            case Seen():
                self._seen = result
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
                self._count_unread(result)
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

    def _count_unread(self, receipt: TileReceipt) -> None:
        self._unread += receipt.unread
        total, allowed = self.work.tiles_total, self.job.science.max_bad_tiles
        if receipt.unread and self._unread > allowed * total:
            self.fail(
                SlideReadError(
                    f"{self._unread} of {total} tiles cannot be read, and no more than "
                    f"{allowed:.3%} may be left out"
                ),
                Step("tile", (receipt.row, receipt.column)),
            )

    def join(self) -> Step:
        """The last step, once the slide is `joinable`."""
        self._end("tiles")
        self.begin("finish")
        return Step("finish")

    def mourn(self, step: Step) -> None:
        """A worker died.  Dask blames every task that was on it, so nothing is blamed for that;
        a step that keeps company with deaths goes to a process of its own, whose death is its."""
        deaths = step.deaths + 1
        if deaths >= DEATHS:
            self.fail(
                WorkerLostError(f"{deaths} workers died with step {step.name}", killed=True), step
            )
        elif self._failed is None:
            alone = step.alone or deaths >= DEATHS_SHARED
            self.suspects.append(replace(step, deaths=deaths, alone=alone))

    def refuse(self, step: Step, error: Exception) -> None:
        """A step raised `error`: the slide fails, unless the step is to be confirmed first."""
        about_the_slide = isinstance(error, SlideError) and not isinstance(
            error, NotReadyError | StorageError
        )
        if self.confirm and about_the_slide and not step.alone and self._failed is None:
            self.suspects.append(replace(step, alone=True))
        else:
            self.fail(error, step)

    def fail(self, error: Exception, step: Step | None = None) -> None:
        """Give the slide up; what is in flight is still waited for."""
        if self._failed is None:
            batch = self.opened.batch if self.opened is not None else 0
            self._failed = Failed(self.job, error, step.tile if step else None, batch)
        self.waiting.clear()
        self.suspects.clear()

    def _end(self, stage: str) -> None:
        seconds = time.monotonic() - self._stage_began
        self.listen(StageDone(self.job.slide_id, stage, seconds))


def _sum(so_far: dict[str, float], more: dict[str, float]) -> dict[str, float]:
    return so_far | {stage: so_far.get(stage, 0.0) + value for stage, value in more.items()}
