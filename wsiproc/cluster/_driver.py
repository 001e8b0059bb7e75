"""What goes out next, of all slides: a few tiles a worker, interleaved."""

from __future__ import annotations

import queue
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from distributed import Future, KilledWorker

from wsiproc.cluster._crews import Crew, crew
from wsiproc.cluster._run import Outcome, Run, Step
from wsiproc.cluster._tasks import finish_task, plan_task, tile_task
from wsiproc.config import Execution
from wsiproc.errors import BusyError, WsiprocError
from wsiproc.plan import Job
from wsiproc.progress import Listener, unheard

IN_FLIGHT = 2
"""Tiles a worker thread has at hand: one in work, one so that it never waits for the driver."""


@dataclass(frozen=True, slots=True)
class _Back:
    """A step that has come back."""

    run: Run
    step: Step
    future: Future[Any]


def run_slides(
    jobs: Sequence[Job], execution: Execution, listen: Listener = unheard
) -> Iterator[Outcome]:
    """Run all jobs on one cluster and yield each slide's outcome as it comes.

    Tiles of several slides are in flight at once, so that small slides never leave workers idle.

    Parameters
    ----------
    jobs
        The slides; all with `execution` as their execution settings.
    execution
        Where to run: on workers made here, or on those of a scheduler elsewhere.
    listen
        Is told what happens, on the caller's thread.

    Raises
    ------
    StoreError
        If the scheduler cannot be reached, or is lost on the way.
    Exception
        Whatever is a bug: only errors of wsiproc's own stay with their slide.
    """
    if jobs:
        with crew(execution) as workers:
            yield from _Driver(workers, listen).drive(jobs)


class _Driver:
    """Decides, from what came back, what goes out next."""

    def __init__(self, workers: Crew, listen: Listener) -> None:
        self._crew = workers
        self._listen = listen
        self._unplanned: deque[Job] = deque()
        self._live: list[Run] = []
        self._back: queue.SimpleQueue[_Back] = queue.SimpleQueue()
        self._sent = 0
        self._one_alone = False

    def drive(self, jobs: Sequence[Job]) -> Iterator[Outcome]:
        self._unplanned.extend(jobs)
        try:
            while self._unplanned or self._live:
                self._send()
                self._receive(self._next())
                yield from self._ended()
        finally:
            for run in self._live:
                run.held.close()

    def _send(self) -> None:
        if self._one_alone:
            return
        room = IN_FLIGHT * self._crew.threads - sum(run.in_flight for run in self._live)
        for run in self._live:
            while room > 0 and run.waiting:
                self._submit(run, Step("tile", run.waiting.popleft()))
                room -= 1
        while room > 0 and self._unplanned:
            run = Run(self._unplanned.popleft(), self._listen)
            self._live.append(run)
            run.begin("plan")
            self._submit(run, Step("plan"))
            room -= 1
        if not any(run.in_flight for run in self._live):
            # All is quiet: what was on a worker when it died is tried again, one at a time, so
            # that the next death has only one to blame.
            suspected = next(run for run in self._live if run.suspects)
            self._one_alone = True
            self._submit(suspected, replace(suspected.suspects.popleft(), alone=True))

    def _submit(self, run: Run, step: Step) -> None:
        self._sent += 1
        key = f"{step.name}-{run.job.slide_id}-{self._sent}"
        submit: Callable[..., Future[Any]] = self._crew.client.submit
        match step:
            case Step(what="plan"):
                future = submit(plan_task, run.job, key=key, pure=False)
            case Step(what="finish"):
                future = submit(
                    finish_task, run.job, run.opened, run.work, key=key, pure=False, priority=1
                )
            case Step(tile=(row, column)):
                future = submit(tile_task, run.job, run.opened, row, column, key=key, pure=False)
        run.in_flight += 1
        future.add_done_callback(lambda done: self._back.put(_Back(run, step, done)))

    def _next(self) -> _Back:
        while True:
            try:
                return self._back.get(timeout=1.0)
            except queue.Empty:
                if self._crew.client.status != "running":
                    raise BusyError(
                        "the Dask scheduler is gone; finished tiles are kept, run again"
                    ) from None

    def _receive(self, back: _Back) -> None:
        run, step = back.run, back.step
        run.in_flight -= 1
        self._one_alone = self._one_alone and not step.alone
        try:
            run.settle(back.future.result(), self._crew.grow)
        except KilledWorker:
            run.mourn(step)
        except WsiprocError as error:
            run.fail(error)

    def _ended(self) -> Iterator[Outcome]:
        """Slides that have come to their end; those with all tiles on disk are sent to it."""
        for run in list(self._live):
            if run.joinable:
                self._submit(run, run.join())
            elif (outcome := run.outcome) is not None:
                self._live.remove(run)
                run.held.close()
                yield outcome
