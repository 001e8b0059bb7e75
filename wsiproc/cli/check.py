"""``wsiproc check``: whether results are still what was published."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress
from rich.text import Text

from wsiproc.errors import StoreError


def check(
    out: Annotated[Path, typer.Argument(metavar="DIR", help="A folder of results.")],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """Read every published file again and compare it with its manifest.

    Finds results without a manifest, and slides that a batch calls done and that have no result.
    The exit code is 73 if anything is wrong.
    """
    from wsiproc.batch import look

    slides = look.things_to_check(out)
    console = Console(stderr=True, highlight=False)
    shown = console.is_terminal and not as_json
    with Progress(console=console, transient=True, disable=not shown) as progress:
        found = [
            checked
            for name in progress.track(slides, description="reading results")
            if (checked := look.check(out, name)).problems or checked.notes or checked.is_result
        ]
    results = sum(checked.is_result for checked in found)
    wrong = [checked for checked in found if checked.problems]
    if as_json:
        facts = {
            "status": "damaged" if wrong else "whole",
            "results": results,
            "problems": {checked.slide_id: list(checked.problems) for checked in wrong},
            "notes": {c.slide_id: list(c.notes) for c in found if c.notes},
        }
        sys.stdout.write(json.dumps(facts) + "\n")
    else:
        stdout = Console(highlight=False, soft_wrap=True)
        for checked in found:
            for problem in checked.problems:
                stdout.print(Text.assemble((checked.slide_id, "bold red"), f": {problem}"))
            for note in checked.notes:
                stdout.print(Text(f"{checked.slide_id}: {note}", "dim"))
        said = f"{len(wrong):,} with problems" if wrong else "all as they were published"
        stdout.print(Text(f"{results:,} results, {said}", "bold red" if wrong else "bold green"))
    if wrong:
        raise typer.Exit(StoreError.exit_code)
