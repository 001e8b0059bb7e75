"""What a worker is asked for, and the doing of it: the pipeline's functions by name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from wsiproc.errors import NotReadyError, SlideError, SlideReadError, StorageError
from wsiproc.finish import Finished, Work
from wsiproc.pipeline import Opened, TileReceipt, finish_slide, plan_slide, process_tile
from wsiproc.plan import Job
from wsiproc.slide.arrival import Seen, see
from wsiproc.workbench import Workbench

WHOLE_SLIDE_LIMIT_S = 4 * 3600.0
"""Reading a whole file for its fingerprint, or joining and writing all of its nuclei: the file may
be large, and its disk far away."""

What = Literal["identify", "plan", "tile", "finish"]
Result = Seen | Opened | TileReceipt | Finished


@dataclass(frozen=True, slots=True)
class Order:
    """One step of one slide, with all that it takes.

    Parameters
    ----------
    what
        ``identify`` reads the whole slide for its fingerprint; the others are the pipeline's.
    opened, work, tile
        What planning said, what was done so far, and (row, column): where the step takes them.
    leave_out
        Whether a tile that cannot be read is stored as such instead of failing.
    last
        Whether the slide fails if this does.  Then its files are read once more, so that a disk
        or a network is not taken for a bad slide.
    """

    what: What
    job: Job
    opened: Opened | None = None
    work: Work | None = None
    tile: tuple[int, int] | None = None
    leave_out: bool = False
    last: bool = False


def carry_out(order: Order, bench: Workbench) -> Result:
    """Do what is asked for.

    Raises
    ------
    WsiprocError
        What the step raises; `NotReadyError` or `StorageError` if it is the `last` try and the
        slide's files are not, or cannot be read as, what they were.
    """
    with bench.watched(limit_s(order)):
        try:
            return _step(order, bench)
        except SlideError as error:
            if order.last:
                _make_sure(order.job, error)
            if order.leave_out and isinstance(error, SlideReadError):
                return _tile(order, bench, leave_out=True)
            raise


def _step(order: Order, bench: Workbench) -> Result:
    match order:
        case Order(what="identify"):
            return see(order.job.slide)
        case Order(what="plan"):
            return plan_slide(order.job, bench)
        case Order(what="finish", opened=Opened() as opened, work=Work() as work):
            return finish_slide(order.job, opened, work, bench)
    return _tile(order, bench, leave_out=False)


def _tile(order: Order, bench: Workbench, *, leave_out: bool) -> TileReceipt:
    assert order.opened is not None
    assert order.tile is not None
    return process_tile(order.job, order.opened, *order.tile, bench, leave_out=leave_out)


def limit_s(order: Order) -> float:
    """How long a step may take before it counts as hung."""
    return order.job.execution.tile_timeout_s if order.what == "tile" else WHOLE_SLIDE_LIMIT_S


def _make_sure(job: Job, error: SlideError) -> None:
    """Return if the slide's bytes are what they were, so that `error` says something of them."""
    if job.seen is None or isinstance(error, NotReadyError | StorageError):
        return
    if see(job.slide).fingerprint != job.seen.fingerprint:
        raise NotReadyError("the slide's files have changed since they were looked at") from None
