"""``wsiproc diff``: two results of one slide, nucleus by nucleus."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from wsiproc.cli.writing import check_free
from wsiproc.errors import ConfigError

if TYPE_CHECKING:
    from wsiproc.diff import Difference, Tally
    from wsiproc.diff.telling import Couples, Verdict

DIFFERENT = 1
"""The exit code; those of errors are of `wsiproc.errors`."""
_MOST_REGIONS = 20
_COLOURS = {"moved": "yellow", "reclassified": "magenta", "gained": "blue", "lost": "red"}


def diff(
    a: Annotated[
        Path, typer.Argument(help="The result in use, or a folder of results.", show_default=False)
    ],
    b: Annotated[Path, typer.Argument(help="What may take its place.", show_default=False)],
    radius_um: Annotated[
        float,
        typer.Option(help="Nuclei are one if their centroids are within it.", min=0.01),
    ] = 3.0,
    by_region: Annotated[
        bool, typer.Option("--by-region", help="Also each region of tissue alone.")
    ] = False,
    limits: Annotated[
        Path | None,
        typer.Option(help="TOML of how much may differ; without it, nothing.", show_default=False),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="GeoParquet of each nucleus.", show_default=False),
    ] = None,
    picture: Annotated[
        Path | None, typer.Option(help="PNG of where they differ.", show_default=False)
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Write over files that are there.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """Compare two results of one slide: nuclei matched, moved, reclassified, gained and lost.

    Folders of results are compared slide by slide, and all slides together. The exit code is 0 if
    they are the same, or within the limits, and 1 if not.
    """
    from wsiproc.diff import Tally, compare, regions
    from wsiproc.diff.limits import read_limits
    from wsiproc.diff.telling import coupled, facts, region_facts, together, verdict
    from wsiproc.results.stored import find_results

    check_free(out, picture, replace=replace)
    allowed = read_limits(limits) if limits is not None else None
    couples = coupled(find_results([a]), find_results([b]))
    if len(couples.both) > 1 and (out is not None or picture is not None):
        raise ConfigError("--out and --picture are of one slide: name two results")
    console = Console(highlight=False, soft_wrap=True)
    whole, verdicts, told = Tally(), [], []
    for one, other in couples.both:
        difference = compare(one, other, radius_um=radius_um)
        tally = difference.tally()
        verdicts.append(verdict(tally, allowed))
        whole += tally
        parts = regions(difference) if by_region else []
        _write(difference, out, picture)
        if as_json:
            told.append(facts(difference, tally, verdicts[-1], region_facts(parts)))
        else:
            _show(console, difference, tally, verdicts[-1])
            _show_regions(console, parts)
    verdicts.append(verdict(whole, allowed))
    same = couples.whole and all(each.same for each in verdicts)
    if as_json:
        answer = told[0] if couples.alone else together(couples, told, whole, verdicts[-1], same)
        sys.stdout.write(json.dumps(answer, ensure_ascii=False) + "\n")
    elif not couples.alone:
        _show_all(console, couples, whole, verdicts[-1])
    if not same:
        raise typer.Exit(DIFFERENT)


def _write(difference: Difference, out: Path | None, picture: Path | None) -> None:
    from wsiproc.store.disk import storing, write_whole

    if out is not None:
        from wsiproc.diff.table import write_table

        write_table(out, difference)
    if picture is not None:
        from wsiproc.diff.picture import draw_picture

        with storing(picture.name):
            write_whole(picture, draw_picture(difference))


def _show(console: Console, difference: Difference, tally: Tally, found: Verdict) -> None:
    from wsiproc.diff.provenance import apart
    from wsiproc.diff.telling import classes

    a, b = difference.a, difference.b
    console.print(
        Text.assemble(
            (a.slide_id, "bold"),
            f"  {a.model.name} {a.model.version} → {b.model.name} {b.model.version}",
        )
    )
    for what, (x, y) in apart(a.manifest, b.manifest).items():
        console.print(Text(f"  {what}: {_said(x)} → {_said(y)}", "dim"))
    _show_tally(console, tally, found)
    if difference.classes_compared and len(difference.classes) > 1:
        table = Table(box=None, pad_edge=False, padding=(0, 1))
        for name in ("  class", "A", "B", "F1", "became"):
            table.add_column(name, justify="left" if name in ("  class", "became") else "right")
        for each in classes(difference):
            others = [
                f"{n:,} {other}" for other, n in each["became"].items() if other != each["name"]
            ]
            table.add_row(
                Text(f"  {each['name']}"),
                f"{each['nuclei_a']:,}",
                f"{each['nuclei_b']:,}",
                _number(each["f1"]),
                Text(", ".join(others)),
            )
        console.print(table)
    elif not difference.classes_compared:
        console.print(Text("  classes are not compared: a model tells but one", "dim"))


def _show_tally(console: Console, tally: Tally, found: Verdict) -> None:
    table = Table(box=None, pad_edge=False, padding=(0, 2), show_header=False)
    table.add_column(justify="left")
    table.add_column(justify="right")
    table.add_column()
    more = f"{100 * tally.count_change:+.2f} %" if tally.a else ""
    table.add_row("  nuclei", f"{tally.a:,} → {tally.b:,}", more)
    table.add_row("  matched", f"{tally.matched:,}", f"{tally.identical:,} of them identical")
    for what in ("moved", "reclassified", "gained", "lost"):
        count = getattr(tally, what)
        table.add_row(f"  {what}", Text(f"{count:,}", _COLOURS[what] if count else "dim"), "")
    table.add_row("  F1", _number(tally.f1), "of nuclei that both have")
    if tally.area_a + tally.area_b > 0:
        table.add_row("  overlap", _number(tally.overlap), "of the area of all nuclei")
        low, high = tally.area_um2.limits_of_agreement
        table.add_row(
            "  area", _share(tally.area_um2.change), f"95 % from {low:+.2f} to {high:+.2f} µm²"
        )
    table.add_row("  score", f"{tally.score.bias:+.4f}" if tally.pairs else "-", "on average")
    console.print(table)
    for each in found.limits:
        limit = f"  {each.limit} {each.wanted:g}: {_number(each.found)}"
        console.print(
            Text(limit + ("" if each.kept else "  not kept"), "green" if each.kept else "red")
        )
    console.print(Text("  the same" if found.same else "  different", _mood(found.same)))


def _show_regions(console: Console, parts: list[tuple[int, float, Tally]]) -> None:
    if not parts:
        return
    table = Table(box=None, pad_edge=False, padding=(0, 1))
    for name in ("  region", "mm²", "A", "B", "moved", "reclassified", "gained", "lost", "F1"):
        table.add_column(name, justify="right")
    shown = sorted(parts, key=lambda part: -part[2].changed)[:_MOST_REGIONS]
    for region, mm2, part in shown:
        counts = (part.a, part.b, part.moved, part.reclassified, part.gained, part.lost)
        table.add_row(str(region), f"{mm2:.3f}", *(f"{n:,}" for n in counts), _number(part.f1))
    console.print(table)
    if len(parts) > len(shown):
        left = len(parts) - len(shown)
        console.print(Text(f"  {left:,} regions with fewer changes: --json has all", "dim"))


def _show_all(console: Console, couples: Couples, whole: Tally, found: Verdict) -> None:
    console.print(Text(f"{len(couples.both):,} slides together", "bold"))
    _show_tally(console, whole, found)
    for side, slides in (("A", couples.only_a), ("B", couples.only_b)):
        if slides:
            console.print(Text(f"  only {side} has {', '.join(slides)}", "red"))


def _mood(same: bool) -> str:
    return "bold green" if same else "bold red"


def _number(value: float | None) -> str:
    return "-" if value is None or math.isnan(value) else f"{value:.4f}"


def _share(value: float) -> str:
    return "-" if math.isnan(value) else f"{100 * value:+.2f} %"


def _said(value: Any) -> str:
    return "nothing" if value is None else str(value)
