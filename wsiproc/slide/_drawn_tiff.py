"""Writes a picture of any size as a tiled, pyramidal JPEG TIFF, in bounded memory."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import imagecodecs
import numpy as np
import tifffile
from numpy.typing import NDArray

from wsiproc.errors import ConfigError
from wsiproc.geometry import Box

_BLOCK_PX = 4096
"""Columns rendered at a time."""


def write_tiff(
    path: Path,
    render: Callable[[Box], NDArray[np.uint8]],
    *,
    size: tuple[int, int],
    mpp: float,
    tile: int = 256,
    quality: int = 90,
    shrink: int = 4,
) -> None:
    """Write the slide that `render` draws box by box.

    Parameters
    ----------
    path
        The file to write; it appears once it is complete.
    render
        Gives the pixels ``[h, w, 3]`` RGB of a box in level-0 px.
    size
        (width, height), level-0 px.
    mpp
        µm per level-0 px; stands in the resolution tags.
    tile
        Edge of the tiles in px, a multiple of 16 and of `shrink`.
    quality
        Of the JPEG tiles, 1 to 100.
    shrink
        Downsample from one level to the next; levels end where one fits into two tiles.
    """
    if tile < 64 or tile % 16 or shrink < 2 or tile % shrink:
        raise ConfigError(
            f"tiles of {tile} px, shrunk by {shrink}: say a multiple of 16 and of the shrinking"
        )
    sizes = _sizes(size, tile, shrink)
    unfinished = path.with_name(path.name + ".part")
    with tempfile.TemporaryFile(dir=path.parent) as spool:
        pyramid = _Pyramid(sizes, tile, quality, shrink, spool)

        def first_level() -> Iterator[bytes]:
            for y in range(0, size[1], tile):
                boxes = [
                    Box(x, y, min(x + _BLOCK_PX, size[0]), min(y + tile, size[1]))
                    for x in range(0, size[0], _BLOCK_PX)
                ]
                rows = np.concatenate([render(box) for box in boxes], axis=1)
                pyramid.push(rows)
                yield from _jpeg_tiles(rows, tile, quality)

        # An exact fraction: readers turn it back into mpp, and .25 must stay .25.
        per_cm = round(1e10 / mpp), 10**6
        with tifffile.TiffWriter(unfinished, bigtiff=size[0] * size[1] > 2**32) as writer:
            for level, (width, height) in enumerate(sizes):
                writer.write(
                    first_level() if level == 0 else pyramid.tiles(level),
                    shape=(height, width, 3),
                    dtype=np.uint8,
                    tile=(tile, tile),
                    photometric="ycbcr",
                    subsampling=(2, 2),
                    compression="jpeg",
                    subfiletype=int(level > 0),
                    resolution=(per_cm, per_cm) if level == 0 else None,
                    resolutionunit="CENTIMETER",
                    software="wsiproc",
                    metadata=None,
                )
                if level == 0:
                    pyramid.finish()
    unfinished.replace(path)


def _sizes(size: tuple[int, int], tile: int, shrink: int) -> list[tuple[int, int]]:
    """(width, height) of the levels, until one fits into two tiles."""
    sizes = [size]
    while max(sizes[-1]) > 2 * tile and min(sizes[-1]) >= shrink:
        sizes.append((sizes[-1][0] // shrink, sizes[-1][1] // shrink))
    return sizes


class _Pyramid:
    """Takes rows of level 0 from above and spools the JPEG tiles of every lower level."""

    def __init__(
        self, sizes: list[tuple[int, int]], tile: int, quality: int, shrink: int, spool: IO[bytes]
    ) -> None:
        self._sizes, self._tile, self._quality, self._shrink = sizes, tile, quality, shrink
        self._spool = spool
        self._pending: list[list[NDArray[np.uint8]]] = [[] for _ in sizes]
        self._found: list[list[tuple[int, int]]] = [[] for _ in sizes]

    def push(self, rows: NDArray[np.uint8], level: int = 1) -> None:
        """Rows ``[n, w, 3]`` of the level above `level`, `n` a whole tile's unless the last."""
        if level >= len(self._sizes):
            return
        self._pending[level].append(_shrunk(rows, self._shrink))
        if sum(len(part) for part in self._pending[level]) >= self._tile:
            self._flush(level)

    def finish(self) -> None:
        """Spool what is left of every level."""
        for level in range(1, len(self._sizes)):
            self._flush(level)

    def tiles(self, level: int) -> Iterator[bytes]:
        """The tiles of `level`, in order."""
        for position, size in self._found[level]:
            self._spool.seek(position)
            yield self._spool.read(size)

    def _flush(self, level: int) -> None:
        rows = np.concatenate(self._pending[level]) if self._pending[level] else None
        self._pending[level] = []
        if rows is None or len(rows) == 0:
            return
        self._spool.seek(0, 2)
        for data in _jpeg_tiles(rows, self._tile, self._quality):
            self._found[level].append((self._spool.tell(), len(data)))
            self._spool.write(data)
        self.push(rows, level + 1)


def _shrunk(rows: NDArray[np.uint8], by: int) -> NDArray[np.uint8]:
    """Means of squares of `by` px, rounded; what is left over at the right and below is dropped."""
    height, width = (n // by * by for n in rows.shape[:2])
    tall = np.zeros((height // by, width, 3), np.uint16)
    for i in range(by):
        tall += rows[i:height:by, :width]
    total = np.zeros((height // by, width // by, 3), np.uint32)
    for i in range(by):
        total += tall[:, i::by]
    return ((total + by * by // 2) // (by * by)).astype(np.uint8)


def _jpeg_tiles(rows: NDArray[np.uint8], tile: int, quality: int) -> Iterator[bytes]:
    """One row of tiles from left to right, the last one and short rows padded by their edge."""
    short, narrow = tile - rows.shape[0], -rows.shape[1] % tile
    if short or narrow:
        rows = np.pad(rows, ((0, short), (0, narrow), (0, 0)), mode="edge")
    for x in range(0, rows.shape[1], tile):
        data = imagecodecs.jpeg8_encode(
            np.ascontiguousarray(rows[:, x : x + tile]),
            level=quality,
            colorspace="RGB",
            outcolorspace="YCBCR",
            subsampling=(2, 2),
        )
        yield bytes(data)
