"""What people see of a run: bars on a terminal, lines in a log, a summary at the end."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from wsiproc.methods import (
    TrainingChecked,
    TrainingEvent,
    TrainingNote,
    TrainingResumed,
    TrainingStep,
)
from wsiproc.progress import Event, Listener, StageDone, StageStarted, TileDone, Warned, unheard

if TYPE_CHECKING:
    from wsiproc.api import Result

LINE_EVERY_S = 30.0
"""A log gets a line about tiles this often."""

SAID = {"plan": "looking for tissue", "tiles": "finding nuclei", "finish": "writing the table"}


@contextmanager
def watching(*, quiet: bool) -> Iterator[Listener]:
    """Show a run's events on stderr: bars on a terminal, lines elsewhere, nothing when quiet."""
    console = Console(stderr=True, highlight=False)
    if quiet:
        yield unheard
    elif console.is_terminal:
        with _bars(console) as progress:
            yield _Bars(progress).hear
    else:
        yield _Lines(console).hear


def _bars(console: Console) -> Progress:
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description:<20}"),
        BarColumn(),
        TextColumn("{task.fields[said]}"),
        TimeRemainingColumn(),
        console=console,
        transient=True,
    )


class _Bars:
    """A bar for tiles, a spinner for what has no steps."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._task: TaskID | None = None
        self._began = 0.0
        self._done = self._reused = self._total = self._nuclei = 0

    def hear(self, event: Event) -> None:
        match event:
            case StageStarted(stage=stage, total=total, reused=reused):
                self._began = time.monotonic()
                self._done, self._reused, self._total, self._nuclei = 0, reused, total, 0
                self._task = self._progress.add_task(
                    SAID.get(stage, stage), total=total or None, completed=reused, said=""
                )
            case TileDone(nuclei=nuclei) if self._task is not None:
                self._done += 1
                self._nuclei += nuclei
                rate = self._done / max(1e-3, time.monotonic() - self._began)
                said = (
                    f"{self._reused + self._done}/{self._total} tiles, {rate:.2f}/s, "
                    f"{self._nuclei:,} nuclei"
                )
                self._progress.update(self._task, advance=1, said=said)
            case StageDone() if self._task is not None:
                self._progress.remove_task(self._task)
                self._task = None
            case Warned(message=message):
                self._progress.console.print(f"[yellow]warning:[/] {message}")
            case _:
                pass


class _Lines:
    """A line at the start and end of each stage, and now and then between."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._said_at = 0.0
        self._began = 0.0
        self._done = self._reused = self._total = self._nuclei = 0

    def _say(self, slide_id: str, text: str) -> None:
        self._console.print(f"{time.strftime('%H:%M:%S')} {slide_id}: {text}", soft_wrap=True)

    def hear(self, event: Event) -> None:
        match event:
            case StageStarted(slide_id=name, stage=stage, total=total, reused=reused):
                self._began = self._said_at = time.monotonic()
                self._done, self._reused, self._total, self._nuclei = 0, reused, total, 0
                steps = f", {total} tiles, {reused} done before" if total else ""
                self._say(name, f"{SAID.get(stage, stage)}{steps}")
            case TileDone(slide_id=name, nuclei=nuclei):
                self._done += 1
                self._nuclei += nuclei
                now = time.monotonic()
                if now - self._said_at >= LINE_EVERY_S:
                    self._said_at = now
                    left = self._total - self._reused - self._done
                    seconds = left * (now - self._began) / self._done
                    self._say(
                        name,
                        f"{self._reused + self._done}/{self._total} tiles, "
                        f"{self._nuclei:,} nuclei, about {seconds:.0f} s left",
                    )
            case StageDone(slide_id=name, stage=stage, seconds=seconds):
                self._say(name, f"{SAID.get(stage, stage)} took {seconds:.1f} s")
            case Warned(slide_id=name, message=message):
                self._say(name, f"warning: {message}")


@contextmanager
def watching_training(*, quiet: bool) -> Iterator[Callable[[TrainingEvent], None]]:
    """Show a training's events on stderr: a bar on a terminal, a line now and then elsewhere."""
    console = Console(stderr=True, highlight=False)
    if quiet:
        yield lambda _event: None
    elif console.is_terminal:
        with _bars(console) as progress:
            yield _TrainingBar(progress).hear
    else:
        yield _TrainingLines(console).hear


def _measured(event: TrainingChecked) -> str:
    numbers = ", ".join(f"{name} {value:.3f}" for name, value in event.metrics.items())
    return f"step {event.step}: {numbers}{' (best)' if event.best else ''}"


class _TrainingBar:
    """A bar for each stage; what was measured stays above it."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._tasks: dict[str, TaskID] = {}

    def hear(self, event: TrainingEvent) -> None:
        console = self._progress.console
        match event:
            case TrainingResumed():
                console.print(f"{event.stage}: going on from step {event.step} of {event.steps}")
            case TrainingStep():
                if event.stage not in self._tasks:
                    task = self._progress.add_task(event.stage, total=event.steps, said="")
                    self._tasks[event.stage] = task
                said = f"{event.step}/{event.steps}, loss {event.loss:.3f}"
                self._progress.update(self._tasks[event.stage], completed=event.step, said=said)
            case TrainingChecked():
                console.print(f"{event.stage}: {_measured(event)}")
            case TrainingNote():
                console.print(f"{event.stage}: {event.message}")


class _TrainingLines:
    """A line for what was measured, and now and then for steps."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._said_at = time.monotonic()

    def hear(self, event: TrainingEvent) -> None:
        match event:
            case TrainingResumed():
                said = f"going on from step {event.step} of {event.steps}"
            case TrainingStep():
                now = time.monotonic()
                if now - self._said_at < LINE_EVERY_S:
                    return
                self._said_at = now
                said = (
                    f"step {event.step} of {event.steps}, loss {event.loss:.3f}, "
                    f"about {event.seconds_left / 60:.0f} min left"
                )
            case TrainingChecked():
                said = _measured(event)
            case TrainingNote():
                said = event.message
        stamp = time.strftime("%H:%M:%S")
        self._console.print(f"{stamp} {event.stage}: {said}", soft_wrap=True)


def closing_summary(result: Result) -> None:
    """Print what came out of a run."""
    console = Console(highlight=False)
    found = result.summary
    table = Table(show_header=False, box=None, pad_edge=False)
    head = "already done" if found["status"] == "already done" else "done"
    table.add_row(f"[bold green]{head}[/]", f"[bold]{found['nuclei']:,} nuclei[/]")
    table.add_row("area searched", f"{found['tissue_mm2']:.3f} mm²")
    if found["nuclei_per_mm2"] is not None:
        table.add_row("density", f"{found['nuclei_per_mm2']:,.0f} nuclei per mm²")
    for name, count in found["classes"].items():
        if len(found["classes"]) > 1:
            table.add_row(f"  {name}", f"{count:,}")
    seconds = found["seconds"]
    stages = ", ".join(f"{stage} {s:.1f}" for stage, s in seconds.items() if stage != "total")
    table.add_row("seconds", f"{seconds['total']:.1f} ({stages})")
    table.add_row("device", f"{found['device']} ({found['numerics']})")
    table.add_row(
        "tiles", f"{found['tiles_total']} of grid {found['grid']}, {found['tiles_reused']} reused"
    )
    audit = found["seam_audit"]
    seams = ("not_fully_seen", "doubles", "rescued", "conflicts", "errors")
    table.add_row("seams", ", ".join(f"{audit[name]} {name.replace('_', ' ')}" for name in seams))
    for warning in found["warnings"]:
        table.add_row("[yellow]warning[/]", warning)
    table.add_row("result", str(result.folder))
    console.print(table)
