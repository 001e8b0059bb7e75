"""Any box of a slide, put together from pieces that lie on a fixed grid.

This is what makes a read the crop of a larger one: a piece is always decoded whole and in the
same way, whatever box asks for it.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator
from types import TracebackType
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

from wsiproc.errors import SlideReadError
from wsiproc.geometry import Box
from wsiproc.slide.facts import Header, SlideFacts

CACHE_BYTES = 96 << 20
"""Decoded pieces kept by an open slide, so that neighbouring tiles do not decode them twice."""


class Source(Protocol):
    """A file that gives one piece at a time."""

    @property
    def header(self) -> Header: ...

    @property
    def piece(self) -> tuple[tuple[int, int], ...]:
        """Width and height of the pieces of each level, in its px; the grid starts at (0, 0)."""
        ...

    def load(self, level: int, column: int, row: int) -> NDArray[np.uint8] | None:
        """Decode one piece.

        Returns
        -------
        pixels
            uint8 ``[h, w, 3]``; where it reaches past the level, what lies there is not looked
            at, and may be left out.  None where nothing was ever scanned.

        Raises
        ------
        SlideReadError
            Without level and box, which the caller knows.  After one, other pieces can be loaded.
        """
        ...

    def close(self) -> None: ...


class Mosaic:
    """A `Slide` over a `Source`.

    Parameters
    ----------
    source
        Owned from here on: closed with the slide.
    facts
        What is known of the slide.
    cache_bytes
        How much of decoded pieces to keep.
    """

    def __init__(self, source: Source, facts: SlideFacts, cache_bytes: int = CACHE_BYTES) -> None:
        self.facts = facts
        self._source = source
        self._closed = False
        self._lock = threading.Lock()
        self._room = cache_bytes
        self._kept: OrderedDict[tuple[int, int, int], NDArray[np.uint8] | None] = OrderedDict()

    def read(self, level: int, box: Box) -> NDArray[np.uint8]:
        """Pixels of `box`, in px of `level`; see `Slide.read`."""
        if self._closed:
            raise SlideReadError("the slide has been closed", level, box.as_tuple())
        if not 0 <= level < len(self.facts.levels):
            raise SlideReadError(f"the slide has no level {level}", level, box.as_tuple())
        out = np.empty((box.height, box.width, 3), np.uint8)
        out[:] = self.facts.background
        whole = self.facts.levels[level].box
        for column, row, place in self._pieces(level, box & whole):
            try:
                pixels = self._piece(level, column, row)
            except SlideReadError as error:
                raise SlideReadError(error.message, level, place.as_tuple()) from error
            if pixels is not None:
                part = Box.of_size(place.x0, place.y0, pixels.shape[1], pixels.shape[0])
                part = part & box & whole
                out[part.slices_in(box)] = pixels[part.slices_in(place)]
        return out

    def close(self) -> None:
        """Let go of the file and of the pieces kept."""
        if not self._closed:
            self._closed = True
            with self._lock:
                self._kept.clear()
            self._source.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _pieces(self, level: int, box: Box) -> Iterator[tuple[int, int, Box]]:
        """Column, row and place of the pieces that `box` touches."""
        if box.empty:
            return
        width, height = self._source.piece[level]
        for row in range(box.y0 // height, (box.y1 - 1) // height + 1):
            for column in range(box.x0 // width, (box.x1 - 1) // width + 1):
                yield column, row, Box.of_size(column * width, row * height, width, height)

    def _piece(self, level: int, column: int, row: int) -> NDArray[np.uint8] | None:
        key = (level, column, row)
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        pixels = self._source.load(level, column, row)
        with self._lock:
            if key not in self._kept and not self._closed:
                self._kept[key] = pixels
                self._room -= _bytes(pixels)
                while self._room < 0 and self._kept:
                    _, oldest = self._kept.popitem(last=False)
                    self._room += _bytes(oldest)
        return pixels


def _bytes(pixels: NDArray[np.uint8] | None) -> int:
    return 256 + (0 if pixels is None else pixels.nbytes)
