"""``wsiproc gc``: remove what nothing refers to."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.filesize import decimal
from rich.text import Text

_WHAT = {
    "work": "tiles of a published slide",
    "staging": "an attempt that ended",
    "replaced": "a result that was replaced",
    "temporary": "a half-written file",
    "lease": "the lease of a dead run",
}


def gc(
    out: Annotated[Path, typer.Argument(metavar="DIR", help="A folder of results.")],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be removed, and remove nothing.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """Remove what crashed runs have left and nothing refers to.

    Never a result, a record, the audit log or tiles that the next run goes on from. A batch may be
    running beside it.
    """
    from wsiproc.batch.tidy import tidy

    console = Console(highlight=False, soft_wrap=True)
    removed = []
    for leftover in tidy(out, dry_run=dry_run):
        removed.append(leftover)
        if not as_json:
            size = decimal(leftover.bytes)
            console.print(Text(f"{size:>10}  {_WHAT[leftover.what]}: {leftover.name}"))
    total = sum(leftover.bytes for leftover in removed)
    if as_json:
        facts = {
            "status": "dry run" if dry_run else "done",
            "bytes": total,
            "removed": [asdict(leftover) for leftover in removed],
        }
        sys.stdout.write(json.dumps(facts) + "\n")
    else:
        would = "would be freed" if dry_run else "freed"
        console.print(Text(f"{decimal(total)} {would} ({total:,} bytes)", "bold"))
