"""Writes down what becomes of slides: records, the night, the audit log.  By ids only."""

from __future__ import annotations

import platform
import secrets
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from wsiproc.batch import audit
from wsiproc.batch.audit import AUDIT, Fact
from wsiproc.batch.records import (
    Night,
    Record,
    State,
    Trouble,
    drop_record,
    read_record,
    write_night,
    write_record,
)
from wsiproc.batch.slides import Slide
from wsiproc.store.manifest import MANIFEST, digest, params_digest

NIGHT_EVERY_S = 5.0
"""The night's file is written anew at most this often while it runs; records always."""


@dataclass(frozen=True, slots=True)
class Told:
    """A slide that has just settled, for whoever watches.

    Parameters
    ----------
    record
        How it stands now.
    new
        Whether this run made it so; not for slides that were done, or given up, before.
    settled
        How many slides are settled so far.
    """

    record: Record
    new: bool
    settled: int


class Ledger:
    """The books of one invocation; see `wsiproc.batch.slides.Books`.

    Parameters
    ----------
    out
        The output folder.
    model, model_sha256
        What the invocation runs.
    tell
        Is told of every slide that settles.

    Raises
    ------
    DiskFullError, StoreError
        From every method, if something cannot be written.
    """

    def __init__(
        self, out: Path, model: str, model_sha256: str, tell: Callable[[Told], None]
    ) -> None:
        self._out, self._model, self._sha256, self._tell = out, model, model_sha256, tell
        self._began = time.monotonic()
        self._started: dict[str, float] = {}
        self._states: dict[str, State] = {}
        self._done_now: set[str] = set()
        self._settled: set[str] = set()
        self._retries = Counter[str]()
        self._written_at = 0.0
        self._night = Night(
            started=_now(), token=secrets.token_hex(4), model=model, model_sha256=model_sha256
        )
        self.troubles: dict[str, Trouble] = {}

    @property
    def night(self) -> Night:
        """The night as it stands."""
        states = Counter(self._states.values())
        done = len(self._done_now)
        return self._night.model_copy(
            update={
                "slides": tuple(self._states),
                "done": done,
                "already_done": states["done"] - done,
                "waiting": states["waiting"],
                "quarantined": states["quarantined"],
                "retries": dict(sorted(self._retries.items())),
                "seconds": round(time.monotonic() - self._began, 3),
            }
        )

    @property
    def states(self) -> dict[str, State]:
        """How each slide stands, in the order in which they were seen."""
        return dict(self._states)

    def open(self) -> None:
        """Begin the night."""
        write_night(self._out, self._night)
        self._log("begun", {"night": self._night.token})

    def close(self, exit_code: int) -> Night:
        """End the night."""
        self._night = self._night.model_copy(update={"finished": _now(), "exit_code": exit_code})
        night = self.night
        write_night(self._out, night)
        self._log(
            "ended",
            {
                "night": night.token,
                "exit_code": exit_code,
                "done": night.done,
                "already_done": night.already_done,
                "waiting": night.waiting,
                "quarantined": night.quarantined,
            },
        )
        return night

    def renamed(self, old: str, slide: Slide) -> None:
        self._states.pop(old, None)
        self._settled.discard(old)
        self.troubles.pop(old, None)
        drop_record(self._out, old)

    def begun(self, slide: Slide) -> None:
        before = self._before(slide)
        self._started.setdefault(slide.slide_id, time.monotonic())
        write_record(
            self._out,
            self._record(
                slide, "waiting", before.trouble if before else None, attempts=_tried(before) + 1
            ),
        )
        self._states.setdefault(slide.slide_id, "waiting")
        self._write_night()

    def retried(self, slide: Slide, trouble: Trouble) -> None:
        self._retries[trouble.kind] += 1
        before = self._before(slide)
        write_record(self._out, self._record(slide, "waiting", trouble, attempts=_tried(before)))
        self._states[slide.slide_id] = "waiting"
        self._log(
            "retried", {"slide": slide.slide_id, "kind": trouble.kind, "error": trouble.error}
        )

    def settled(self, slide: Slide, state: State, trouble: Trouble | None) -> None:
        before = self._before(slide)
        record = self._record(slide, state, trouble, attempts=_tried(before))
        # What was given up, or seen waiting, by an earlier run keeps its date.
        new = slide.slide_id in self._started or before is None or not _same(before, record)
        if new:
            write_record(self._out, record)
        self._settle(record if new or before is None else before, new=new)
        if new:
            self._log(
                state,
                {
                    "slide": slide.slide_id,
                    "kind": trouble.kind if trouble else None,
                    "error": trouble.error if trouble else None,
                },
            )

    def published(self, slide: Slide, summary: dict[str, Any]) -> None:
        by_us = summary["status"] == "done"
        before = self._before(slide)
        if by_us or before is None or before.state != "done":
            record = self._record(slide, "done", None, attempts=_tried(before)).model_copy(
                update={
                    "nuclei": summary["nuclei"],
                    "tissue_mm2": summary["tissue_mm2"],
                    "nuclei_per_mm2": summary["nuclei_per_mm2"],
                    "seconds": summary["seconds"].get("total"),
                }
            )
            write_record(self._out, record)
        else:
            record = before
        if by_us:
            self._done_now.add(slide.slide_id)
            self._log(
                "published",
                {
                    "slide": slide.slide_id,
                    "nuclei": summary["nuclei"],
                    "manifest_sha256": digest(self._out / slide.slide_id / MANIFEST),
                },
            )
        self._settle(record, new=by_us)

    def left(self, slide: Slide) -> None:
        """A slide whose turn did not come, or that was stopped in the middle."""
        if self._states.get(slide.slide_id, "waiting") != "waiting":
            return
        record = self._before(slide)
        if record is None:
            record = self._record(slide, "waiting", None, attempts=0)
            write_record(self._out, record)
        self._states[slide.slide_id] = record.state

    def gone(self, slide_id: str) -> None:
        """A slide that was waiting, or in quarantine, and whose file is there no more."""
        drop_record(self._out, slide_id)
        self._log("gone", {"slide": slide_id})

    def _settle(self, record: Record, *, new: bool) -> None:
        self._states[record.slide_id] = record.state
        self._settled.add(record.slide_id)
        if record.trouble is not None:
            self.troubles[record.slide_id] = record.trouble
        else:
            self.troubles.pop(record.slide_id, None)
        self._tell(Told(record, new, len(self._settled)))
        self._write_night()

    def _before(self, slide: Slide) -> Record | None:
        """The slide's record, unless it is of other files."""
        record = read_record(self._out, slide.slide_id)
        stamp = _stamp(slide)
        return record if record is not None and stamp in ("", record.stamp) else None

    def _record(
        self, slide: Slide, state: State, trouble: Trouble | None, *, attempts: int
    ) -> Record:
        return Record(
            slide_id=slide.slide_id,
            state=state,
            trouble=trouble,
            attempts=attempts,
            model=self._model,
            model_sha256=self._sha256,
            changed=_now(),
            software={"wsiproc": version("wsiproc"), "python": platform.python_version()},
            stamp=_stamp(slide),
            settings=params_digest(slide.candidate.science),
        )

    def _write_night(self) -> None:
        if time.monotonic() - self._written_at >= NIGHT_EVERY_S:
            self._written_at = time.monotonic()
            write_night(self._out, self.night)

    def _log(self, event: str, facts: dict[str, Fact]) -> None:
        audit.append(self._out / AUDIT, event, facts)


def _stamp(slide: Slide) -> str:
    if slide.seen is not None:
        return slide.seen.stamp.digest
    return slide.look.stamp.digest if slide.look is not None else ""


def _tried(before: Record | None) -> int:
    return before.attempts if before is not None else 0


def _same(one: Record, other: Record) -> bool:
    """Whether two records say the same, whenever."""
    said = {"state", "trouble", "stamp", "model_sha256", "settings"}
    return one.model_dump(include=said) == other.model_dump(include=said)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
