"""``wsiproc status``: how the slides of a batch stand."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from wsiproc.batch.look import Standing
    from wsiproc.batch.records import Record

_NIGHTS = 5
_COLOURS = {"done": "green", "waiting": "yellow", "quarantined": "red"}


def status(
    out: Annotated[Path, typer.Argument(metavar="DIR", help="The --out folder of a batch.")],
    names: Annotated[
        bool, typer.Option("--names", help="Tell the slides' files too; needs the site's list.")
    ] = False,
    site_key: Annotated[
        Path | None, typer.Option(help="The site's key; its list of names lies beside it.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """Show how many slides are done, which are not and why, and what the last nights did.

    Slides are named by their ids. Only --names tells files, and only where the site's key is.
    """
    from wsiproc.batch.look import standing

    found = standing(out)
    files: dict[str, Path] = {}
    if names:
        from wsiproc.batch import identity

        files = identity.names(site_key)
    if as_json:
        sys.stdout.write(json.dumps(_facts(found, files, names=names)) + "\n")
    else:
        _show(found, files)


def _facts(found: Standing, files: dict[str, Path], *, names: bool) -> dict[str, Any]:
    slides = []
    for record in found.records:
        facts = record.model_dump(mode="json")
        if record.slide_id in found.since:
            facts["waiting_since"] = found.since[record.slide_id]
        if names:
            file = files.get(record.slide_id)
            facts["file"] = None if file is None else str(file)
        slides.append(facts)
    nights = []
    for night, state in found.nights:
        facts = night.model_dump(mode="json", exclude={"slides"})
        nights.append(facts | {"slides": len(night.slides), "state": state})
    return {"counts": found.counts, "slides": slides, "nights": nights}


def _show(found: Standing, files: dict[str, Path]) -> None:
    console = Console(highlight=False, soft_wrap=True)
    line = Text()
    for state, count in found.counts.items():
        line.append(f"{count:,} {state}   ", _COLOURS[state] if count else "dim")
    console.print(line)
    for record in found.records:
        if record.state != "done":
            since = found.since.get(record.slide_id, record.changed)
            console.print()
            console.print(_entry(record, since, files.get(record.slide_id)))
    if found.nights:
        console.print()
        table = Table(box=None, pad_edge=False)
        for title in ("night (UTC)", "state", "code", "done", "before", "waiting", "quarantined"):
            table.add_column(title, no_wrap=True, justify="left" if title[0] in "ns" else "right")
        for night, at in found.nights[-_NIGHTS:]:
            code = "" if night.exit_code is None else str(night.exit_code)
            numbers = (night.done, night.already_done, night.waiting, night.quarantined)
            table.add_row(_minute(night.started), at, code, *(f"{n:,}" for n in numbers))
        console.print(table)


def _entry(record: Record, since: str, file: Path | None) -> Text:
    """A slide that is not done: how it stands, its file if that may be told, and why."""
    tried = f"tried {record.attempts} times" if record.attempts != 1 else "tried once"
    entry = Text.assemble(
        (record.slide_id, "bold"),
        "  ",
        (record.state, _COLOURS[record.state]),
        (f"  since {_minute(since)} UTC, {tried}" if since else f"  {tried}", "dim"),
    )
    if file is not None:
        entry.append(f"\n    {file}")
    if (trouble := record.trouble) is not None:
        tile = f", tile row {trouble.tile[0]} column {trouble.tile[1]}" if trouble.tile else ""
        entry.append(f"\n    {trouble.kind}{tile}: {trouble.message}")
        if trouble.reproduce:
            entry.append(f"\n    {trouble.reproduce}", "dim")
    return entry


def _minute(text: str) -> str:
    """An ISO 8601 time, to the minute."""
    return text[:16].replace("T", " ")
