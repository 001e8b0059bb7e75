"""Dask: the pipeline's three functions as tasks, for one slide or many interleaved.

The driver sends a job and two numbers and gets a receipt back; it never opens a slide.  A few
tiles a worker are in flight, the rest wait here, so the scheduler holds nothing that grows with
the slide, and nothing of it is needed to go on later: that is in the fragments.
"""

from __future__ import annotations

import logging
import os
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import dask
from distributed import Client, Future, KilledWorker, LocalCluster, WorkerPlugin, get_worker

from wsiproc.config import Execution
from wsiproc.errors import BusyError, WorkerLostError, WsiprocError
from wsiproc.finish import Finished, Work
from wsiproc.model import cores, gpu_placement, real_device
from wsiproc.pipeline import (
    Opened,
    TileReceipt,
    finish_slide,
    plan_slide,
    process_tile,
)
from wsiproc.plan import Job
from wsiproc.progress import Listener, StageDone, StageStarted, TileDone, Warned, unheard
from wsiproc.store.lease import lease
from wsiproc.store.manifest import lease_of
from wsiproc.workbench import Workbench

IN_FLIGHT = 2
"""Tiles a worker thread has at hand: one in work, one so that it never waits for the driver."""

WORKBENCH = "wsiproc-workbench"
GPU_DEVICES = ("cuda", "tensorrt")
PLAN_LIMIT_S = 4 * 3600.0
"""Planning reads the whole file for its fingerprint, which may be large and far away."""
WATCH_EVERY_S = 0.2
DEATHS = 2
"""Workers that a step may take down alone before it is blamed: after the first, the process that
takes the dead one's place is fresh."""
HUNG = 70
"""Exit status of a worker that ended itself because a tile took too long."""


_QUIET = {
    # Every task on a worker that dies comes back at once; `_Driver` finds out which one did it.
    "distributed.scheduler.allowed-failures": 0,
    # A worker that died is started again by its nanny; on a busy machine that takes a while.
    "distributed.deploy.lost-worker-timeout": "120s",
    "distributed.comm.timeouts.connect": "120s",
    "distributed.admin.tick.limit": "60s",
    "distributed.worker.daemon": True,
    # Without a dashboard Dask still listens for HTTP; it finds nothing to serve.
    "distributed.scheduler.http.routes": [],
    "distributed.worker.http.routes": [],
}
_LOCAL: Mapping[str, Any] = {
    "dashboard_address": None,
    "scheduler_kwargs": {"dashboard_address": "127.0.0.1:0"},
    "silence_logs": logging.CRITICAL,
    "memory_limit": 0,
}
"""What every cluster of this machine has: no page, no port that others know, no log."""


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


class _WorkbenchPlugin(WorkerPlugin):
    """Gives each worker process its workbench, and ends the process when a tile hangs.

    Dask cannot stop a decoder that never returns: only the end of its process does.
    """

    name = WORKBENCH

    def __init__(self, *, watch: bool) -> None:
        self._watch = watch

    def setup(self, worker: Any) -> None:
        self.bench = Workbench()
        self._closed = threading.Event()
        if self._watch:
            threading.Thread(target=self._end_if_hung, name="watchdog", daemon=True).start()

    def _end_if_hung(self) -> None:
        while not self._closed.wait(WATCH_EVERY_S):
            if self.bench.overdue():
                os._exit(HUNG)

    def teardown(self, worker: Any) -> None:
        self._closed.set()
        self.bench.close()


def _bench() -> Workbench:
    plugin = get_worker().plugins[WORKBENCH]
    assert isinstance(plugin, _WorkbenchPlugin)
    return plugin.bench


def _plan_task(job: Job) -> Opened:
    bench = _bench()
    with bench.watched(PLAN_LIMIT_S):
        return plan_slide(job, bench)


def _tile_task(job: Job, opened: Opened, row: int, column: int) -> TileReceipt:
    bench = _bench()
    with bench.watched(job.execution.tile_timeout_s):
        return process_tile(job, opened, row, column, bench)


def _finish_task(job: Job, opened: Opened, work: Work) -> Finished:
    return finish_slide(job, opened, work, _bench())


@dataclass(frozen=True, slots=True)
class _Task:
    """One of the pipeline's three steps; `deaths` counts workers that died with it alone."""

    what: Literal["plan", "tile", "finish"]
    tile: tuple[int, int] | None = None
    alone: bool = False
    deaths: int = 0

    @property
    def name(self) -> str:
        return self.what if self.tile is None else f"{self.what}-{self.tile[0]}-{self.tile[1]}"


@dataclass(slots=True, eq=False)
class _Run:
    """How far one slide has come."""

    job: Job
    opened: Opened | None = None
    waiting: deque[tuple[int, int]] = field(default_factory=deque)
    suspects: deque[_Task] = field(default_factory=deque)
    in_flight: int = 0
    error: Exception | None = None
    finished: Finished | None = None
    work: Work = field(default_factory=lambda: Work(began=time.time()))
    began: float = field(default_factory=time.monotonic)
    held: ExitStack = field(default_factory=ExitStack)
    """The lease on the job, once its key is known."""

    def fail(self, error: Exception) -> None:
        """Give the slide up; what is in flight is still waited for."""
        self.error = self.error or error
        self.waiting.clear()
        self.suspects.clear()


@dataclass(frozen=True, slots=True)
class _Crew:
    """The workers at hand."""

    client: Client
    grow: Callable[[int], int]
    """Asks for enough workers for so many tiles; says how many threads of inference each has."""

    @property
    def threads(self) -> int:
        """Tasks that can run at once."""
        threads: int = sum(self.client.nthreads().values())
        return max(1, threads)


@dataclass(frozen=True, slots=True)
class _Back:
    """A task that has come back."""

    run: _Run
    task: _Task
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
        with _crew(execution) as crew:
            yield from _Driver(crew, listen).run(jobs)


class _Driver:
    """Decides, from what came back, what goes out next."""

    def __init__(self, crew: _Crew, listen: Listener) -> None:
        self._crew = crew
        self._listen = listen
        self._back: queue.SimpleQueue[_Back] = queue.SimpleQueue()
        self._sent = 0
        self._one_alone = False

    def run(self, jobs: Sequence[Job]) -> Iterator[Outcome]:
        unplanned = deque(jobs)
        live: list[_Run] = []
        try:
            yield from self._drive(unplanned, live)
        finally:
            for run in live:
                run.held.close()

    def _drive(self, unplanned: deque[Job], live: list[_Run]) -> Iterator[Outcome]:
        while unplanned or live:
            self._send(unplanned, live)
            back = self._next()
            back.run.in_flight -= 1
            self._one_alone = self._one_alone and not back.task.alone
            try:
                self._settle(back, back.future.result())
            except KilledWorker:
                self._mourn(back)
            except WsiprocError as error:
                back.run.fail(error)
            for run in [run for run in live if run.in_flight == 0]:
                outcome = self._advance(run)
                if outcome is not None:
                    live.remove(run)
                    run.held.close()
                    yield outcome

    def _send(self, unplanned: deque[Job], live: list[_Run]) -> None:
        if self._one_alone:
            return
        room = IN_FLIGHT * self._crew.threads - sum(run.in_flight for run in live)
        for run in live:
            while room > 0 and run.waiting:
                self._submit(run, _Task("tile", run.waiting.popleft()))
                room -= 1
        while room > 0 and unplanned:
            run = _Run(unplanned.popleft())
            live.append(run)
            self._listen(StageStarted(run.job.slide_id, "plan"))
            self._submit(run, _Task("plan"))
            room -= 1
        if not any(run.in_flight for run in live):
            # All is quiet: what was on a worker when it died is tried again, one at a time, so
            # that the next death has only one to blame.
            suspected = next(run for run in live if run.suspects)
            self._one_alone = True
            self._submit(suspected, replace(suspected.suspects.popleft(), alone=True))

    def _submit(self, run: _Run, task: _Task) -> None:
        self._sent += 1
        key = f"{task.name}-{run.job.slide_id}-{self._sent}"
        submit: Callable[..., Future[Any]] = self._crew.client.submit
        match task:
            case _Task(what="plan"):
                future = submit(_plan_task, run.job, key=key, pure=False)
            case _Task(what="finish"):
                work = run.work
                future = submit(
                    _finish_task, run.job, run.opened, work, key=key, pure=False, priority=1
                )
            case _Task(tile=(row, column)):
                future = submit(_tile_task, run.job, run.opened, row, column, key=key, pure=False)
        run.in_flight += 1
        future.add_done_callback(lambda done: self._back.put(_Back(run, task, done)))

    def _next(self) -> _Back:
        while True:
            try:
                return self._back.get(timeout=1.0)
            except queue.Empty:
                if self._crew.client.status != "running":
                    raise BusyError(
                        "the Dask scheduler is gone; finished tiles are kept, run again"
                    ) from None

    def _settle(self, back: _Back, result: Opened | TileReceipt | Finished) -> None:
        run, name = back.run, back.run.job.slide_id
        match result:
            case Opened(done=Finished() as before):
                run.finished = before
            case Opened():
                run.held.enter_context(lease(lease_of(run.job.out, result.job_key)))
                self._stage_done(run, "plan")
                for warning in result.warnings:
                    self._listen(Warned(name, warning))
                threads = self._crew.grow(len(result.waiting))
                how = run.job.execution
                if not how.threads:
                    run.job = replace(
                        run.job, execution=how.model_copy(update={"threads": threads})
                    )
                run.opened, run.waiting = result, deque(result.waiting)
                total = result.tiles_total
                reused = total - len(result.waiting)
                self._listen(StageStarted(name, "tiles", total, reused))
                run.work = replace(
                    run.work,
                    tiles_total=total,
                    tiles_reused=reused,
                    seconds={"plan": result.seconds},
                )
            case TileReceipt():
                run.work = replace(
                    run.work,
                    windows=run.work.windows + result.windows,
                    seconds=_sum(run.work.seconds, result.seconds),
                    peaks=run.work.peaks | {result.pid: result.peak_bytes},
                )
                self._listen(TileDone(name, result.nuclei))
            case Finished():
                self._stage_done(run, "finish")
                run.finished = result

    def _mourn(self, back: _Back) -> None:
        """A worker died; Dask blames every task that was on it, so only deaths alone count."""
        deaths = back.task.deaths + back.task.alone
        if deaths >= DEATHS:
            back.run.fail(
                WorkerLostError(
                    f"step {back.task.name} took {deaths} fresh worker processes down when it ran "
                    "alone, or ran into the time limit: the slide is damaged in a way that its "
                    "decoder does not survive, or memory is short"
                )
            )
        elif back.run.error is None:
            back.run.suspects.append(replace(back.task, deaths=deaths))

    def _advance(self, run: _Run) -> Outcome | None:
        """What follows once nothing of a slide is in flight."""
        if run.error is not None:
            return Failed(run.job, run.error)
        if run.finished is not None:
            return Done(run.job, run.finished)
        if run.opened is not None and not run.waiting and not run.suspects and not run.in_flight:
            self._stage_done(run, "tiles")
            self._listen(StageStarted(run.job.slide_id, "finish"))
            self._submit(run, _Task("finish"))
        return None

    def _stage_done(self, run: _Run, stage: str) -> None:
        now = time.monotonic()
        self._listen(StageDone(run.job.slide_id, stage, now - run.began))
        run.began = now


def _sum(so_far: dict[str, float], more: dict[str, float]) -> dict[str, float]:
    return so_far | {stage: so_far.get(stage, 0.0) + value for stage, value in more.items()}


@contextmanager
def _crew(execution: Execution) -> Iterator[_Crew]:
    if execution.scheduler is not None:
        with _elsewhere(execution.scheduler) as crew:
            yield crew
    elif execution.workers == 0:
        with _threads() as crew:
            yield crew
    else:
        with _processes(execution) as crew:
            yield crew


@contextmanager
def _elsewhere(address: str) -> Iterator[_Crew]:
    """Workers of a scheduler that somebody else started."""
    try:
        client = Client(address, timeout=20, set_as_default=False)
    except (OSError, TimeoutError) as error:
        raise BusyError(
            f"no Dask scheduler answers at the address given ({type(error).__name__})"
        ) from None
    with client:
        client.register_plugin(_WorkbenchPlugin(watch=True))
        client.wait_for_workers(1, timeout=300)

        def threads(_tiles: int) -> int:
            return 0

        yield _Crew(client, threads)


@contextmanager
def _threads() -> Iterator[_Crew]:
    """One worker on a thread of this process: nothing to start, and nothing to protect it."""
    with (
        dask.config.set(_QUIET),
        LocalCluster(
            n_workers=1,
            threads_per_worker=1,
            processes=False,
            **_LOCAL,
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        client.register_plugin(_WorkbenchPlugin(watch=False))
        yield _Crew(client, lambda _tiles: 0)


@contextmanager
def _processes(execution: Execution) -> Iterator[_Crew]:
    """Worker processes on this machine, over TLS on the loopback interface."""
    on_gpu = real_device(execution.device) in GPU_DEVICES
    places = gpu_placement(execution.workers or 0) if on_gpu else ()
    most = execution.workers or len(places) or cores()
    with (
        dask.config.set(_QUIET),
        _Placed(
            places,
            n_workers=1,
            threads_per_worker=2 if places else 1,
            processes=True,
            security=True,
            **_LOCAL,
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        client.register_plugin(_WorkbenchPlugin(watch=True))
        wanted = 1

        def grow(tiles: int) -> int:
            nonlocal wanted
            wanted = max(wanted, min(most, tiles))
            cluster.scale(wanted)
            return max(1, cores() // wanted)

        yield _Crew(client, grow)


class _Placed(LocalCluster):
    """A local cluster whose workers each see one GPU."""

    def __init__(self, places: Sequence[str], **how: Any) -> None:
        self._places = places
        self._made = 0
        super().__init__(**how)  # type: ignore[no-untyped-call]

    def new_worker_spec(self) -> dict[Any, Any]:
        spec: dict[Any, Any] = super().new_worker_spec()  # type: ignore[no-untyped-call]
        if self._places:
            for worker in spec.values():
                place = self._places[self._made % len(self._places)]
                environment = {**worker["options"].get("env", {}), "CUDA_VISIBLE_DEVICES": place}
                worker["options"] = {**worker["options"], "env": environment}
                self._made += 1
        return spec
