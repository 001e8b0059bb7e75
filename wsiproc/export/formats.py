"""Which formats there are, what each takes, and what its files are called."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Final, Literal

from wsiproc.errors import ConfigError
from wsiproc.results.stored import StoredResult

Name = Literal["geojson", "gis", "dicom", "spatialdata", "tiatoolbox", "csv", "ome-zarr"]


@dataclass(frozen=True, slots=True)
class Options:
    """What there is to choose; None and False choose nothing.

    Parameters
    ----------
    tissue
        Of `geojson`: the searched regions rather than the nuclei.
    unit, kind
        Of `gis`: ``um`` or ``px``; ``gpkg``, ``fgb`` or ``parquet``.
    slide
        Of `gis` and `dicom`: the slide of the result.
    frame_of_reference
        Of `dicom`: a UID.
    downsample
        Of `ome-zarr`: level-0 px on the edge of a label px.
    """

    tissue: bool = False
    unit: Literal["um", "px"] | None = None
    kind: Literal["gpkg", "fgb", "parquet"] | None = None
    slide: Path | None = None
    frame_of_reference: str | None = None
    downsample: int | None = None


@dataclass(frozen=True, slots=True)
class _Format:
    """How an export is called by default, the options it takes, and who writes it."""

    suffix: str
    takes: tuple[str, ...]
    write: Callable[[StoredResult, Path, Options, bool], int]


def export(
    result: StoredResult, to: Name, out: Path, options: Options | None = None, *, replace: bool
) -> int:
    """Write a result in another format; gives the nuclei, or the regions, that were written.

    Raises
    ------
    ConfigError
        If an option is not of this format, or see the format's own module.
    MissingExtraError
        If the format needs packages that are not installed.
    AlreadyThereError
        If something is at `out`, and is not to be replaced.
    DiskFullError, StoreError
        If it cannot be written; then nothing is left behind.
    """
    options = options or Options()
    form = FORMATS[to]
    for one in fields(options):
        if getattr(options, one.name) and one.name not in form.takes:
            owners = " and ".join(name for name, f in FORMATS.items() if one.name in f.takes)
            spelt = {"kind": "as"}.get(one.name, one.name.replace("_", "-"))
            raise ConfigError(f"--{spelt} is of --to {owners}, and this is --to {to}")
    return form.write(result, out, options, replace)


def default_name(result: StoredResult, to: Name) -> str:
    """What an export is called where nobody says: after the slide's id."""
    return result.slide_id + FORMATS[to].suffix


def _geojson(result: StoredResult, out: Path, options: Options, replace: bool) -> int:
    from wsiproc.export.geojson import write_geojson

    return write_geojson(result, out, tissue=options.tissue, replace=replace)


def _gis(result: StoredResult, out: Path, options: Options, replace: bool) -> int:
    from wsiproc.export.gis import write_gis

    return write_gis(
        result,
        out,
        unit=options.unit or "um",
        kind=options.kind or "gpkg",
        slide=options.slide,
        replace=replace,
    )


def _dicom(result: StoredResult, out: Path, options: Options, replace: bool) -> int:
    from wsiproc.export.dicom import write_dicom

    return write_dicom(
        result,
        out,
        slide=options.slide,
        frame_of_reference=options.frame_of_reference,
        replace=replace,
    )


def _spatialdata(result: StoredResult, out: Path, options: Options, replace: bool) -> int:
    from wsiproc.export.spatialdata import write_spatialdata

    return write_spatialdata(result, out, replace=replace)


def _tiatoolbox(result: StoredResult, out: Path, options: Options, replace: bool) -> int:
    from wsiproc.export.tiatoolbox import write_tiatoolbox

    return write_tiatoolbox(result, out, replace=replace)


def _csv(result: StoredResult, out: Path, options: Options, replace: bool) -> int:
    from wsiproc.export.csv import write_csv

    return write_csv(result, out, replace=replace)


def _ome_zarr(result: StoredResult, out: Path, options: Options, replace: bool) -> int:
    from wsiproc.export.ome_zarr import write_ome_zarr

    return write_ome_zarr(result, out, downsample=options.downsample, replace=replace)


FORMATS: Final[dict[Name, _Format]] = {
    "geojson": _Format(".geojson.gz", ("tissue",), _geojson),
    "gis": _Format("-gis", ("unit", "kind", "slide"), _gis),
    "dicom": _Format("-dicom", ("slide", "frame_of_reference"), _dicom),
    "spatialdata": _Format(".spatialdata.zarr", (), _spatialdata),
    "tiatoolbox": _Format(".db", (), _tiatoolbox),
    "csv": _Format(".csv", (), _csv),
    "ome-zarr": _Format(".ome.zarr", ("downsample",), _ome_zarr),
}
