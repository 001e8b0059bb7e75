"""What is known of each slide of a batch, and of each night: small files that outlive the run.

::

    OUT/SLIDE_ID/                              a published result
    OUT/.wsiproc/batch/records/SLIDE_ID.json   how the slide stands; replaced at once, never edited
    OUT/.wsiproc/batch/nights/STARTED.json     what one invocation of ``wsiproc batch`` did

Results are what counts: records can be written anew from manifests, and nothing reads a record to
decide whether a slide is done.  No name of a file stands in any of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Literal, TypeVar

from pydantic import Field, ValidationError

from wsiproc.frozen import Frozen
from wsiproc.store.disk import storing, write_whole
from wsiproc.store.manifest import WORK

T = TypeVar("T", bound=Frozen)

State = Literal["done", "waiting", "quarantined"]
"""``waiting`` slides are tried again by the next run; ``quarantined`` ones when they change, or
with ``--retry-failed``."""
Kind = Literal["input", "not_ready", "resource", "infrastructure", "bug"]
"""Why a slide is not done: the file is bad; it is still being copied; memory, disk or time were
short; a network, scheduler or file system failed; wsiproc is wrong."""


class Trouble(Frozen):
    """Why a slide is not done."""

    kind: Kind
    error: str
    """Name of the error's class."""
    message: str
    """For people; without names of files."""
    tile: tuple[int, int] | None = None
    """(row, column) of the tile that failed, where one did."""
    reproduce: str = ""
    """Command that runs this slide alone, by its id."""


class Record(Frozen):
    """How one slide of a batch stands."""

    record_version: Literal[1] = 1
    slide_id: str
    state: State
    trouble: Trouble | None = None
    attempts: int = Field(default=0, ge=0)
    """Times that it was begun since it last changed."""
    model: str = ""
    model_sha256: str = ""
    nuclei: int | None = None
    tissue_mm2: float | None = None
    nuclei_per_mm2: float | None = None
    seconds: float | None = None
    """From its first step to its publication, of the run that published it."""
    changed: str = ""
    """When this was written: UTC, ISO 8601."""
    software: dict[str, str] = {}
    """Versions."""
    stamp: str = ""
    """Digest of the sizes and times of the slide's files when it was last tried: a quarantined
    slide whose files have others now is tried again."""
    settings: str = ""
    """Digest of the science settings it was last tried with."""


class Night(Frozen):
    """What one invocation of ``wsiproc batch`` did."""

    night_version: Literal[1] = 1
    started: str
    """UTC, ISO 8601; with `token` the file's name."""
    token: str
    finished: str = ""
    """Empty while it runs, and for ever if it was killed."""
    exit_code: int | None = None
    model: str
    model_sha256: str
    slides: tuple[str, ...] = ()
    """Ids of all slides it was given, in the order they were seen."""
    done: int = 0
    """Published by this invocation."""
    already_done: int = 0
    waiting: int = 0
    quarantined: int = 0
    retries: dict[str, int] = {}
    """By kind of trouble."""
    seconds: float = 0.0


def records_folder(out: Path) -> Path:
    """Where records are kept."""
    return out / WORK / "batch" / "records"


def nights_folder(out: Path) -> Path:
    """Where nights are kept."""
    return out / WORK / "batch" / "nights"


def write_record(out: Path, record: Record) -> None:
    """Store a record in the place of the slide's earlier one.

    Raises
    ------
    DiskFullError, StoreError
        If it cannot be written; then the earlier one stands.
    """
    _write(records_folder(out) / f"{record.slide_id}.json", record)


def drop_record(out: Path, slide_id: str) -> None:
    """Forget a slide that is known by another id now; never fails."""
    with suppress(OSError):
        (records_folder(out) / f"{slide_id}.json").unlink()


def write_night(out: Path, night: Night) -> None:
    """Store what an invocation has done so far.

    Raises
    ------
    DiskFullError, StoreError
        If it cannot be written.
    """
    stamp = night.started.replace(":", "")
    _write(nights_folder(out) / f"{stamp}-{night.token}.json", night)


def read_record(out: Path, slide_id: str) -> Record | None:
    """The record of a slide; None where there is none, or none that can be read."""
    return _read(records_folder(out) / f"{slide_id}.json", Record)


def read_records(out: Path) -> Iterator[Record]:
    """All records, by slide id; those that cannot be read are left out."""
    for path in sorted(records_folder(out).glob("*.json")):
        if (record := _read(path, Record)) is not None:
            yield record


def read_nights(out: Path) -> Iterator[Night]:
    """All nights, the earliest first; those that cannot be read are left out."""
    for path in sorted(nights_folder(out).glob("*.json")):
        if (night := _read(path, Night)) is not None:
            yield night


def _write(path: Path, value: Frozen) -> None:
    with storing("the state of the batch"):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, value.model_dump_json(indent=1).encode() + b"\n")


def _read(path: Path, kind: type[T]) -> T | None:
    try:
        return kind.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None
