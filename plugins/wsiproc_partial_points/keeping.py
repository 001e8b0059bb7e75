"""Labels that a training made itself, on disk, so that going on finds those it had."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsiproc.errors import StoreError
from wsiproc.training import checkpoint


def keep_rasters(path: Path, rasters: Sequence[NDArray[np.uint8]]) -> None:
    """Write ``[h, w]`` uint8 of each image.

    Raises
    ------
    StoreError
        If the file cannot be written.
    """
    _keep(path, rasters)


def rasters(path: Path) -> list[NDArray[np.uint8]] | None:
    """What `keep_rasters` wrote; None where it did not.

    Raises
    ------
    StoreError
        If the file is damaged; it says to remove it.
    """
    return _kept(path)


def keep_points(path: Path, points: Sequence[NDArray[np.float64]]) -> None:
    """Write ``[n, 2]`` float64 of each image; see `keep_rasters`."""
    _keep(path, points)


def points(path: Path) -> list[NDArray[np.float64]] | None:
    """What `keep_points` wrote; see `rasters`."""
    return _kept(path)


def _keep(path: Path, arrays: Sequence[NDArray[Any]]) -> None:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, *arrays)
    checkpoint.write_atomically(path, buffer.getvalue())


def _kept(path: Path) -> list[NDArray[Any]] | None:
    if not path.is_file():
        return None
    try:
        with np.load(path, allow_pickle=False) as found:
            return [found[f"arr_{i}"] for i in range(len(found.files))]
    except Exception:  # noqa: BLE001  zip and numpy raise whatever the damage leads them to
        raise StoreError(
            f"{path.parent.name}/{path.name} is damaged; remove it to have it made again"
        ) from None
