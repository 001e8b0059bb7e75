"""A step on a worker: its workbench, and the watchdog beside it.

Dask sends functions by their names, so these are what a worker imports.
"""

from __future__ import annotations

import os
import threading
from typing import Any

from distributed import WorkerPlugin, get_worker

from wsiproc.cluster._alone import HUNG, WATCH_EVERY_S, carry_out_alone
from wsiproc.cluster._limits import limit_process
from wsiproc.cluster._orders import Order, Result, carry_out
from wsiproc.workbench import Workbench

WORKBENCH = "wsiproc-workbench"


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
        self.threads = threads

    def setup(self, worker: Any) -> None:
        self.bench = Workbench(self.threads)
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


def shared_task(order: Order) -> Result:
    """A step on this worker's workbench."""
    return carry_out(order, _plugin().bench)


def alone_task(order: Order) -> Result:
    """A step in a process of its own, beside this worker."""
    return carry_out_alone(order, _plugin().threads)


def _plugin() -> WorkbenchPlugin:
    plugin = get_worker().plugins[WORKBENCH]
    assert isinstance(plugin, WorkbenchPlugin)
    return plugin
