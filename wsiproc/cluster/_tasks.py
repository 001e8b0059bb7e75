"""The pipeline's three functions on a worker: its workbench, and the watchdog beside it.

Dask sends functions by their names, so these are what a worker imports.
"""

from __future__ import annotations

import os
import threading
from typing import Any

from distributed import WorkerPlugin, get_worker

from wsiproc.cluster._limits import limit_process
from wsiproc.finish import Finished, Work
from wsiproc.pipeline import Opened, TileReceipt, finish_slide, plan_slide, process_tile
from wsiproc.plan import Job
from wsiproc.workbench import Workbench

WORKBENCH = "wsiproc-workbench"
PLAN_LIMIT_S = 4 * 3600.0
"""Planning reads the whole file for its fingerprint, which may be large and far away."""
WATCH_EVERY_S = 0.2
HUNG = 70
"""Exit status of a worker that ended itself because a tile took too long."""


class WorkbenchPlugin(WorkerPlugin):
    """Gives each worker process its workbench, and ends the process when a tile hangs.

    Dask cannot stop a decoder that never returns: only the end of its process does.

    Parameters
    ----------
    watch
        Whether to end a process in which something hangs.
    threads
        Threads of inference for sessions whose job does not say; 0 takes all cores.
    sharing, memory_gb
        See `limit_process`; only a process that is watched is the worker's own.
    """

    name = WORKBENCH

    def __init__(
        self,
        *,
        watch: bool,
        threads: int = 0,
        sharing: int = 1,
        memory_gb: float | None = None,
    ) -> None:
        self._watch = watch
        self._sharing = sharing
        self._memory_gb = memory_gb
        self._threads = threads

    def setup(self, worker: Any) -> None:
        self.bench = Workbench(self._threads)
        self._closed = threading.Event()
        if self._watch:
            limit_process(self._sharing, self._memory_gb)
            threading.Thread(target=self._end_if_hung, name="watchdog", daemon=True).start()

    def _end_if_hung(self) -> None:
        while not self._closed.wait(WATCH_EVERY_S):
            if self.bench.overdue():
                os._exit(HUNG)

    def teardown(self, worker: Any) -> None:
        self._closed.set()
        self.bench.close()


def plan_task(job: Job) -> Opened:
    """`plan_slide` on this worker's workbench."""
    bench = _bench()
    with bench.watched(PLAN_LIMIT_S):
        return plan_slide(job, bench)


def tile_task(job: Job, opened: Opened, row: int, column: int) -> TileReceipt:
    """`process_tile` on this worker's workbench."""
    bench = _bench()
    with bench.watched(job.execution.tile_timeout_s):
        return process_tile(job, opened, row, column, bench)


def finish_task(job: Job, opened: Opened, work: Work) -> Finished:
    """`finish_slide` on this worker's workbench."""
    return finish_slide(job, opened, work, _bench())


def _bench() -> Workbench:
    plugin = get_worker().plugins[WORKBENCH]
    assert isinstance(plugin, WorkbenchPlugin)
    return plugin.bench
