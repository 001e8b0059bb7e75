"""Slides that only TIAToolbox reads: plain JPEG 2000 files and OME-Zarr."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsiproc.errors import MissingExtraError, SlideFormatError, SlideReadError
from wsiproc.slide._openslide import reason
from wsiproc.slide.facts import Header, levels_of

PIECE = 1024


class TiatoolboxSource:
    """One slide opened with TIAToolbox's reader.

    Raises
    ------
    MissingExtraError
        If TIAToolbox is not installed.
    SlideFormatError
        If it does not read the slide.
    """

    def __init__(self, path: Path) -> None:
        try:
            from tiatoolbox.wsicore.wsireader import WSIReader
        except ImportError:
            raise MissingExtraError("reading this slide", "tiatoolbox") from None
        self._path = path
        try:
            self._reader: Any = WSIReader.open(path)
            info = self._reader.info
            sizes = [(int(w), int(h)) for w, h in info.level_dimensions]
            mpp = None if info.mpp is None else (float(info.mpp[0]), float(info.mpp[1]))
            objective = None if info.objective_power is None else float(info.objective_power)
        except Exception as error:  # noqa: BLE001  # it has no error class of its own
            raise SlideFormatError(reason(error, path)) from None
        self.header = Header(
            backend="tiatoolbox",
            vendor="ngff" if path.is_dir() else "jp2",
            levels=levels_of(sizes),
            mpp=mpp,
            objective=objective,
        )
        self.piece = ((PIECE, PIECE),) * len(sizes)

    def load(self, level: int, column: int, row: int) -> NDArray[np.uint8]:
        """One piece, read at its level's own resolution."""
        size = self.header.levels[level]
        x, y = column * PIECE, row * PIECE
        bounds = (x, y, min(x + PIECE, size.width), min(y + PIECE, size.height))
        try:
            pixels = self._reader.read_bounds(
                bounds, resolution=level, units="level", coord_space="resolution"
            )
        except Exception as error:  # noqa: BLE001  # it has no error class of its own
            raise SlideReadError(
                f"TIAToolbox cannot read this region: {reason(error, self._path)}"
            ) from None
        return np.ascontiguousarray(pixels[..., :3], np.uint8)

    def close(self) -> None:
        """TIAToolbox's readers close with the last reference."""
        self._reader = None
