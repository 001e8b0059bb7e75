"""What a worker process may take of its machine, so that no slide takes all of it."""

from __future__ import annotations

import resource

from distributed.system import memory_limit

from wsiproc.model import visible_gpus

GIB = 1 << 30
ENOUGH = 16 * GIB
"""What any worker may take if the machine has it; most take a tenth."""
SHARE = 0.9
"""Of the machine's memory, or of what its container may use; the rest is the system's."""


def limit_process(sharing: int, given_gb: float | None = None) -> None:
    """Bound the memory of this process, and let it leave no core dump: that would hold pixels.

    What asks for more gets a `MemoryError`, or ends its process if it is a library that does not
    ask twice; either is the end of a step and not of the machine.  Processes it starts inherit
    both.

    Parameters
    ----------
    sharing
        Worker processes of this machine, as far as they are known.
    given_gb
        The bound in GiB, in place of a share of the machine's memory.  It counts what is
        allocated, about twice of what ends up in memory.

    Notes
    -----
    ``RLIMIT_DATA`` counts private writable memory.  ``RLIMIT_AS`` would count mapped files and
    reserved addresses too, of which network engines have tens of gigabytes.  A process that may
    use a GPU has no bound unless one is given: its driver maps the GPU's memory.
    """
    _lower(resource.RLIMIT_CORE, 0)
    if given_gb is not None:
        _lower(resource.RLIMIT_DATA, round(given_gb * GIB))
    elif not visible_gpus():
        _lower(resource.RLIMIT_DATA, bound_bytes(memory_limit(), sharing))


def bound_bytes(machine: int, sharing: int) -> int:
    """A worker's bound on a machine with so many bytes and workers."""
    return round(min(SHARE * machine, max(ENOUGH, SHARE * machine / sharing)))


def _lower(which: int, to: int) -> None:
    """Set both limits, hard and soft; one that is lower already stays."""
    _, hard = resource.getrlimit(which)
    if hard == resource.RLIM_INFINITY or hard > to:
        resource.setrlimit(which, (to, to))
