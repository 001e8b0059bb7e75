"""``wsiproc export``: results in the formats of other tools."""

from __future__ import annotations

import json
import sys
import time
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console


class Format(StrEnum):
    """What ``--to`` takes."""

    geojson = "geojson"
    gis = "gis"
    dicom = "dicom"
    spatialdata = "spatialdata"
    tiatoolbox = "tiatoolbox"
    csv = "csv"
    ome_zarr = "ome-zarr"


class Unit(StrEnum):
    """What ``--unit`` takes."""

    um = "um"
    px = "px"


class Kind(StrEnum):
    """What ``--as`` takes."""

    gpkg = "gpkg"
    fgb = "fgb"
    parquet = "parquet"


def export(
    results: Annotated[
        list[Path],
        typer.Argument(
            metavar="RESULT...", help="Results, or folders of many.", show_default=False
        ),
    ],
    to: Annotated[
        Format,
        typer.Option(
            "--to",
            help="geojson: QuPath. gis: QGIS and the like. dicom: a PACS. spatialdata and "
            "tiatoolbox: those. csv. ome-zarr: labels and density.",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            help="Its file or folder; of many results, a folder for all. Else here, after the "
            "slide's id.",
            show_default=False,
        ),
    ] = None,
    tissue: Annotated[
        bool,
        typer.Option("--tissue", help="geojson: the searched regions rather than the nuclei."),
    ] = False,
    unit: Annotated[
        Unit | None, typer.Option(help="gis: um (the default) or level-0 px.", show_default=False)
    ] = None,
    kind: Annotated[
        Kind | None,
        typer.Option(
            "--as", help="gis: gpkg (the default), fgb or parquet (GeoParquet).", show_default=False
        ),
    ] = None,
    slide: Annotated[
        Path | None,
        typer.Option(
            help="gis: the slide, for a sharper picture. dicom: the DICOM slide, whose patient and "
            "study are then copied.",
            show_default=False,
        ),
    ] = None,
    frame_of_reference: Annotated[
        str | None,
        typer.Option(
            help="dicom, of slides that are not: the UID of a frame of reference whose mm start at "
            "the slide's corner.",
            show_default=False,
        ),
    ] = None,
    downsample: Annotated[
        int | None,
        typer.Option(
            help="ome-zarr: level-0 px on the edge of a label px. Else nearest to the model's.",
            show_default=False,
        ),
    ] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Replace what is there.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="A JSON object a result.")] = False,
) -> None:
    """Write RESULT... in the format of another tool, streamed: memory does not grow with them."""
    from wsiproc.errors import ConfigError
    from wsiproc.export import formats
    from wsiproc.results.stored import find_results

    found = find_results(results)
    if slide is not None and len(found) > 1:
        raise ConfigError("--slide is of one result, and here are several: export them one by one")
    options = formats.Options(
        tissue=tissue,
        unit=unit.value if unit else None,
        kind=kind.value if kind else None,
        slide=slide,
        frame_of_reference=frame_of_reference,
        downsample=downsample,
    )
    console = Console(stderr=True, highlight=False, markup=False)
    for result in found:
        name = Path(formats.default_name(result, to.value))
        target = name if out is None else out / name if len(found) > 1 else out
        began = time.monotonic()
        count = formats.export(result, to.value, target, options, replace=replace)
        seconds = time.monotonic() - began
        if as_json:
            said = {
                "slide_id": result.slide_id,
                "to": to.value,
                "out": str(target),
                "written": count,
                "seconds": round(seconds, 3),
            }
            sys.stdout.write(json.dumps(said) + "\n")
            continue
        what = "regions" if tissue else "nuclei"
        console.print(f"{target}: {count:,} {what} in {seconds:.1f} s")
        if to is Format.dicom and slide is not None:
            console.print("It names the patient and the study of the slide.")
