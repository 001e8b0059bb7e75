"""How a batch stands, for Prometheus: a text file that node_exporter's textfile collector reads.

Times are given as timestamps, never as ages: the file stands still between two runs, an age in
it would too.  No sample carries a slide's id.  Counters are added up over all nights on record.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Literal, get_args

from wsiproc.batch.nights import state_of_night, waiting_since
from wsiproc.batch.records import Kind, Night, Record, State
from wsiproc.store.disk import storing, write_whole

_Labels = Mapping[str, str]
_SECONDS = (10, 30, 60, 120, 300, 600, 1800, 3600, 7200)
"""Bounds of the classes of how long a slide took, s."""


@dataclass(frozen=True, slots=True)
class _Family:
    """A metric: its samples are (suffix of the name, labels, value)."""

    name: str
    kind: Literal["gauge", "counter", "histogram"]
    help: str
    samples: Sequence[tuple[str, _Labels, float]]

    def lines(self) -> Iterator[str]:
        name = f"wsiproc_batch_{self.name}"
        yield f"# HELP {name} {_escaped(self.help)}"
        yield f"# TYPE {name} {self.kind}"
        for suffix, labels, value in self.samples:
            inside = ",".join(
                f'{label}="{_escaped(said, quotes=True)}"' for label, said in labels.items()
            )
            yield f"{name}{suffix}{f'{{{inside}}}' if inside else ''} {_number(value)}"


def write(path: Path, records: Iterable[Record], nights: Iterable[Night], out: Path) -> None:
    """Write how a batch stands in the place of what stood there; readers see the old or the new.

    Parameters
    ----------
    path
        The text file; node_exporter wants it to end in ``.prom``.
    records, nights
        All of the output folder.
    out
        The output folder, whose free space is told.

    Raises
    ------
    DiskFullError, StoreError
        If it cannot be written.
    """
    known = sorted(nights, key=lambda night: night.started)
    lines = [line for family in _families(list(records), known, out) for line in family.lines()]
    with storing("the metrics"):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, ("\n".join(lines) + "\n").encode())
        path.chmod(0o644)  # the collector is another user


def _families(records: list[Record], nights: list[Night], out: Path) -> Iterator[_Family]:
    states = Counter[str](record.state for record in records)
    yield _each("slides", "Slides on record, by how they stand.", "state", get_args(State), states)
    kinds = Counter[str](record.trouble.kind for record in records if record.trouble is not None)
    yield _each(
        "troubled_slides", "Slides that are not done, by why.", "kind", get_args(Kind), kinds
    )
    yield _gauge(
        "nuclei", "Nuclei of all slides that are done.", sum(r.nuclei or 0 for r in records)
    )
    took = [r.seconds for r in records if r.state == "done" and r.seconds is not None]
    yield _Family(
        "slide_duration_seconds",
        "histogram",
        "Time from the first step of a slide to its publication.",
        _histogram(took),
    )
    since = [at for text in waiting_since(records, nights).values() if (at := _timestamp(text))]
    yield _gauge(
        "oldest_waiting_timestamp_seconds",
        "When the slide that has waited longest was first seen; absent if none waits.",
        min(since, default=None),
    )
    yield from _of_nights(nights, out)
    free = None
    with suppress(OSError):
        free = shutil.disk_usage(out).free
    yield _gauge("out_free_bytes", "Free space of the output folder's file system.", free)


def _of_nights(nights: list[Night], out: Path) -> Iterator[_Family]:
    ended = [night for night in nights if night.finished]
    succeeded = [_timestamp(night.finished) for night in ended if night.exit_code == 0]
    yield _gauge(
        "last_success_timestamp_seconds",
        "When a run last ended with every slide done (exit code 0); 0 if none has.",
        max(succeeded, default=0),
    )
    running = sum(state_of_night(out, night) == "running" for night in nights)
    yield _gauge("running", "Runs that are at work.", running)
    retries = Counter[str]()
    for night in nights:
        retries.update(night.retries)
    yield _each(
        "retries_total", "Steps tried again, by why.", "kind", get_args(Kind), retries, "counter"
    )
    published = sum(night.done for night in nights)
    yield _Family("published_slides_total", "counter", "Slides published.", [("", {}, published)])
    if nights:
        yield _info(nights[-1])
    if ended:
        last = max(ended, key=lambda night: night.finished)
        at = _timestamp(last.finished)
        yield _gauge("last_run_timestamp_seconds", "When a run last ended, however it did.", at)
        yield _gauge(
            "last_run_duration_seconds", "Time that the last run that ended took.", last.seconds
        )
        yield _gauge("last_run_exit_code", "Exit code of the last run that ended.", last.exit_code)
        counts = {
            "done": last.done,
            "already_done": last.already_done,
            "waiting": last.waiting,
            "quarantined": last.quarantined,
        }
        yield _each(
            "last_run_slides",
            "Slides of the last run that ended, by what became of them.",
            "outcome",
            tuple(counts),
            counts,
        )


def _info(night: Night) -> _Family:
    said = {"version": version("wsiproc"), "model": night.model, "sha256": night.model_sha256}
    return _Family("info", "gauge", "What the newest run runs.", [("", said, 1)])


def _gauge(name: str, help_: str, value: float | None) -> _Family:
    return _Family(name, "gauge", help_, [] if value is None else [("", {}, value)])


def _each(
    name: str,
    help_: str,
    label: str,
    values: Sequence[str],
    counts: Mapping[str, int],
    kind: Literal["gauge", "counter"] = "gauge",
) -> _Family:
    """One sample a value of the label, zeros too: a series that comes and goes cannot be rated."""
    known = (*values, *sorted(counts.keys() - set(values)))
    return _Family(name, kind, help_, [("", {label: v}, counts.get(v, 0)) for v in known])


def _histogram(seconds: Sequence[float]) -> list[tuple[str, _Labels, float]]:
    buckets = [(str(bound), sum(each <= bound for each in seconds)) for bound in _SECONDS]
    buckets.append(("+Inf", len(seconds)))
    return [
        *(("_bucket", {"le": bound}, count) for bound, count in buckets),
        ("_sum", {}, sum(seconds)),
        ("_count", {}, len(seconds)),
    ]


def _timestamp(text: str) -> float:
    """Seconds since the epoch; 0 for what is no time."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return 0.0
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()


def _number(value: float) -> str:
    return str(int(value)) if float(value).is_integer() else repr(float(value))


def _escaped(text: str, *, quotes: bool = False) -> str:
    text = text.replace("\\", r"\\").replace("\n", r"\n")
    return text.replace('"', r"\"") if quotes else text
