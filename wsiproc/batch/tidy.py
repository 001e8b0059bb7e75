"""What runs have left behind and nothing refers to any more.

Never a result, a record or the audit log; never the work of a job that is not published, since
the next run goes on from it; and nothing that somebody may be at work on.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from wsiproc.batch.records import nights_folder
from wsiproc.errors import BusyError, StoreError
from wsiproc.store.lease import lease, living
from wsiproc.store.manifest import MANIFEST, WORK, lease_of, read_manifest, state_of
from wsiproc.store.staging import abandoned, discard_work, recover, set_aside, untouched

QUIET_S: Final = 3600.0
"""What changed more recently may be in use; and a run that was halted for longer and wakes up
loses an attempt, never a finished tile or a result."""
_KEY = re.compile(r"[0-9a-f]{64}")
_TEMPORARY = re.compile(r"\..+\.(\d+-[0-9a-f]{8}\.tmp|lease\.[0-9a-f]{16})")
"""As `store.disk` and `store.lease` call what they have not finished."""

What = Literal["work", "staging", "replaced", "temporary", "lease"]


@dataclass(frozen=True, slots=True)
class Leftover:
    """Something that was removed, or would be.

    Parameters
    ----------
    what
        Plan and fragments of a published job; an attempt's files; an old result whose successor
        is published; a half-written file; the lease of a dead run.
    name
        Where it is, from the output folder.
    bytes
        Its size.
    """

    what: What
    name: str
    bytes: int


def tidy(out: Path, *, dry_run: bool = False) -> Iterator[Leftover]:
    """Remove what nothing refers to, and say so one by one.

    Parameters
    ----------
    dry_run
        Only say what would be removed.

    Raises
    ------
    StoreError
        If the output folder cannot be read.
    """
    work = out / WORK
    try:
        names = sorted(path.name for path in work.iterdir())
    except FileNotFoundError:
        if not out.is_dir():
            raise StoreError("the output folder is not there") from None
        return
    except OSError as error:
        raise StoreError(f"the output folder cannot be read: {error.strerror}") from None
    keys = [name for name in names if _KEY.fullmatch(name) and (work / name).is_dir()]
    yield from _published_work(out, keys, dry_run)
    # Staging is done under a lease, so without one nobody is at it; with one it takes days to
    # be sure.
    quiet = not any(living(each) for each in work.glob("*.lease"))
    for attempt in abandoned(out, QUIET_S) if quiet else abandoned(out):
        yield from _removed(out, attempt, "staging", dry_run)
    yield from _replaced(out, dry_run)
    for path in _temporaries(out):
        yield from _removed(out, path, "temporary", dry_run)
    yield from _dead_leases(out, dry_run)


def _published_work(out: Path, keys: list[str], dry_run: bool) -> Iterator[Leftover]:
    """A job's work is of no use once it is published; a run that ended just then left it."""
    published = _published_keys(out) if keys else frozenset()
    for key in keys:
        folder = out / WORK / key
        if key not in published or not untouched(folder, QUIET_S):
            continue
        name, size = f"{WORK}/{key}", _size(folder)
        if dry_run:
            if not living(lease_of(out, key)):
                yield Leftover("work", name, size)
            continue
        with suppress(BusyError), lease(lease_of(out, key)):
            discard_work(out, key)
            yield Leftover("work", name, size - _size(folder))


def _published_keys(out: Path) -> frozenset[str]:
    keys = set()
    for path in out.glob(f"*/{MANIFEST}"):
        with suppress(OSError):  # a damaged one vouches for nothing
            key = read_manifest(path.parent).job_key
            if state_of(out, path.parent.name, key) == "done":
                keys.add(key)
    return frozenset(keys)


def _replaced(out: Path, dry_run: bool) -> Iterator[Leftover]:
    """Old results: put back where nothing took their place, as the next run would."""
    for old in set_aside(out):
        superseded, size = (out / old.name).exists(), _size(old)
        if not dry_run:
            recover(out, old.name)
        if superseded and (dry_run or not old.exists()):
            yield Leftover("replaced", str(old.relative_to(out)), size)


def _temporaries(out: Path) -> list[Path]:
    """Half-written files that nobody has touched for long; not those of attempts and results."""
    places = [out.glob(".*"), (out / WORK).glob(".*"), (out / WORK / "batch").rglob(".*")]
    places += [
        folder.rglob(".*") for folder in (out / WORK).iterdir() if _KEY.fullmatch(folder.name)
    ]
    return sorted(
        path
        for place in places
        for path in place
        if _TEMPORARY.fullmatch(path.name) and path.is_file() and untouched(path, QUIET_S)
    )


def _dead_leases(out: Path, dry_run: bool) -> Iterator[Leftover]:
    """Of dead runs, where no work waits for somebody who takes the lease over."""
    leases = [*(out / WORK).glob("*.lease"), *nights_folder(out).glob("*.lease")]
    for path in sorted(leases):
        if path.with_suffix("").is_dir() or not untouched(path, QUIET_S) or living(path):
            continue
        found = Leftover("lease", str(path.relative_to(out)), _size(path))
        if not dry_run:
            # Taking it is the only way to be sure; giving it back removes it.
            try:
                with lease(path):
                    pass
            except BusyError:
                continue
        yield found


def _removed(out: Path, path: Path, what: What, dry_run: bool) -> Iterator[Leftover]:
    size = _size(path)
    if not dry_run:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            with suppress(OSError):
                path.unlink()
        if path.exists():
            return
    yield Leftover(what, str(path.relative_to(out)), size)


def _size(path: Path) -> int:
    """Bytes of a file, or of all files in a folder; 0 for what has gone."""
    total = 0
    with suppress(OSError):
        for each in (path, *path.rglob("*")) if path.is_dir() else (path,):
            with suppress(OSError):
                now = each.lstat()
                total += now.st_size if not each.is_dir() else 0
    return total
