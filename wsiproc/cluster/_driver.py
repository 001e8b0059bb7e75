"""What goes out next, of all slides: a few steps a worker, interleaved."""

from __future__ import annotations

import queue
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import CancelledError
from dataclasses import dataclass
from typing import Any

from distributed import Future, KilledWorker

from wsiproc.cluster._clock import Clock
from wsiproc.cluster._crews import Crew, crew
from wsiproc.cluster._run import Outcome, Run, Step
from wsiproc.cluster._sources import Begin, Listed, Source
from wsiproc.cluster._tasks import alone_task, shared_task
from wsiproc.config import Execution
from wsiproc.errors import BusyError, InterruptedRunError, WsiprocError
from wsiproc.plan import Job
from wsiproc.progress import Listener, unheard

IN_FLIGHT = 2
"""Steps a worker thread has at hand: one in work, one so that it never waits for the driver."""
AHEAD = 4
"""Steps for each worker thread, sent or waiting here, below which another slide is begun: it is
planned while the others' last tiles are in work."""
ABREAST = 3
"""Slides at least that are in work at once, so that a slow one, whose tiles take for ever, has
its share of the workers and no more.  A worker keeps so many slides open (`SLIDES_OPEN`)."""
POLL_S = 1.0
"""How often the source is asked, and the scheduler looked after, when nothing comes back."""


@dataclass(frozen=True, slots=True)
class _Back:
    """A step that has come back."""

    run: Run
    step: Step
    future: Future[Any]


def run_slides(
    slides: Sequence[Job] | Source,
    execution: Execution,
    listen: Listener = unheard,
    *,
    confirm: bool = False,
) -> Iterator[Outcome]:
    """Run all slides on one cluster and yield each one's outcome as it comes.

    Tiles of several slides are in flight at once, so that small slides never leave workers idle.
    The cluster is made when the first slide is there.

    Parameters
    ----------
    slides
        Jobs, or a source that may have some later; all with the place of `execution`.
    execution
        Where to run: on workers made here, or on those of a scheduler elsewhere.
    listen
        Is told what happens, on the caller's thread.
    confirm
        Whether a slide that is found bad is tried once more in a fresh process.

    Raises
    ------
    BusyError
        If the scheduler cannot be reached, or is lost on the way.
    WsiprocError
        Whatever the source raises to end the whole.
    """
    source = Listed(slides) if isinstance(slides, Sequence) else slides
    while (first := source.take()) is None:
        if source.exhausted():
            return
        time.sleep(POLL_S)
        source.check()
    many = not isinstance(slides, Sequence) or len(slides) > 1
    with crew(execution, many=many) as workers:
        yield from _Driver(workers, source, listen, confirm).drive(first)


class _Driver:
    """Decides, from what came back, what goes out next."""

    def __init__(self, workers: Crew, source: Source, listen: Listener, confirm: bool) -> None:
        self._crew = workers
        self._source = source
        self._listen = listen
        self._confirm = confirm
        self._live: list[Run] = []
        self._back: queue.SimpleQueue[_Back] = queue.SimpleQueue()
        self._sent = 0
        self._clock = Clock()

    def drive(self, first: Begin) -> Iterator[Outcome]:
        try:
            self._begin(first)
            while self._live or not self._source.exhausted():
                self._source.check()
                self._send()
                if (back := self._next()) is not None:
                    self._receive(back)
                    yield from self._ended()
        finally:
            for run in self._live:
                run.held.close()

    def _send(self) -> None:
        threads = self._crew.threads
        room = IN_FLIGHT * threads - sum(run.in_flight for run in self._live)
        while room > 0 and self._send_one():
            room -= 1
        while self._wants_more(threads) and (more := self._source.take()) is not None:
            self._begin(more)

    def _send_one(self) -> bool:
        """Send a step of the slide that has fewest in flight; among equals, of the earliest."""
        for run in sorted(self._live, key=lambda run: run.in_flight):
            if (step := run.next()) is not None:
                self._submit(run, step)
                return True
        return False

    def _wants_more(self, threads: int) -> bool:
        planning = sum(run.planning for run in self._live)
        steps = sum(run.in_flight + len(run.waiting) for run in self._live)
        return len(self._live) < ABREAST or (steps < AHEAD * threads and planning < threads)

    def _begin(self, slide: Begin) -> None:
        run = Run(slide.job, self._listen, self._confirm)
        self._live.append(run)
        if slide.what == "plan":
            run.begin("plan")
        self._submit(run, Step(slide.what))

    def _submit(self, run: Run, step: Step) -> None:
        self._sent += 1
        future = self._crew.client.submit(
            alone_task if step.alone else shared_task,
            run.order(step),
            key=f"{step.name}-{run.job.slide_id}-{self._sent}",
            pure=False,
            # What opens or ends a slide goes before tiles: workers wait for the one, people and
            # disks for the other.
            priority=0 if step.what == "tile" else 1,
        )
        run.in_flight += 1
        future.add_done_callback(lambda done: self._back.put(_Back(run, step, done)))

    def _next(self) -> _Back | None:
        try:
            back = self._back.get(timeout=POLL_S)
        except queue.Empty:
            if self._crew.client.status != "running":
                raise _gone() from None
            self._crew.mend()
            if late := self._clock.stopped_s():
                raise BusyError(
                    f"the clock was set back by {late:.0f} s, which Dask waits for; finished tiles "
                    "are kept, run again"
                ) from None
            return None
        self._clock.heard()
        return back

    def _receive(self, back: _Back) -> None:
        run, step = back.run, back.step
        run.in_flight -= 1
        try:
            said = back.future.result()
        except InterruptedRunError:
            # Not what the step says: a signal that came while this thread asked for it.
            raise
        except KilledWorker:
            run.mourn(step)
        except CancelledError:
            raise _gone() from None
        except Exception as error:  # noqa: BLE001  whatever it is, it is this slide's
            run.refuse(step, error)
        else:
            self._settle(run, step, said)

    def _settle(self, run: Run, step: Step, said: Any) -> None:
        """What the step says may not be taken in: another run has the slide, or the disk fails."""
        try:
            run.settle(said, self._crew.grow)
        except InterruptedRunError:
            raise
        except WsiprocError as error:
            run.refuse(step, error)

    def _ended(self) -> Iterator[Outcome]:
        """Slides that have come to their end; those with all tiles on disk are sent to it."""
        for run in list(self._live):
            if run.joinable:
                self._submit(run, run.join())
            elif (outcome := run.outcome) is not None:
                self._live.remove(run)
                run.held.close()
                yield outcome


def _gone() -> BusyError:
    return BusyError("the Dask scheduler is gone; finished tiles are kept, run again")
