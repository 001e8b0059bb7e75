"""The audit log: what was done to which slide, in lines that hang together.

::

    OUT/audit.jsonl   {"n":41,"time":...,"event":...,"facts":{...},"previous":...,"digest":...}
    OUT/audit.head    how many lines there are, and the digest of the last one

`digest` is the SHA-256 of its line without that field, `previous` the digest of the line before.
A line has one spelling only, so whatever byte is changed, the line no longer matches its digest;
and a line that is removed, put in or moved breaks the chain.  The head says how long the chain
has to be, so lines missing at the end are found too.

What a crash can leave is a torn last line.  The next line then follows it and says how many bytes
are torn and their digest; `read_chain` reports them, and takes nothing else for torn.  Between
a line and its head there is a moment; a head that lags behind is no fault, but lines that the
head does not know of yet could be cut off unseen.

None of this is secret, so who may write to the folder can also write a whole new chain and head.
Against that helps only a copy of a digest that they cannot reach: `read_chain` gives the last one
to be noted elsewhere, and looks later whether the noted ones are still in the chain.

Any number of processes may append at once, on hosts that share the folder too, as long as the file
system's locks hold between hosts (NFS 4 and SMB do; where there are none a lease takes their
place).  Where they silently don't, two lines may take the same number, and that is found.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from wsiproc.batch._alone import PATIENCE_S, alone, locked
from wsiproc.batch._links import (
    LONGEST,
    NOTHING,
    START,
    Link,
    Rubbish,
    last_link,
    link,
    pieces,
    spelt,
    text,
)
from wsiproc.errors import StoreError, WsiprocError
from wsiproc.store.disk import storing, write_whole

AUDIT: Final = "audit.jsonl"
Fact = str | int | float | None


@dataclass(frozen=True, slots=True)
class Chain:
    """What an audit log turns out to be.

    Parameters
    ----------
    lines
        Number of the last line.
    digest
        Digest of the last line: note it elsewhere.
    torn
        What crashes have left, for people; no fault.
    problems
        What is wrong, for people; empty if the chain is whole.
    """

    lines: int
    digest: str
    torn: tuple[str, ...]
    problems: tuple[str, ...]


def append(path: Path, event: str, facts: Mapping[str, Fact]) -> None:
    """Add a line, and bring it to the disk.

    Parameters
    ----------
    path
        The log; its folder must be there.  The head is kept beside it.
    event
        What happened, in one word.
    facts
        Slide ids, digests, states and numbers; never names of files.

    Raises
    ------
    DiskFullError, StoreError
        If it cannot be written.  If only the head could not, the line is there.
    BusyError
        If somebody else kept the log locked for a minute.
    """
    with storing("the audit log"), alone(path) as log:
        last, tail = last_link(log)
        head = _read_head(path)
        if head is not None and head.n >= last.n:
            # If lines have gone or were changed since the head was written, the chain goes on
            # from what they were: nothing covers their trace.
            last = head
        entry: dict[str, Any] = {
            "n": last.n + 1,
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "event": event,
            "facts": dict(facts),
            "previous": last.digest,
        }
        if tail.torn is not None:
            entry["torn"] = list(tail.torn)
        line, digest = spelt(entry)
        if len(line) > LONGEST:
            raise ValueError(f"a line of the audit log has at most {LONGEST} bytes")
        _write(log, (b"\n" if tail.open else b"") + line + b"\n")
        write_whole(_head_of(path), _head_text(last.n + 1, digest))


def verify(path: Path) -> list[str]:
    """What is wrong with a log; a whole chain gives [].  See `read_chain`."""
    return list(read_chain(path).problems)


def read_chain(path: Path, noted: Collection[str] = ()) -> Chain:
    """Read a log from its first line to its last, in bounded memory.

    Lines that are appended meanwhile are left out.

    Parameters
    ----------
    noted
        Digests of last lines that somebody has noted earlier: each must still be in the chain.

    Raises
    ------
    StoreError
        If there is no log, or it cannot be read.
    """
    try:
        with path.open("rb") as file:
            # Lines are only ever added: what is there now is then read without the lock.
            if locked(file.fileno(), fcntl.LOCK_SH, time.monotonic() + PATIENCE_S):
                size, head = os.fstat(file.fileno()).st_size, _read_head(path)
                fcntl.flock(file.fileno(), fcntl.LOCK_UN)
            else:
                head, size = _read_head(path), os.fstat(file.fileno()).st_size
            return _judged(pieces(file, size), head, _head_of(path).exists(), set(noted))
    except FileNotFoundError:
        if _head_of(path).exists():
            return Chain(0, NOTHING, (), ("the log has gone, only its head is there",))
        raise StoreError("there is no audit log here") from None
    except WsiprocError:
        raise
    except OSError as error:
        raise StoreError(f"the audit log cannot be read: {error.strerror}") from None


def _judged(
    found: Iterator[bytes], head: Link | None, head_is_there: bool, noted: set[str]
) -> Chain:
    last, at_head = START, ""
    torn, problems = list[str](), list[str]()
    rubbish: Rubbish | None = None
    for piece in found:
        line = link(piece.removesuffix(b"\n"))
        if line is None:
            rubbish = rubbish or Rubbish()
            rubbish.add(piece)
            continue
        if line.n != last.n + 1:
            problems.append(_gap(last.n, line.n))
        elif line.previous != last.digest:
            problems.append(f"line {line.n} does not follow the one that stands before it")
        before = rubbish.torn if rubbish is not None else None
        if line.torn != before:
            problems.append(f"what stands between lines {last.n} and {line.n} is not of this log")
        elif before is not None:
            torn.append(f"{before[0]} bytes before line {line.n} were torn by a crash")
        rubbish, last = None, line
        noted.discard(line.digest)
        if head is not None and head.n == line.n:
            at_head = line.digest
    if rubbish is not None:
        torn.append(f"{rubbish.torn[0]} bytes at the end are torn; the next line will say so")
    if head is None and (head_is_there or last.n > 1):
        problems.append("the head is damaged or has gone: lines at the end may be missing")
    elif head is not None and head.n > last.n:
        problems.append(f"the log ends after line {last.n}, but has had {head.n} lines")
    elif head is not None and at_head != head.digest:
        problems.append(f"line {head.n} is not the one that the head speaks of")
    problems += [f"no line has the noted digest {digest}" for digest in sorted(noted)]
    return Chain(last.n, last.digest, tuple(torn), tuple(problems))


def _gap(before: int, after: int) -> str:
    if after <= before:
        return f"line {after} stands after line {before}"
    if after == before + 2:
        return f"line {before + 1} is missing or changed"
    return f"lines {before + 1} to {after - 1} are missing or changed"


def _head_of(path: Path) -> Path:
    return path.with_suffix(".head")


def _head_text(lines: int, digest: str) -> bytes:
    return text({"lines": lines, "digest": digest}) + b"\n"


def _read_head(path: Path) -> Link | None:
    """What the head says; None where there is none, or none that was written here."""
    try:
        there = _head_of(path).read_bytes()
        said = json.loads(there)
        head = Link(int(said["lines"]), "", str(said["digest"]))
        return head if there == _head_text(head.n, head.digest) else None
    except (OSError, ValueError, TypeError, LookupError, RecursionError):
        return None


def _write(log: int, data: bytes) -> None:
    """Append all of `data` and bring it to the disk, or leave the log as it was."""
    before = os.fstat(log).st_size
    try:
        left = memoryview(data)
        while left:
            left = left[os.write(log, left) :]
        os.fsync(log)
    except BaseException:
        with suppress(OSError):
            os.ftruncate(log, before)
        raise
