"""Who is working on a job.  A lease saves work; that results are right never hangs on one.

Two runs of one job would do no harm: fragments are whole or absent, and one rename decides whose
result stands.  They would only compute everything twice.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import psutil

from wsiproc.errors import BusyError
from wsiproc.store.disk import storing

HEARTBEAT_S: Final = 30.0
DEAD_S: Final = 300.0
"""An owner elsewhere whose heart has not beaten for so long is taken for dead."""


@dataclass(frozen=True, slots=True)
class Owner:
    """A process, so that others can tell whether it lives.

    Parameters
    ----------
    host, boot, space
        The machine, this start of it, and its space of process ids (containers have their own).
    pid, born
        The process, and when it started: ids are used again.
    token
        This very lease.
    """

    host: str
    boot: str
    space: str
    pid: int
    born: float
    token: str

    def neighbour_of(self, other: Owner) -> bool:
        """Whether both see each other's process ids."""
        return (self.host, self.boot, self.space) == (other.host, other.boot, other.space)


@contextmanager
def lease(path: Path) -> Iterator[None]:
    """Hold the lease file `path` while inside.

    Raises
    ------
    BusyError
        If someone who is alive holds it.
    DiskFullError, StoreError
        If it cannot be written.
    """
    owner = _myself()
    with storing("the lease of this job"):
        path.parent.mkdir(parents=True, exist_ok=True)
        _acquire(path, owner)
    stop = threading.Event()
    heart = threading.Thread(target=_beat, args=(path, owner, stop), name="lease", daemon=True)
    heart.start()
    try:
        yield
    finally:
        stop.set()
        heart.join()
        if _holder(path) == owner:
            with suppress(OSError):
                path.unlink()


def living(path: Path) -> bool:
    """Whether someone who is alive holds a lease, as far as looking can tell; writes nothing.

    For people and their pages.  Of an owner elsewhere it compares this machine's clock with the
    file server's; who has to be sure takes the lease.
    """
    return path.exists() and _alive(path, _holder(path), _myself(), None)


def _acquire(path: Path, owner: Owner) -> None:
    mine = path.with_name(f".{path.name}.{owner.token}")
    mine.write_text(json.dumps(asdict(owner)), "utf-8")
    try:
        for _ in range(3):
            try:
                _link(mine, path)
                return
            except FileExistsError:
                holder = _holder(path)
                if _alive(path, holder, owner, mine):
                    break
                _take_away(path, holder)
        raise BusyError(
            "another run is working on this slide with the same model and settings: wait for it, "
            "then run again to use its result"
        )
    finally:
        mine.unlink(missing_ok=True)


def _take_away(path: Path, dead: Owner | None) -> None:
    """Remove the lease of `dead`, but not one that somebody took meanwhile."""
    aside = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    with suppress(FileNotFoundError):
        path.rename(aside)
        if _holder(aside) != dead:
            with suppress(FileExistsError):
                _link(aside, path)
        aside.unlink()


def _link(file: Path, name: Path) -> None:
    """Give `file` another name, unless that is taken; unlike O_EXCL, never seen half written."""
    try:
        os.link(file, name)
    except FileExistsError:
        raise
    except OSError:
        # Some file systems know no links: then as good as it gets.
        with name.open("x", encoding="utf-8") as copy:
            copy.write(file.read_text("utf-8"))


def _alive(path: Path, holder: Owner | None, asking: Owner, fresh: Path | None) -> bool:
    if holder is not None and holder.neighbour_of(asking):
        try:
            return abs(psutil.Process(holder.pid).create_time() - holder.born) < 1
        except psutil.NoSuchProcess:
            return False
        except psutil.Error:
            return True
    if holder is not None and holder.host == asking.host and holder.space == asking.space:
        return False  # the machine was started again since
    try:
        now = time.time()
        if fresh is not None:
            # Both times are then the file server's, so clocks that differ do no harm.
            os.utime(fresh)
            now = fresh.stat().st_mtime
        return now - path.stat().st_mtime < DEAD_S
    except FileNotFoundError:
        return False


def _beat(path: Path, owner: Owner, stop: threading.Event) -> None:
    while not stop.wait(HEARTBEAT_S):
        if _holder(path) != owner:
            return
        with suppress(OSError):
            os.utime(path)


def _holder(path: Path) -> Owner | None:
    try:
        return Owner(**json.loads(path.read_text("utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def _myself() -> Owner:
    boot, space = "", ""
    with suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text("utf-8").strip()
    with suppress(OSError):
        space = str(Path("/proc/self/ns/pid").readlink())
    boot = boot or str(int(psutil.boot_time()))
    born = psutil.Process().create_time()
    return Owner(socket.gethostname(), boot, space, os.getpid(), born, secrets.token_hex(8))
