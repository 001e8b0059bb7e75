"""What kind of trouble an error is, and what follows from it.

===============  =====================================  =========================================
kind             errors                                 what follows
===============  =====================================  =========================================
input            the slide is bad; a step takes its     quarantined, once a fresh process says
                 process down                           the same
not_ready        it changed, or does not open and       the next run looks again
                 came less than a day ago
resource         memory, disk                           tried again later, with half the batch of
                                                        windows after memory; then waits
infrastructure   the file or result is out of reach     tried again later; then waits
bug              anything that wsiproc did not raise    quarantined at once
                 on purpose
===============  =====================================  =========================================

A half-copied file and a foreign one raise the same error, so one that does not open is bad only
when it has been left alone for a day, or its copier says that it is whole.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from wsiproc.batch.ready import Look
from wsiproc.batch.records import Kind, Trouble
from wsiproc.cluster import Failed, where
from wsiproc.errors import (
    AlreadyThereError,
    BusyError,
    ConfigError,
    DiskFullError,
    ModelError,
    NotReadyError,
    SlideError,
    SlideFormatError,
    StorageError,
    StrangeError,
    WorkerLostError,
    WsiprocError,
)
from wsiproc.frozen import Frozen

OUT_OF_MEMORY = ("bad_alloc", "out of memory", "failed to allocate", "cannot allocate memory")
"""What libraries say when memory is short, in lower case."""


class Policy(Frozen):
    """How patient a batch is."""

    stable_for_s: float = Field(default=120.0, ge=0)
    """A slide whose files have not changed for so long is complete."""
    unsure_for_s: float = Field(default=24 * 3600.0, ge=0)
    """A slide that does not open is taken for one that is still being copied, until its files
    have not changed for so long."""
    tries: int = Field(default=3, ge=1)
    """How often a slide is begun before its resource or infrastructure is left to the next run."""
    pause_s: float = Field(default=30.0, ge=0)
    """Before the second try; doubled for each further one."""
    longest_pause_s: float = Field(default=900.0, ge=0)


def kind_of(failed: Failed, look: Look | None, policy: Policy) -> Kind:
    """What kind of trouble a slide has; `look` is what its files looked like when it was begun."""
    match failed.error:
        case NotReadyError():
            return "not_ready"
        case StorageError():
            return "infrastructure"
        case SlideError() as error:
            return "not_ready" if _may_be_coming(error, look, policy) else "input"
        case WorkerLostError(killed=killed):
            return "resource" if killed else "input"
        case MemoryError() | DiskFullError():
            return "resource"
        case WsiprocError() as error:
            return "resource" if _names_memory(error) else "infrastructure"
        case error:
            return "resource" if _names_memory(error) else "bug"


def _may_be_coming(error: SlideError, look: Look | None, policy: Policy) -> bool:
    if look is None or look.announced or look.quiet_s >= policy.unsure_for_s:
        return False
    # Of a slide in several files any part may be missing, and it shows in any way.
    return isinstance(error, SlideFormatError) or look.stamp.files > 1


def ends_the_batch(failed: Failed) -> bool:
    """Whether no other slide could fare better: model, settings or place of results are wrong."""
    while_planning = failed.tile is None and failed.batch == 0
    return while_planning and isinstance(failed.error, ModelError | ConfigError | AlreadyThereError)


def is_elsewhere(failed: Failed) -> bool:
    """Whether another batch is at work on the slide right now."""
    return isinstance(failed.error, BusyError)


def short_of_memory(error: Exception) -> bool:
    """Whether a smaller batch of windows may help."""
    killed = isinstance(error, WorkerLostError) and error.killed
    return killed or isinstance(error, MemoryError) or _names_memory(error)


def _names_memory(error: Exception) -> bool:
    text = str(error).lower()
    return any(sign in text for sign in OUT_OF_MEMORY)


def pause_s(tries: int, policy: Policy, chance: float) -> float:
    """How long to wait after so many tries: twice as long each time, and not all at one moment.

    Parameters
    ----------
    tries
        That have failed, 1 or more.
    chance
        Random number in [0, 1): the pause is between half and all of the full one.
    """
    full = min(policy.longest_pause_s, policy.pause_s * 2.0 ** (tries - 1))
    return full * (0.5 + 0.5 * chance)


def trouble_of(failed: Failed, kind: Kind, *, slide: Path, reproduce: str) -> Trouble:
    """An error as it stands in a record: without names of files.

    Errors that are raised on purpose hold none; of a bug's, only class and place are told, since
    its message was never looked at.
    """
    error = failed.error
    if isinstance(error, WsiprocError):
        name, message = type(error).__name__, _without(str(error), slide)
    elif isinstance(error, StrangeError):
        name, message = error.name, f"a bug of wsiproc, at {error.where}"
    elif isinstance(error, MemoryError):
        name, message = "MemoryError", "memory is short"
    else:
        name, message = type(error).__name__, f"a bug of wsiproc, at {where(error)}"
    return Trouble(kind=kind, error=name, message=message, tile=failed.tile, reproduce=reproduce)


def _without(text: str, slide: Path) -> str:
    """`text` without the slide's path and name, should they be in it after all."""
    for name in (str(slide), str(slide.parent), slide.name, slide.stem):
        if len(name) > 3:
            text = text.replace(name, "(slide)")
    return text
