"""The directories of a TIFF file, walked with bounds before any library touches the file.

A file that is still being copied, or that was made to exhaust memory, ends here.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from wsiproc.errors import SlideFormatError
from wsiproc.slide.facts import MOST_PIXELS

MOST_DIRECTORIES = 4096
MOST_TAGS = 4096
MOST_TAGS_IN_ALL = 1 << 18
MOST_TAG_BYTES = 64 << 20
MOST_BYTES_IN_ALL = 256 << 20
"""Of all tags of all directories, counted as often as they are mentioned: a library reads them as
often."""
LARGEST_TILE = 4096
"""Edge of the largest tile that is read, in px."""

WIDTH, HEIGHT, SUB_DIRECTORIES = 256, 257, 330
TILE = (322, 323)
"""Tags of the width and the height of a tile."""
TILES = 324
SEGMENTS = ((273, 279), (TILES, 325))
"""Tags of where strips and tiles begin, and of how many bytes they have."""
NDPI = 65420
SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8} | {
    13: 4,
    16: 8,
    17: 8,
    18: 8,
}
WHOLE = {1: "u1", 3: "u2", 4: "u4", 13: "u4", 16: "u8", 18: "u8"}

SHORTER = (
    "the file is shorter than it says: it is damaged, or still being copied; if so, run again "
    "when it is complete"
)


@dataclass(frozen=True, slots=True)
class _Layout:
    """How this TIFF writes its directories."""

    order: str
    big: bool
    ndpi: bool = False

    @property
    def count_bytes(self) -> int:
        return 8 if self.big else 2

    @property
    def entry_bytes(self) -> int:
        return 20 if self.big else 12

    @property
    def next_bytes(self) -> int:
        return 8 if self.big or self.ndpi else 4

    def number(self, data: bytes) -> int:
        return int.from_bytes(data, "little" if self.order == "<" else "big")


LOOP = f"the TIFF's directories form a loop, or are more than {MOST_DIRECTORIES}"


def is_tiff(path: Path) -> bool:
    """Whether the file begins as a TIFF does."""
    with path.open("rb") as file:
        return file.read(4) in {b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"}


def check_tiff(path: Path) -> None:
    """Refuse a TIFF that is cut short, or whose directories ask for more than a slide has.

    Raises
    ------
    SlideFormatError
        If a directory, a tag's value, a strip or a tile lies beyond the end of the file; if
        directories form a loop or are more than 4096; if they have more than 2^18 tags, a tag of
        more than 64 MiB, or 256 MiB in all; if an image has more than 2^37 pixels or tiles of
        more than 4096 x 4096.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(16)
        order = "<" if head[:2] == b"II" else ">"
        big = b"+" in head[2:4]
        layout = _Layout(order, big)
        if len(head) < (16 if big else 8):
            raise SlideFormatError(SHORTER)
        first = layout.number(head[8:16] if big else head[4:8])
        tags, _ = _directory(file, size, layout, first)
        layout = _Layout(order, big, ndpi=not big and NDPI in tags)
        room = _Room()
        main: set[int] = set()
        below: list[int] = []
        at = first
        while at:
            if at in main or len(main) >= MOST_DIRECTORIES:
                raise SlideFormatError(LOOP)
            main.add(at)
            tags, at = _directory(file, size, layout, at)
            room = room.less(tags)
            below += _check_image(file, size, layout, tags)
        seen: set[int] = set()
        while below:
            at = below.pop()
            if at in main or len(seen) >= MOST_DIRECTORIES:
                raise SlideFormatError(LOOP)
            if at not in seen:
                seen.add(at)
                # What follows a sub-directory is another of the same list, if anything.
                tags, _ = _directory(file, size, layout, at)
                room = room.less(tags)
                below += _check_image(file, size, layout, tags)


Numbers = np.ndarray[tuple[int], np.dtype[np.uint64]]
Tags = dict[int, tuple[int, int, bytes]]
"""Type, count and the value or where it stands, by tag."""


@dataclass(frozen=True, slots=True)
class _Room:
    """What the directories still to come may hold."""

    tags: int = MOST_TAGS_IN_ALL
    bytes: int = MOST_BYTES_IN_ALL

    def less(self, tags: Tags) -> _Room:
        """What is left after a directory.

        Raises
        ------
        SlideFormatError
            If a tag of it is too large, or nothing is left.
        """
        lengths = [SIZES.get(kind, 1) * count for kind, count, _ in tags.values()]
        if max(lengths, default=0) > MOST_TAG_BYTES:
            raise SlideFormatError("the TIFF is damaged: a tag is larger than any slide's")
        left = _Room(self.tags - len(tags), self.bytes - sum(lengths))
        if left.tags < 0 or left.bytes < 0:
            raise SlideFormatError("the TIFF is damaged: its directories hold more than a slide's")
        return left


def _directory(file: BinaryIO, size: int, layout: _Layout, at: int) -> tuple[Tags, int]:
    """The tags of a directory, and where the next one is (0: none)."""
    count = layout.number(_bytes(file, size, at, layout.count_bytes))
    if count > MOST_TAGS:
        raise SlideFormatError("the TIFF is damaged: a directory has more tags than there are")
    length = count * layout.entry_bytes
    body = _bytes(file, size, at + layout.count_bytes, length + layout.next_bytes)
    entry = struct.Struct(layout.order + ("HHQ8s" if layout.big else "HHI4s"))
    tags = {
        tag: (kind, number, value) for tag, kind, number, value in entry.iter_unpack(body[:length])
    }
    return tags, layout.number(body[length:])


def _check_image(file: BinaryIO, size: int, layout: _Layout, tags: Tags) -> list[int]:
    """Check one image; returns where its sub-directories are."""
    if not layout.ndpi:  # which keeps the upper halves of its values apart
        for kind, count, value in tags.values():
            length = SIZES.get(kind, 1) * count
            if length > len(value) and layout.number(value) + length > size:
                raise SlideFormatError(SHORTER)
    width, height = (_values(file, size, layout, tags, tag) for tag in (WIDTH, HEIGHT))
    if len(width) and len(height) and int(width[0]) * int(height[0]) > MOST_PIXELS:
        raise SlideFormatError(
            f"the slide says that it has {width[0]} x {height[0]} pixels, which is more than the "
            f"{MOST_PIXELS} that are read"
        )
    for tag in TILE:
        edge = _values(file, size, layout, tags, tag)
        if len(edge) and not 1 <= int(edge[0]) <= LARGEST_TILE:
            raise SlideFormatError(
                f"the slide has tiles with an edge of {edge[0]} pixels; up to {LARGEST_TILE} are "
                "read"
            )
    if not layout.ndpi:
        for begin, length_tag in SEGMENTS:
            begins = _values(file, size, layout, tags, begin)
            lengths = _values(file, size, layout, tags, length_tag)
            if begin == TILES and min(len(begins), len(lengths)) < _tiles(
                width, height, *(_values(file, size, layout, tags, t) for t in TILE)
            ):
                raise SlideFormatError("the TIFF does not say where each of its tiles is")
            n = min(len(begins), len(lengths))
            # The two are added without overflow: neither may reach past the end on its own.
            if n and (
                int(begins[:n].max()) > size
                or int(lengths[:n].max()) > size
                or int((begins[:n] + lengths[:n])[lengths[:n] > 0].max(initial=0)) > size
            ):
                raise SlideFormatError(SHORTER)
    return [int(at) for at in _values(file, size, layout, tags, SUB_DIRECTORIES)]


def _tiles(*edges: Numbers) -> int:
    """How many tiles an image has, of its width and height and theirs; 0 if it has none."""
    if not all(len(edge) for edge in edges):
        return 0
    width, height, across, down = (int(edge[0]) for edge in edges)
    return -(-width // across) * -(-height // down)


def _values(file: BinaryIO, size: int, layout: _Layout, tags: Tags, tag: int) -> Numbers:
    """The whole numbers of a tag; none where it is missing."""
    kind, count, value = tags.get(tag, (0, 0, b""))
    if kind not in WHOLE or count == 0:
        return np.empty(0, np.uint64)
    length = SIZES[kind] * count
    data = value if length <= len(value) else _bytes(file, size, layout.number(value), length)
    return np.frombuffer(data[:length], layout.order + WHOLE[kind]).astype(np.uint64)


def _bytes(file: BinaryIO, size: int, at: int, length: int) -> bytes:
    if at + length > size:
        raise SlideFormatError(SHORTER)
    file.seek(at)
    return file.read(length)
