"""The workers: a thread of this process, processes of this machine, or a scheduler elsewhere."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

import dask
from distributed import Client, LocalCluster, Status

from wsiproc.cluster._tasks import WorkbenchPlugin
from wsiproc.config import Execution
from wsiproc.errors import BusyError, ConfigError
from wsiproc.model import cores, gpu_placement, real_device

GPU_DEVICES = ("cuda", "tensorrt")

_QUIET = {
    # Stacks sampled every 10 ms would cost a few percent of every worker, and nobody looks.
    "distributed.worker.profile.enabled": False,
    # Every task on a worker that dies comes back at once; `Run.mourn` finds out which one did it.
    "distributed.scheduler.allowed-failures": 0,
    # A worker that died is started again by its nanny; on a busy machine that takes a while.
    "distributed.deploy.lost-worker-timeout": "120s",
    "distributed.comm.timeouts.connect": "120s",
    "distributed.admin.tick.limit": "60s",
    # The scheduler remembers what it did; a night of a thousand slides would show.
    "distributed.admin.low-level-log-length": 100,
    "distributed.worker.daemon": True,
    # Without a dashboard Dask still listens for HTTP; it finds nothing to serve.
    "distributed.scheduler.http.routes": [],
    "distributed.worker.http.routes": [],
}
_LOCAL: Mapping[str, Any] = {
    "dashboard_address": None,
    "scheduler_kwargs": {"dashboard_address": "127.0.0.1:0"},
    "worker_dashboard_address": "127.0.0.1:0",
    "silence_logs": logging.CRITICAL,
    "memory_limit": 0,
    # Killed at the wrong moment a worker is never heard of; then others are started in its place.
    "death_timeout": 120,
}
"""What every cluster of this machine has: no page, no port that others know, no log."""


def _leave() -> None:
    """Workers that others started are theirs to replace."""


@dataclass(frozen=True, slots=True)
class Crew:
    """The workers at hand."""

    client: Client
    grow: Callable[[int], int]
    """Asks for enough workers for so many tiles; says how many threads of inference each has, or
    0 where the session is to find out."""
    mend: Callable[[], None] = _leave
    """Replaces workers that are gone for good; to be called now and then."""

    @property
    def threads(self) -> int:
        """Tasks that can run at once."""
        threads: int = sum(self.client.nthreads().values())
        return max(1, threads)


def crew(execution: Execution, *, many: bool = False) -> AbstractContextManager[Crew]:
    """The workers that `execution` asks for, while inside; with `many` slides all at once.

    Raises
    ------
    BusyError
        If the scheduler elsewhere does not answer, or a worker dies while it starts.
    ConfigError
        If it wants certificates, and the Dask settings name none.
    """
    if execution.scheduler is not None:
        return _elsewhere(execution.scheduler, execution.memory_gb)
    if execution.workers == 0:
        return _thread()
    return _processes(execution, many=many)


@contextmanager
def _elsewhere(address: str, memory_gb: float | None) -> Iterator[Crew]:
    """Workers of a scheduler that somebody else started."""
    if address.startswith("tls://") and not dask.config.get("distributed.comm.tls.ca-file"):
        raise ConfigError(
            "a scheduler at tls:// wants certificates: name the folder of the Dask settings that "
            "point to them in the environment variable DASK_CONFIG, see deploy/dask"
        )
    try:
        client = Client(address, timeout=20, set_as_default=False)
    except (OSError, TimeoutError) as error:
        raise BusyError(
            f"no Dask scheduler answers at the address given ({type(error).__name__})"
        ) from None
    with client:
        client.register_plugin(WorkbenchPlugin(watch=True, memory_gb=memory_gb))
        client.wait_for_workers(1, timeout=300)
        yield Crew(client, lambda _tiles: 0)


@contextmanager
def _thread() -> Iterator[Crew]:
    """One worker on a thread of this process: nothing to start, and nothing to protect it."""
    with (
        dask.config.set(_QUIET),
        LocalCluster(n_workers=1, threads_per_worker=1, processes=False, **_LOCAL) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        client.register_plugin(WorkbenchPlugin(watch=False))
        yield Crew(client, lambda _tiles: 0)


@contextmanager
def _processes(execution: Execution, *, many: bool) -> Iterator[Crew]:
    """Worker processes on this machine, over TLS on the loopback interface."""
    on_gpu = real_device(execution.device) in GPU_DEVICES
    places = gpu_placement(execution.workers or 0) if on_gpu else ()
    most = execution.workers or len(places) or cores()
    # Workers that were asked for start while the first slide is planned; else one does, and more
    # if there are tiles for them.
    at_once = most if many else execution.workers or 1
    with (
        dask.config.set(_QUIET),
        _started(places, at_once) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        # Planning opens its session with the threads that tiles will have, so that it is theirs.
        client.register_plugin(
            WorkbenchPlugin(
                watch=True,
                threads=max(1, cores() // most),
                sharing=most,
                memory_gb=execution.memory_gb,
            )
        )
        wanted = most if many else 1

        def grow(tiles: int) -> int:
            nonlocal wanted
            wanted = max(wanted, min(most, tiles))
            cluster.scale(max(wanted, at_once))
            return max(1, cores() // wanted)

        def mend() -> None:
            cluster.loop.add_callback(_replace_dead, cluster, max(wanted, at_once))

        yield Crew(client, grow, mend)


def _started(places: Sequence[str], workers: int) -> LocalCluster:
    """The cluster, once each of its `workers` is there."""
    try:
        return _Placed(
            places,
            n_workers=workers,
            threads_per_worker=2 if places else 1,
            processes=True,
            security=True,
            **_LOCAL,
        )
    except RuntimeError as error:
        raise BusyError(f"workers cannot be started ({error}); run again") from None


def _replace_dead(cluster: LocalCluster, wanted: int) -> None:
    """Start others for workers whose nannies gave up, as they do when one dies while it starts."""
    dead = [
        name
        for name, nanny in cluster.workers.items()
        if nanny.status in (Status.closed, Status.failed)
    ]
    for name in dead:
        del cluster.workers[name]
    if len(cluster.workers) < wanted:
        cluster.scale(wanted)  # starts what is specified and not there, unless it does so already


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
