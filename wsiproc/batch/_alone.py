"""One process at a time at a file that many append to."""

from __future__ import annotations

import errno
import fcntl
import os
import random
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Final

from wsiproc.errors import BusyError
from wsiproc.store.lease import lease

PATIENCE_S: Final = 60.0
"""How long to wait for others; each is at it for milliseconds, unless it was halted."""
_NO_LOCKS: Final = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP)


@contextmanager
def alone(path: Path) -> Iterator[int]:
    """The file, made if need be and open for appending, while nobody else has it so.

    The kernel lets go of it when a process dies.  On a file system without locks a lease beside
    the file, ``NAME.lease``, takes their place.

    Raises
    ------
    BusyError
        If somebody else keeps it for a minute.
    OSError
        If it cannot be opened.
    """
    with ExitStack() as held:
        until = time.monotonic() + PATIENCE_S
        while True:
            file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
            held.callback(os.close, file)
            if not locked(file, fcntl.LOCK_EX, until):
                _lease(held, path.with_name(f"{path.name}.lease"), until)
            if _still(path, file):
                break
            # It was moved away while this process waited: the lock is on the old one.
            held.close()
        yield file


def locked(file: int, how: int, until: float) -> bool:
    """Lock an open file as `how` says until it is closed; False where locks are not known.

    Raises
    ------
    BusyError
        If somebody else keeps it until then, on the monotonic clock.
    """
    while True:
        try:
            fcntl.flock(file, how | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            _wait(until)
        except OSError as error:
            if error.errno in _NO_LOCKS:
                return False
            raise


def _lease(held: ExitStack, path: Path, until: float) -> None:
    while True:
        with suppress(BusyError):
            held.enter_context(lease(path))
            return
        _wait(until)


def _still(path: Path, file: int) -> bool:
    with suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(file), path.stat())
    return False


def _wait(until: float) -> None:
    if time.monotonic() > until:
        raise BusyError("somebody else keeps the audit log locked: see what holds it, run again")
    time.sleep(random.uniform(0.002, 0.02))  # noqa: S311
