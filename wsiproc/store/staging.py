"""From finished files to a published result: one rename, that fails if another is there.

::

    OUT/.wsiproc/JOB_KEY/...                 plan and fragments, shared by all attempts at a job
    OUT/.wsiproc/staging-RANDOM/SLIDE_ID/    one attempt's files
    OUT/.wsiproc/replaced-RANDOM/SLIDE_ID/   an old result, while a new one takes its place
    OUT/SLIDE_ID/                            the result

Renaming a folder over another succeeds only if that one is empty, on every POSIX file system; and
a published folder never is.  So the rename itself decides who won, without a lock.

Replacing needs two renames.  After a crash between them nothing is at ``OUT/SLIDE_ID`` and the old
result is whole under ``replaced-RANDOM``: `recover`, which every `claim` calls, puts it back.
After a crash while staging the attempt's files are of no use to anybody; `claim` removes them once
they are so old that nobody can be at work on them.
"""

from __future__ import annotations

import errno
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from wsiproc.errors import AlreadyThereError, StoreError
from wsiproc.store.disk import storing, sync, write_whole
from wsiproc.store.geoparquet import check_file
from wsiproc.store.manifest import (
    MANIFEST,
    WORK,
    Manifest,
    State,
    StoredFile,
    digest,
    read_manifest,
    state_of,
)

_TAKEN = (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR, errno.EISDIR)
_TRIES = 100
"""Every try that fails is one in which another attempt got somewhere."""
_ABANDONED_S = 2 * 24 * 3600.0
"""Staging takes minutes, and touches a file every few seconds.  A process that was halted for
longer and wakes up finds its attempt gone: it fails, and its fragments are still there."""


@dataclass(frozen=True, slots=True)
class Published:
    """This attempt's files are the result."""

    folder: Path
    manifest: Manifest


@dataclass(frozen=True, slots=True)
class LostRace:
    """Another attempt at the same job was first; `manifest` is its."""

    folder: Path
    manifest: Manifest


def claim(out: Path, slide_id: str, key: str, *, replace: bool = False) -> State:
    """What stands where a job's result would go, if the job may go on.

    Tidies up first what crashes left behind.

    Raises
    ------
    AlreadyThereError
        If something else stands there and `replace` is not given, or may not be replaced.
    """
    recover(out, slide_id)
    _sweep(out)
    state = state_of(out, slide_id, key)
    if state == "foreign":
        raise AlreadyThereError(
            f"{slide_id!r} in the output folder was not written by wsiproc: move it away, or name "
            "another --out or --slide-id"
        )
    if state in ("other", "damaged") and not replace:
        what = (
            "is damaged" if state == "damaged" else "was made from another slide, model or settings"
        )
        raise AlreadyThereError(
            f"the result {slide_id!r} in the output folder {what}: --replace replaces it, or name "
            "another --out or --slide-id"
        )
    return state


@contextmanager
def staging(out: Path, slide_id: str) -> Iterator[Path]:
    """A new folder to write a result's files into; gone afterwards, unless it was published.

    Raises
    ------
    DiskFullError, StoreError
        If it cannot be made, and for every failure of the disk inside.
    """
    attempt = out / WORK / f"staging-{secrets.token_hex(8)}"
    with storing("to the output folder"):
        folder = attempt / slide_id
        folder.mkdir(parents=True)
    try:
        with storing("the result"):
            yield folder
    finally:
        shutil.rmtree(attempt, ignore_errors=True)


def publish(
    folder: Path, manifest: Manifest, out: Path, *, replace: bool = False
) -> Published | LostRace:
    """Check the files in `folder`, write their manifest and make them the result.

    Parameters
    ----------
    folder
        From `staging`, with all files of the result but the manifest.
    manifest
        Without `files`.
    replace
        Put it in the place of any other result of wsiproc.

    Raises
    ------
    AlreadyThereError
        If something else stands there and `replace` is not given.
    StoreError
        If the files are not what the manifest says, or the disk fails.
    """
    with storing("the result"):
        complete = manifest.model_copy(update={"files": _checked(folder, manifest)}).sealed()
        text = complete.to_json().encode()
        write_whole(folder / MANIFEST, text)
        for inner in sorted(path for path in folder.rglob("*") if path.is_dir()):
            sync(inner)
        sync(folder.parent)
        target = out / manifest.slide_id
        for _ in range(_TRIES):
            if _moved(folder, target, text):
                sync(out)
                return Published(target, complete)
            state = claim(out, manifest.slide_id, manifest.job_key, replace=replace)
            if state == "done" and not replace:
                return LostRace(target, read_manifest(target))
            if state != "absent":
                with _aside(target, out):
                    if _moved(folder, target, text):
                        sync(out)
                        return Published(target, complete)
    raise StoreError("another run keeps publishing at the same place: let it finish, run again")


def recover(out: Path, slide_id: str) -> None:
    """Put back an old result whose replacement did not get to its place."""
    for old in sorted((out / WORK).glob(f"replaced-*/{slide_id}")):
        # Also the remains of a replacement that did, and whose run ended before it tidied up.
        _put_back(old.parent, out / slide_id)


def discard_work(out: Path, key: str) -> None:
    """Remove plan and fragments of a job that is published; never fails."""
    shutil.rmtree(out / WORK / key, ignore_errors=True)


def abandoned(out: Path, quiet_s: float = _ABANDONED_S) -> list[Path]:
    """What attempts that ended without tidying up have staged: nothing in it changed lately."""
    return [attempt for attempt in (out / WORK).glob("staging-*") if untouched(attempt, quiet_s)]


def set_aside(out: Path) -> list[Path]:
    """Old results whose replacement ended between its two renames, or before it tidied up."""
    return sorted((out / WORK).glob("replaced-*/*"))


def untouched(folder: Path, quiet_s: float) -> bool:
    """Whether nothing in a folder has changed for so many seconds."""
    since = time.time() - quiet_s
    try:
        return all(path.stat().st_mtime < since for path in (folder, *folder.rglob("*")))
    except OSError:
        # Somebody is at work on it, or it is none of ours.
        return False


def _sweep(out: Path) -> None:
    """Remove what was staged and abandoned long ago; never fails."""
    for empty in (out / WORK).glob("replaced-*"):
        # Made by a run that ended before it put anything there.
        if untouched(empty, _ABANDONED_S):
            with suppress(OSError):
                empty.rmdir()
    for attempt in abandoned(out):
        shutil.rmtree(attempt, ignore_errors=True)


def _checked(folder: Path, manifest: Manifest) -> dict[str, StoredFile]:
    """Every file brought to the disk, opened again and hashed."""
    files = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        name = path.relative_to(folder).as_posix()
        if name == MANIFEST:
            continue
        sync(path)
        rows = check_file(path) if path.suffix == ".parquet" else None
        files[name] = StoredFile(bytes=path.stat().st_size, sha256=digest(path), rows=rows)
    for name in ("centroids.parquet", "nuclei.parquet"):
        if name in files and files[name].rows != manifest.nuclei:
            raise StoreError(
                f"{name} has {files[name].rows} rows, but {manifest.nuclei} nuclei were counted"
            )
    if "centroids.parquet" not in files:
        raise StoreError("the result is incomplete: it has no centroids.parquet")
    return files


def _moved(folder: Path, target: Path, text: bytes) -> bool:
    """Rename `folder` to `target`; False if something is there already."""
    try:
        folder.rename(target)
    except OSError as error:
        if error.errno in _TAKEN:
            return False
        # A network file system may repeat a rename that has succeeded, and report the second.
        if error.errno == errno.ENOENT and not folder.exists():
            with suppress(OSError):
                return (target / MANIFEST).read_bytes() == text
        raise
    return True


@contextmanager
def _aside(target: Path, out: Path) -> Iterator[None]:
    """Without what stood at `target`; put back if nothing took its place."""
    away = out / WORK / f"replaced-{secrets.token_hex(8)}"
    away.mkdir(parents=True)
    try:
        with suppress(FileNotFoundError):
            target.rename(away / target.name)
            sync(away)
            sync(out)
        yield
    finally:
        _put_back(away, target)


def _put_back(away: Path, target: Path) -> None:
    """Give an old result its place again if nothing took it, and remove what it was kept in."""
    with suppress(OSError):  # others put things back too
        if not target.exists():
            (away / target.name).rename(target)
    if target.exists():
        shutil.rmtree(away, ignore_errors=True)
    else:
        with suppress(OSError):
            away.rmdir()
