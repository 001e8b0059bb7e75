"""Which invocations of ``wsiproc batch`` are at work right now, and since when slides wait."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from wsiproc.batch.records import Night, Record, nights_folder
from wsiproc.store.lease import living
from wsiproc.store.manifest import WORK

NightState = Literal["running", "finished", "broken off"]


def lease_of_night(out: Path, night: Night) -> Path:
    """The file that says that an invocation is at work: it holds this lease (`store.lease`)."""
    stamp = night.started.replace(":", "")
    return nights_folder(out) / f"{stamp}-{night.token}.lease"


def state_of_night(out: Path, night: Night) -> NightState:
    """Whether an invocation is still at work, as far as looking can tell.

    One that has no lease of its own is taken for running while any of the slides is worked on.
    """
    if night.finished:
        return "finished"
    own = lease_of_night(out, night)
    leases = [own] if own.exists() else list((out / WORK).glob("*.lease"))
    return "running" if any(living(each) for each in leases) else "broken off"


def waiting_since(records: Iterable[Record], nights: Iterable[Night]) -> dict[str, str]:
    """When each waiting slide was first given to an invocation: UTC, ISO 8601, by slide id."""
    since = {record.slide_id: record.changed for record in records if record.state == "waiting"}
    for night in nights:
        for slide_id in since.keys() & set(night.slides):
            since[slide_id] = min(since[slide_id] or night.started, night.started)
    return since
