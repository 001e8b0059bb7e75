"""The series a DICOM file belongs to, without reading its pixels.

Only the little of the standard that this takes (PS3.5, 7.1 and 7.5): walking over the elements
up to Series Instance UID, which stand in ascending order, and over sequences as a whole, because
those may hold other series' UIDs.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

SERIES = (0x0020, 0x000E)
SYNTAX = (0x0002, 0x0010)
IMPLICIT = b"1.2.840.10008.1.2"
LONG = {b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"}
ITEM, ITEM_END, SEQUENCE_END = (0xFFFE, 0xE000), (0xFFFE, 0xE00D), (0xFFFE, 0xE0DD)
UNDEFINED = 0xFFFFFFFF
DEEPEST = 16
MOST_ELEMENTS = 1 << 16
"""A header with more of them before the series is none."""


class _NotUnderstoodError(Exception):
    """The bytes are not the DICOM that is read here."""


def series_of(path: Path) -> tuple[Path, ...]:
    """The ``.dcm`` files beside `path` of the same series, and itself; sorted by name.

    A file whose series cannot be told is taken for one of them: a fingerprint over a file too
    many is still a fingerprint of the slide, and one over a file too few is not.
    """
    own = series_uid(path)
    beside = sorted(f for f in path.parent.glob("*.dcm") if f.is_file())
    return tuple(f for f in beside if f == path or own is None or series_uid(f) in {own, None})


def series_uid(path: Path) -> str | None:
    """Series Instance UID of a DICOM file, or None where it cannot be told."""
    try:
        with path.open("rb") as file:
            file.seek(128)
            if file.read(4) != b"DICM":
                return None
            syntax = b""
            steps = iter(range(MOST_ELEMENTS))
            for _ in steps:
                group = file.read(2)
                file.seek(-len(group), 1)
                # The header is explicit in any file; its end says what the rest is.
                explicit = group == b"\x02\x00" or syntax != IMPLICIT
                tag, length = _element(file, explicit)
                if tag > SERIES:
                    return None
                if tag == SERIES:
                    return file.read(min(length, 64)).strip(b"\0 ").decode("ascii")
                if tag == SYNTAX:
                    syntax = file.read(min(length, 64)).strip(b"\0 ")
                else:
                    _skip(file, length, explicit, DEEPEST, steps)
    except (OSError, _NotUnderstoodError, UnicodeDecodeError):
        pass
    return None


def _element(file: BinaryIO, explicit: bool) -> tuple[tuple[int, int], int]:
    """Tag and length of the next element; the file then stands at its value."""
    head = file.read(8)
    if len(head) < 8:
        raise _NotUnderstoodError
    group, element = struct.unpack("<HH", head[:4])
    tag = (group, element)
    if group == 0xFFFE or not explicit:
        return tag, struct.unpack("<I", head[4:])[0]
    if head[4:6] in LONG:
        return tag, struct.unpack("<I", file.read(4).ljust(4, b"\xff"))[0]
    return tag, struct.unpack("<H", head[6:])[0]


def _skip(file: BinaryIO, length: int, explicit: bool, deepest: int, steps: Iterator[int]) -> None:
    """Go past a value; one of undefined length is a sequence, walked to its end."""
    if length != UNDEFINED:
        file.seek(length, 1)
        return
    if deepest == 0:
        raise _NotUnderstoodError
    for _ in steps:
        tag, size = _element(file, explicit)
        if tag in {SEQUENCE_END, ITEM_END}:
            return
        _skip(file, size, explicit, deepest - 1, steps)
    raise _NotUnderstoodError
