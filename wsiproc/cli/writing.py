"""Files that a verb is told to write."""

from __future__ import annotations

from pathlib import Path

from wsiproc.errors import AlreadyThereError, StoreError


def check_free(*paths: Path | None, replace: bool) -> None:
    """Make sure, before anything is worked out, that files can be written.

    Raises
    ------
    AlreadyThereError
        If one of them is there and may not be replaced.
    StoreError
        If the folder of one is not there.
    """
    for path in paths:
        if path is None:
            continue
        if path.is_dir() or (path.exists() and not replace):
            what = "a folder" if path.is_dir() else "a file; say --replace to write over it"
            raise AlreadyThereError(f"where {path.name} would be written there is {what}")
        if not path.parent.is_dir():
            raise StoreError(f"the folder for {path.name} is not there: make it first")
