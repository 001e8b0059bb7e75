"""How a line of the audit log is spelt, and how its last one is found again."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO, Final

NOTHING: Final = "0" * 64
"""What stands for the digest of the line before the first."""
LONGEST: Final = 1 << 20
"""Bytes of a line; a longer one was not written here."""
_BLOCK: Final = 1 << 16
_FIELDS: Final = ("n", "time", "event", "facts", "previous")

Torn = tuple[int, str]
"""How many bytes a crash has left, without a newline that closes them, and their SHA-256."""


@dataclass(frozen=True, slots=True)
class Link:
    """A line, as far as the chain goes; `torn` is what it says was torn before it."""

    n: int
    previous: str
    digest: str
    torn: Torn | None = None


START: Final = Link(0, "", NOTHING)


@dataclass(frozen=True, slots=True)
class Tail:
    """What follows the last line of a log: whether a newline is missing, and what is torn."""

    open: bool = False
    torn: Torn | None = None


class Rubbish:
    """Bytes that are no line: added piece by piece, and never held."""

    def __init__(self) -> None:
        self._digest, self._bytes, self._newline = hashlib.sha256(), 0, b""

    def add(self, piece: bytes) -> None:
        body = piece.removesuffix(b"\n")
        self._digest.update(self._newline + body)
        self._bytes += len(self._newline) + len(body)
        self._newline = piece[len(body) :]

    @property
    def torn(self) -> Torn:
        return self._bytes, self._digest.hexdigest()


def text(entry: dict[str, Any]) -> bytes:
    """JSON in ASCII, without spaces, in the order of the fields."""
    return json.dumps(entry, separators=(",", ":"), allow_nan=False).encode()


def spelt(entry: dict[str, Any]) -> tuple[bytes, str]:
    """The one spelling of a line, without its newline, and its digest."""
    digest = hashlib.sha256(text(entry)).hexdigest()
    return text(entry | {"digest": digest}), digest


def link(line: bytes) -> Link | None:
    """A line; None if it is not spelt as ours are, or does not match its digest."""
    try:
        entry = json.loads(line)
        body = {field: entry[field] for field in _FIELDS}
        torn = None
        if "torn" in entry:
            body["torn"] = entry["torn"]
            torn = int(entry["torn"][0]), str(entry["torn"][1])
        again, digest = spelt(body)
        if again != line:
            return None
        return Link(int(entry["n"]), str(entry["previous"]), digest, torn)
    except (ValueError, TypeError, LookupError, RecursionError):
        return None


def pieces(file: BinaryIO, size: int) -> Iterator[bytes]:
    """The first `size` bytes, line by line; what is longer than a line of ours in parts."""
    while size > 0 and (piece := file.readline(min(size, LONGEST + 1))):
        size -= len(piece)
        yield piece


def last_link(log: int) -> tuple[Link, Tail]:
    """The last line of an open log, and what stands after it; read from its end."""
    start = os.fstat(log).st_size
    read = b""
    while True:
        begin = max(0, start - _BLOCK)
        read, start = os.pread(log, start - begin, begin) + read, begin
        end = len(read)
        while True:
            newline = read.rfind(b"\n", 0, end)
            if newline < 0 and start > 0:
                break
            found = link(read[newline + 1 : end])
            if found is not None:
                return found, _tail(read[end + 1 :], unclosed=end == len(read))
            if newline < 0:
                return START, _tail(read, unclosed=False)
            end = newline


def _tail(rest: bytes, *, unclosed: bool) -> Tail:
    if not rest:
        return Tail(unclosed)
    rubbish = Rubbish()
    rubbish.add(rest)
    return Tail(not rest.endswith(b"\n"), rubbish.torn)
