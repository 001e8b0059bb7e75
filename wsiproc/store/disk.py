"""Files that are whole or not there, and what a failing disk means."""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from wsiproc.errors import DiskFullError, StoreError, WsiprocError

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)


@contextmanager
def storing(what: str) -> Iterator[None]:
    """Say what an `OSError` inside means for whoever waits for `what`.

    Paths stay out of the messages: a slide's name can name a patient.

    Raises
    ------
    DiskFullError
        If the disk or a quota is full.
    StoreError
        For every other failure.
    """
    try:
        yield
    except WsiprocError:
        raise
    except OSError as error:
        why = error.strerror or os.strerror(error.errno or errno.EIO)
        if error.errno in _FULL:
            raise DiskFullError(
                f"cannot write {what}: {why}; free space and run again, finished tiles are kept"
            ) from None
        if error.errno in _FORBIDDEN:
            raise StoreError(
                f"cannot write {what}: {why}; name an --out that this user may write to"
            ) from None
        raise StoreError(f"cannot write {what}: {why}") from error


def write_whole(path: Path, data: bytes) -> None:
    """Write a file so that nobody, not even after a crash, finds a part of it under its name."""
    with staged(path) as temporary, temporary.open("xb") as file:
        file.write(data)


@contextmanager
def staged(path: Path) -> Iterator[Path]:
    """A temporary name beside `path`; what is there afterwards is made durable and takes its place.

    On any error the temporary file is removed and `path` stays as it was.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    try:
        yield temporary
        sync(temporary)
        temporary.replace(path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise
    sync(path.parent)


def sync(path: Path) -> None:
    """Bring a file or a folder to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        # Some network file systems know no fsync of a folder.
        if not path.is_dir() or error.errno not in (errno.EINVAL, errno.EBADF, errno.ENOTSUP):
            raise
    finally:
        os.close(handle)
