"""How the slides of an output folder stand, and whether its results are what was published.

Nothing here writes: both look at what runs have left, also beside a run that goes on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from wsiproc.batch.nights import NightState, state_of_night, waiting_since
from wsiproc.batch.records import (
    Night,
    Record,
    State,
    read_nights,
    read_record,
    read_records,
    records_folder,
)
from wsiproc.errors import ConfigError, StoreError
from wsiproc.store.manifest import MANIFEST, read_manifest, verify

_OURS = ("centroids.parquet", "nuclei.parquet", "tissue.parquet", "overview.png")
_LOOKS = 3


@dataclass(frozen=True, slots=True)
class Standing:
    """How a batch stands.

    Parameters
    ----------
    records
        All slides, by id.
    nights
        All invocations, the earliest first, each with its state.
    since
        When each waiting slide was first seen: UTC, ISO 8601, by id.
    """

    records: tuple[Record, ...]
    nights: tuple[tuple[Night, NightState], ...]
    since: dict[str, str]

    @property
    def counts(self) -> dict[State, int]:
        """Slides in each state, zeros too."""
        found = Counter(record.state for record in self.records)
        return {state: found[state] for state in get_args(State)}


@dataclass(frozen=True, slots=True)
class Checked:
    """What looking at one slide's result has shown.

    Parameters
    ----------
    slide_id
        The slide, or the name of a folder that is no result.
    problems
        What is wrong; empty if nothing is.
    notes
        What is worth a word and not wrong.
    is_result
        Whether there is a result whose files could be compared with a manifest.
    """

    slide_id: str
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    is_result: bool = False


def standing(out: Path) -> Standing:
    """How the batch of an output folder stands.

    Raises
    ------
    ConfigError
        If no batch has run there.
    """
    if not records_folder(out).is_dir():
        raise ConfigError("no batch has run here: name the folder that was its --out")
    records, nights = tuple(read_records(out)), tuple(read_nights(out))
    return Standing(
        records,
        tuple((night, state_of_night(out, night)) for night in nights),
        waiting_since(records, nights),
    )


def things_to_check(out: Path) -> list[str]:
    """Slide ids that have a result or a record, and names of other folders; sorted.

    Raises
    ------
    StoreError
        If the folder cannot be read.
    """
    try:
        folders = {p.name for p in out.iterdir() if p.is_dir() and not p.name.startswith(".")}
    except OSError as error:
        raise StoreError(f"the output folder cannot be read: {error.strerror}") from None
    return sorted(folders | {path.stem for path in records_folder(out).glob("*.json")})


def check(out: Path, slide_id: str) -> Checked:
    """Compare a result with its manifest, byte for byte, and with its record.

    A result that is replaced meanwhile is looked at again.  Memory does not grow with its size.
    """
    for _ in range(_LOOKS):
        before = _identity(out / slide_id)
        found = _checked(out, slide_id)
        if not found.problems or _identity(out / slide_id) == before:
            break
    return found


def check_all(out: Path) -> Iterator[Checked]:
    """`check` for all of `things_to_check`."""
    for name in things_to_check(out):
        yield check(out, name)


def _checked(out: Path, slide_id: str) -> Checked:
    folder = out / slide_id
    has_batch = records_folder(out).is_dir()
    record = read_record(out, slide_id)
    problems, notes = list[str](), list[str]()
    if record is None and (records_folder(out) / f"{slide_id}.json").exists():
        problems.append("its record cannot be read")
    if not (folder / MANIFEST).exists():
        if any((folder / name).exists() for name in _OURS):
            problems.append(f"the result has no {MANIFEST}")
        elif record is not None and record.state == "done":
            problems.append("its record says done, but there is no result")
        elif folder.exists():
            notes.append("not a result of wsiproc")
        return Checked(slide_id, tuple(problems), tuple(notes))
    try:
        problems += verify(folder)
        manifest = read_manifest(folder)
    except OSError as error:  # a StoreError too
        problems.append(str(error) or "it cannot be read")
        return Checked(slide_id, tuple(problems))
    if manifest.slide_id != slide_id:
        problems.append("the manifest is of another slide")
    if has_batch and record is None and not problems:
        notes.append("has no record: no batch knows of it")
    if record is not None and record.state != "done":
        notes.append(f"its record says {record.state}: the next batch sets that right")
    return Checked(slide_id, tuple(problems), tuple(notes), is_result=True)


def _identity(folder: Path) -> tuple[int, int, int] | None:
    """Which folder it is, and when it changed: a published one does not."""
    with suppress(OSError):
        now = folder.stat()
        return now.st_dev, now.st_ino, now.st_mtime_ns
    return None
