"""Where an export goes: it is there whole or not at all, and takes nobody's place unasked."""

from __future__ import annotations

import errno
import json
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from wsiproc.errors import AlreadyThereError, DiskFullError
from wsiproc.results.stored import StoredResult
from wsiproc.store.disk import staged, storing

_LEAST: Final = 1 << 20
"""Bytes; a disk with less is full."""

NOTE: Final = "export.json"
"""In folders that an export makes: what it is.  Zarr stores have it in their attributes."""

MARK: Final = "wsiproc"
"""Under which it stands.  A folder without it is somebody else's."""


@contextmanager
def one_file(out: Path, *, replace: bool) -> Iterator[Path]:
    """A temporary name beside `out`; the file that is written there takes its place.

    Raises
    ------
    AlreadyThereError
        If `out` is there and `replace` is not given, or it is a folder.
    DiskFullError, StoreError
        If it cannot be written; then nothing is left behind.
    """
    if out.is_dir():
        raise AlreadyThereError("--out is a folder, and this export is a file: name a file")
    _vacant(out, replace=replace)
    with storing("the export"):
        out.parent.mkdir(parents=True, exist_ok=True)
        with staged(out) as temporary, _full_or_broken(out.parent):
            yield temporary


@contextmanager
def one_folder(out: Path, *, replace: bool) -> Iterator[Path]:
    """A temporary folder beside `out`, that takes its place when it is full.

    Only a folder that an export made is ever replaced.

    Raises
    ------
    AlreadyThereError
        If `out` is there and `replace` is not given, or no export made it.
    DiskFullError, StoreError
        If it cannot be written; then nothing is left behind.
    """
    _vacant(out, replace=replace)
    if _there(out) and not _is_export(out):
        raise AlreadyThereError(
            "what stands at --out was not written by `wsiproc export`: move it away, or name "
            "another --out"
        )
    mark = f".{out.name}.{os.getpid()}-{secrets.token_hex(4)}"
    temporary, old = out.with_name(f"{mark}.tmp"), out.with_name(f"{mark}.old")
    with storing("the export"):
        out.parent.mkdir(parents=True, exist_ok=True)
        temporary.mkdir()
        try:
            with _full_or_broken(out.parent):
                yield temporary
            if _there(out):
                out.rename(old)
            temporary.rename(out)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            if old.exists() and not _there(out):
                with suppress(OSError):
                    old.rename(out)
            raise
        if old.is_symlink():
            old.unlink()
        shutil.rmtree(old, ignore_errors=True)


@contextmanager
def _full_or_broken(parent: Path) -> Iterator[None]:
    """Tell a full disk from other faults: GDAL and SQLite don't, and some writers half."""
    try:
        yield
    except OSError as error:
        known = isinstance(error, DiskFullError) or error.errno in (errno.ENOSPC, errno.EDQUOT)
        if known or shutil.disk_usage(parent).free < _LEAST:
            raise DiskFullError(
                "cannot write the export: the disk, or the quota on it, is full; free space and "
                "export again"
            ) from None
        raise


def facts(result: StoredResult, form: str, says: Mapping[str, Any]) -> dict[str, Any]:
    """What an export was made from, and in which frame it is.

    Parameters
    ----------
    form
        Name of the format.
    says
        What else there is to say of it.
    """
    manifest = result.manifest
    return {
        "export": form,
        "slide_id": result.slide_id,
        "job_key": manifest.job_key,
        "slide_sha256": manifest.slide.sha256,
        "model": {"name": result.model.name, "sha256": result.model.sha256},
        "nuclei": result.nuclei,
        "level0_size_px": list(result.size_px),
        "mpp": list(result.mpp),
        **says,
    }


def note(folder: Path, said: Mapping[str, Any]) -> None:
    """Leave `facts` in an export's folder."""
    text = json.dumps({MARK: said}, indent=1, ensure_ascii=False)
    (folder / NOTE).write_text(text + "\n", "utf-8")


def _vacant(out: Path, *, replace: bool) -> None:
    if _there(out) and not replace:
        raise AlreadyThereError("--out is there already: --replace replaces it, or name another")


def _there(out: Path) -> bool:
    return out.exists() or out.is_symlink()


def _is_export(folder: Path) -> bool:
    """Whether a folder holds a note, or is a Zarr store that has one in its attributes."""
    for name in (NOTE, "zarr.json"):
        try:
            said = json.loads((folder / name).read_text("utf-8"))
        except (OSError, ValueError):
            continue
        attributes = said.get("attributes") if isinstance(said, dict) else None
        if any(isinstance(each, dict) and MARK in each for each in (said, attributes)):
            return True
    return False
