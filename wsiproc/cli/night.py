"""What people see of a batch: a line for each slide that settles, and one bar for the night."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)

from wsiproc.progress import Event, TileDone, Warned

if TYPE_CHECKING:
    from wsiproc.batch.ledger import Told
    from wsiproc.batch.records import Record
    from wsiproc.batch.run import Report

COLOURS = {"done": "green", "waiting": "yellow", "quarantined": "red"}


class Watcher(Protocol):
    """Is told of a batch as it goes."""

    def found(self, slides: int) -> None:
        """So many slides were given."""

    def hear(self, event: Event) -> None:
        """Something happened to a slide at work."""

    def tell(self, told: Told) -> None:
        """A slide settled."""


@contextmanager
def watching_night(*, quiet: bool) -> Iterator[Watcher]:
    """Show a batch on stderr: a bar on a terminal, lines elsewhere, nothing when quiet."""
    console = Console(stderr=True, highlight=False)
    if quiet:
        yield _Unseen()
    elif console.is_terminal:
        columns = (
            SpinnerColumn(),
            TextColumn("slides"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[said]}"),
            TimeElapsedColumn(),
        )
        with Progress(*columns, console=console, transient=True) as progress:
            yield _Bar(progress)
    else:
        yield _Lines(console)


def line_of(record: Record) -> str:
    """A slide's outcome in one line, by its id."""
    said = f"[{COLOURS[record.state]}]{record.state}[/]"
    if record.state == "done":
        took = f", {record.seconds:.1f} s" if record.seconds is not None else ""
        return f"{record.slide_id} {said}, {record.nuclei or 0:,} nuclei{took}"
    if record.trouble is None:
        return f"{record.slide_id} {said}"
    tile = f" at tile {record.trouble.tile}" if record.trouble.tile is not None else ""
    kind = record.trouble.kind.replace("_", " ")
    return f"{record.slide_id} {said} ({kind}{tile}): {record.trouble.message}"


class _Unseen:
    def found(self, slides: int) -> None: ...

    def hear(self, event: Event) -> None: ...

    def tell(self, told: Told) -> None: ...


class _Bar:
    """One bar for all slides; lines above it."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._task: TaskID = progress.add_task("slides", total=None, said="")
        self._tiles = self._nuclei = 0

    def found(self, slides: int) -> None:
        self._progress.update(self._task, total=slides)

    def hear(self, event: Event) -> None:
        match event:
            case TileDone(nuclei=nuclei):
                self._tiles += 1
                self._nuclei += nuclei
                said = f"{self._tiles:,} tiles, {self._nuclei:,} nuclei"
                self._progress.update(self._task, said=said)
            case Warned(slide_id=slide_id, message=message):
                self._progress.console.print(f"{slide_id} [yellow]warning:[/] {message}")
            case _:
                pass

    def tell(self, told: Told) -> None:
        self._progress.update(self._task, completed=told.settled)
        if told.new:
            self._progress.console.print(line_of(told.record), soft_wrap=True)


class _Lines:
    """A line with the time for each slide, as a log wants it."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._slides = 0

    def found(self, slides: int) -> None:
        self._slides = slides
        self._say(f"{slides} slides")

    def hear(self, event: Event) -> None:
        if isinstance(event, Warned):
            self._say(f"{event.slide_id} warning: {event.message}")

    def tell(self, told: Told) -> None:
        if told.new:
            self._say(
                f"[{told.settled}/{self._slides}] ".replace("[", r"\[") + line_of(told.record)
            )

    def _say(self, text: str) -> None:
        self._console.print(f"{time.strftime('%H:%M:%S')} {text}", soft_wrap=True)


def closing_lines(report: Report, out: Path) -> None:
    """Print how a night ended."""
    console = Console(highlight=False)
    night = report.night
    console.print(
        f"[green]{night.done} done[/], {night.already_done} done before, "
        f"[yellow]{night.waiting} waiting[/], [red]{night.quarantined} in quarantine[/], "
        f"in {night.seconds:.0f} s"
    )
    if report.stopped:
        console.print(f"[yellow]{report.stopped}[/]")
    console.print(f"results, and summary.html, in {out}; `wsiproc status` says more")
