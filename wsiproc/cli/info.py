"""``wsiproc info``: what a slide is, as far as a run has to know."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table


def info(
    slide: Annotated[Path, typer.Argument(help="The slide's file.", show_default=False)],
    mpp: Annotated[float | None, typer.Option(help="µm per level-0 pixel.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON on stdout.")] = False,
) -> None:
    """Show a slide's size, levels, resolution and backend; never its label or its names."""
    from wsiproc.slide import describe, open_slide

    with open_slide(slide, mpp=mpp) as opened:
        facts = opened.facts
    if as_json:
        sys.stdout.write(json.dumps(describe(facts)) + "\n")
        return
    table = Table(show_header=False, box=None, pad_edge=False)
    x, y = facts.mpp
    table.add_row("backend", facts.backend)
    table.add_row("vendor", facts.vendor or "-")
    table.add_row("size", f"{facts.width:,} x {facts.height:,} px")
    table.add_row("", f"{facts.width * x / 1000:.2f} x {facts.height * y / 1000:.2f} mm")
    source = "given with --mpp" if facts.mpp_source == "given" else "from the file"
    table.add_row("resolution", f"{x:.4g} x {y:.4g} µm per px ({source})")
    if facts.objective:
        table.add_row("objective", f"{facts.objective:g}x")
    if facts.bounds is not None:
        table.add_row("scanned part", str(facts.bounds.as_tuple()))
    for number, level in enumerate(facts.levels):
        table.add_row(
            f"level {number}",
            f"{level.width:,} x {level.height:,} px, 1:{level.downsample_x:.4g}, "
            f"{x * level.downsample_x:.4g} µm per px",
        )
    Console(highlight=False).print(table)
