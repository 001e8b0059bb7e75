"""``wsiproc query``: which nuclei, how many, how densely, and who is near whom."""

from __future__ import annotations

import json
import math
import sys
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from wsiproc.errors import ConfigError

if TYPE_CHECKING:
    from wsiproc.results.selection import Selection

_SHOWN, _WIDE = 20, 10_000
_HIDDEN = ("geometry", "bbox")
_SEEN = ("nucleus_id", "class_name", "score", "x_um", "y_um", "area_um2")
"""Columns that are shown where none are named, as many as fit beside each other."""


def query(
    results: Annotated[
        list[Path],
        typer.Argument(
            metavar="RESULT...", help="Results, or folders of many.", show_default=False
        ),
    ],
    box: Annotated[
        tuple[float, float, float, float] | None,
        typer.Option("--box", metavar="X Y W H", help="Only nuclei whose centroid is in here."),
    ] = None,
    within: Annotated[
        Path | None,
        typer.Option(
            "--within", metavar="FILE", help="Only nuclei in a polygon of this GeoJSON file."
        ),
    ] = None,
    unit: Annotated[
        str | None,
        typer.Option(
            "--unit",
            metavar="um|px",
            help="Of --box (um, if not said) and --within (px, as QuPath writes it).",
        ),
    ] = None,
    touching: Annotated[
        bool, typer.Option("--touching", help="Also nuclei that only reach into box or polygons.")
    ] = False,
    classes: Annotated[
        list[str] | None,
        typer.Option("--class", metavar="NAME", help="Only this class; may be given again."),
    ] = None,
    where: Annotated[
        str | None,
        typer.Option(
            "--where",
            metavar="EXPR",
            help="Only where this is true: 'area_um2 > 60 AND score > .8'.",
        ),
    ] = None,
    nearest: Annotated[
        list[str] | None,
        typer.Option(
            "--nearest",
            metavar="CLASS",
            help="Add nearest_CLASS_um: how far the nearest other nucleus of it is.",
        ),
    ] = None,
    around: Annotated[
        float | None,
        typer.Option(
            "--around",
            metavar="UM",
            help="Add around_CLASS: nuclei of each class within so many µm.",
        ),
    ] = None,
    columns: Annotated[
        str | None,
        typer.Option("--columns", metavar="A,B,...", help="Only these columns, in this order."),
    ] = None,
    limit: Annotated[int | None, typer.Option("--limit", help="At most so many nuclei.")] = None,
    count: Annotated[bool, typer.Option("--count", help="Only say how many.")] = False,
    stats: Annotated[
        bool,
        typer.Option("--stats", help="Counts, nuclei per mm², and the spread of every measure."),
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Write them: .parquet, .csv, .geojson or .geojson.gz."),
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Replace the file that --out names.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object on stdout, for machines.")
    ] = False,
) -> None:
    """Ask results for nuclei, by place, class and any column.

    Without --count, --stats or --out the first nuclei are shown. Everything is read in row groups,
    and only in those that the box and the polygons touch.
    """
    from wsiproc.results import asking

    if count + stats + (out is not None) > 1:
        raise ConfigError("--count, --stats and --out are three answers: ask for one")
    if unit not in (None, "um", "px"):
        raise ConfigError(f"the unit {unit!r} is not known: um or px")
    selection = asking.query(
        results,
        box=box,
        within=within,
        unit=unit,  # type: ignore[arg-type]  # checked above
        touching=touching,
        classes=tuple(classes or ()),
        where=where,
        nearest=tuple(nearest or ()),
        around_um=around,
        columns=tuple(name.strip() for name in columns.split(",")) if columns else (),
        limit=limit,
    )
    if count:
        number = selection.count()
        sys.stdout.write((json.dumps({"nuclei": number}) if as_json else str(number)) + "\n")
    elif stats:
        from wsiproc.results.densities import statistics

        told = statistics(selection)
        if as_json:
            sys.stdout.write(json.dumps(told) + "\n")
        else:
            _show_statistics(told)
    elif out is not None:
        from wsiproc.results.files import write

        written = write(selection, out, replace=replace)
        if as_json:
            sys.stdout.write(json.dumps({"status": "done", "nuclei": written}) + "\n")
        else:
            _console(soft_wrap=True).print(f"{written:,} nuclei written to {out.name}")
    else:
        _show(selection, limit, as_json=as_json)


def _console(*, width: int | None = None, soft_wrap: bool = False) -> Console:
    """Names of classes, places and slides are text, whatever brackets and colons they have."""
    return Console(highlight=False, markup=False, emoji=False, width=width, soft_wrap=soft_wrap)


def _show(selection: Selection, limit: int | None, *, as_json: bool) -> None:
    """The first nuclei, on the terminal."""
    names = [name for name in selection.schema.names if name not in _HIDDEN]
    if not selection.question.columns:
        added = {one.name for one in selection.question.asked.fields(selection.classes)}
        seen = {*_SEEN, *added} | ({"slide_id"} if len(selection.results) > 1 else set())
        names = [name for name in names if name in seen]
    if not names:
        raise ConfigError("geometry and bbox are no sight: name other columns, or --out FILE")
    most = _SHOWN if limit is None else limit
    rows = (row for some in selection.only(*names).tables() for row in some.to_pylist())
    shown = list(islice(rows, most + 1))
    more, shown = len(shown) > most, shown[:most]
    if as_json:
        sys.stdout.write(json.dumps({"rows": [_plain(row) for row in shown], "more": more}) + "\n")
        return
    # Into a pipe or a file nothing is cut off.
    console = _console(width=None if sys.stdout.isatty() else _WIDE)
    table = Table(box=None, pad_edge=False)
    for name in names:
        table.add_column(name, justify="left" if "name" in name or name == "slide_id" else "right")
    for row in shown:
        table.add_row(*(_cell(row[name]) for name in names))
    console.print(table)
    if more:
        console.print("... and more: --limit N shows N of them, --out FILE writes all", style="dim")


def _show_statistics(told: dict[str, Any]) -> None:
    console = _console(soft_wrap=True)
    areas = [f"{_number(told['area_mm2'])} mm²"]
    if told["tissue_mm2"] is not None:
        areas.append(f"{_number(told['tissue_mm2'])} mm² of tissue searched")
    console.print(f"{told['nuclei']:,} nuclei in {', '.join(areas)}")
    console.print()
    console.print(_densities(told["classes"], "class_name", share=True))
    if len(told["slides"]) > 1:
        console.print()
        console.print(_densities(told["slides"], "slide_id"))
    if "places" in told:
        console.print()
        console.print(_densities(told["places"], "place", slides=len(told["slides"]) > 1))
    for one in told["classes"]:
        if one["measures"]:
            console.print()
            console.print(_measures(one))


def _densities(
    rows: list[dict[str, Any]], name: str, *, share: bool = False, slides: bool = False
) -> Table:
    table = Table(box=None, pad_edge=False)
    for title in (*(["slide"] if slides else []), name.partition("_")[0]):
        table.add_column(title, no_wrap=True)
    for title in ("nuclei", *(["share"] if share else []), "per mm²", "per mm² of tissue"):
        table.add_column(title, justify="right")
    for row in rows:
        table.add_row(
            *([row["slide_id"]] if slides else []),
            row[name],
            f"{row['nuclei']:,}",
            *([_percent(row["share"])] if share else []),
            _number(row["per_mm2"]),
            _number(row["per_mm2_tissue"]),
        )
    return table


def _measures(one: dict[str, Any]) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column(one["class_name"], no_wrap=True)
    for title in ("mean", "sd", "min", "median", "max"):
        table.add_column(title, justify="right")
    for measure, spread in one["measures"].items():
        table.add_row(measure, *(_number(value) for value in spread.values()))
    return table


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    """JSON knows no nan."""
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in row.items()
    }


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    return "-" if value is None else str(value)


def _number(value: float | None) -> str:
    """Three digits that count, all of them above 100."""
    if value is None:
        return "-"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f} %"
