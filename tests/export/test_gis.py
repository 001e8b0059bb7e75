"""In a GIS the nuclei lie on the picture of the slide: asked of GDAL, as QGIS does."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import get_args

import geopandas
import numpy as np
import pyarrow as pa
import pyogrio
import pyproj
import pytest
import shapely

from wsiproc import run
from wsiproc.errors import AlreadyThereError, ConfigError
from wsiproc.export._shapes import shapes_um
from wsiproc.export.gis import Kind, Unit, crs_y_up, write_gis
from wsiproc.results.stored import StoredResult, open_result
from wsiproc.slide._drawn import DrawnSlide

rasterio = pytest.importorskip("rasterio")

UNITS, KINDS = get_args(Unit), get_args(Kind)


def layer(folder: Path, name: str, kind: Kind) -> geopandas.GeoDataFrame:
    if kind == "gpkg":
        return geopandas.read_file(folder / "nuclei.gpkg", layer=name)
    if kind == "fgb":
        return geopandas.read_file(folder / f"{name}.fgb")
    return geopandas.read_parquet(folder / f"{name}.parquet")


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("kind", KINDS)
def test_picture_and_layers_coincide(
    unit: Unit, kind: Kind, result: StoredResult, rows: pa.Table, out: Path
) -> None:
    assert write_gis(result, out, unit=unit, kind=kind) == result.nuclei
    width, height = result.size_um if unit == "um" else result.size_px
    with rasterio.open(out / "overview.png") as picture:
        assert tuple(picture.bounds) == pytest.approx((0, -height, width, 0), abs=1e-6)
        name = picture.crs.to_wkt().split('"')[1]
        assert picture.transform.e < 0, "north is up: nobody sees it mirrored"
    edge = layer(out, "slide", kind)
    assert tuple(edge.total_bounds) == pytest.approx(tuple(picture.bounds), abs=1e-6)
    assert edge.crs.name == name, "of one frame, so that nothing is moved"
    nuclei = layer(out, "nuclei", kind)
    order = nuclei.set_index("nucleus_id").loc[rows["nucleus_id"].to_pylist()]
    scale = 1.0 if unit == "um" else 4.0
    wanted = shapely.transform(shapes_um(rows), lambda xy: xy * (scale, -scale))
    assert shapely.equals(np.asarray(order.geometry), wanted).all()
    assert order["class_name"].tolist() == rows["class_name"].to_pylist()
    np.testing.assert_array_equal(order["area_um2"].astype("float32"), rows["area_um2"])
    assert not {"y_um", "y_px"} & set(nuclei.columns), "they are of the frame with y down"
    assert shapely.is_ccw(shapely.get_exterior_ring(np.asarray(nuclei.geometry))).all()


def test_the_picture_shows_nuclei_where_the_layer_has_them(
    small: DrawnSlide, mask_model: Path, tmp_path: Path
) -> None:
    """Of a slide whose nuclei are dark, with and without its pixels at hand."""
    done = run(small.path, str(mask_model), tmp_path / "out")
    result = open_result(done.folder)
    for slide, name in ((small.path, "overview.jpg"), (None, "overview.png")):
        write_gis(result, tmp_path / "gis", slide=slide, replace=True)
        nuclei = layer(tmp_path / "gis", "nuclei", "gpkg")
        tissue = layer(tmp_path / "gis", "tissue", "gpkg").union_all()
        inside = np.column_stack([nuclei.centroid.x, nuclei.centroid.y])
        # 12 µm away from a nucleus, in the tissue and in no other.
        away = shapely.points(inside + np.array([12.0, 0.0]))
        free = tissue.contains(away) & ~shapely.intersects(away, nuclei.union_all())
        with rasterio.open(tmp_path / "gis" / name) as picture:
            on, off = (
                np.array([px.mean() for px in picture.sample(xy)])
                for xy in (inside, shapely.get_coordinates(away[free]))
            )
        assert len(on) > 50
        assert len(off) > 20
        assert np.median(on) < np.median(off) - 20


@pytest.mark.parametrize("unit", UNITS)
def test_the_frame_is_no_place_on_earth_and_knows_no_slide(unit: Unit) -> None:
    crs = pyproj.CRS.from_json_dict(crs_y_up(unit))
    assert crs.is_engineering
    assert [axis.direction for axis in crs.axis_info] == ["east", "north"]
    assert {axis.unit_name for axis in crs.axis_info} == {"micrometre" if unit == "um" else "pixel"}


def test_geoparquet_is_valid(result: StoredResult, out: Path) -> None:
    write_gis(result, out, kind="parquet")
    for name in ("nuclei", "tissue", "slide"):
        with pa.parquet.ParquetFile(out / f"{name}.parquet") as file:
            geo = json.loads(file.metadata.metadata[b"geo"])
        column = geo["columns"]["geometry"]
        assert (geo["version"], column["crs"]) == ("1.1.0", crs_y_up("um"))
        some = geopandas.read_parquet(out / f"{name}.parquet", bbox=(0, -400, 500, 0))
        whole = geopandas.read_parquet(out / f"{name}.parquet")
        assert tuple(whole.total_bounds) == tuple(column["bbox"])
        assert len(some) == whole.intersects(shapely.box(0, -400, 500, 0)).sum() or name != "slide"


def test_qgis_finds_a_style_for_every_layer(result: StoredResult, out: Path) -> None:
    write_gis(result, out)
    with closing(sqlite3.connect(out / "nuclei.gpkg")) as base:
        stored = base.execute(
            "SELECT f_table_name, f_geometry_column, styleQML, useAsDefault FROM layer_styles"
        ).fetchall()
        columns = dict(base.execute("SELECT table_name, column_name FROM gpkg_geometry_columns"))
    assert {row[0]: row[1] for row in stored} == columns
    assert all(row[3] for row in stored)
    (style,) = (row[2] for row in stored if row[0] == "nuclei")
    assert 'attr="class_name"' in style
    for one in result.classes:
        assert "{},{},{},255".format(*one.color) in style


def test_points_are_a_layer_of_points(points: StoredResult, out: Path) -> None:
    write_gis(points, out)
    assert pyogrio.read_info(out / "nuclei.gpkg", layer="nuclei")["geometry_type"] == "Point"
    assert len(layer(out, "nuclei", "gpkg")) == points.nuclei


def test_a_result_of_nothing_has_empty_layers(nothing: StoredResult, tmp_path: Path) -> None:
    for kind in KINDS:
        write_gis(nothing, tmp_path / kind, kind=kind)
        assert len(layer(tmp_path / kind, "nuclei", kind)) == 0


def test_another_slide_is_refused_and_leaves_nothing(
    result: StoredResult, small: DrawnSlide, out: Path
) -> None:
    with pytest.raises(ConfigError, match="not the slide that this result was made from"):
        write_gis(result, out, slide=small.path)
    assert not list(out.parent.iterdir())


def test_a_folder_that_is_there_stays(result: StoredResult, out: Path) -> None:
    out.mkdir()
    with pytest.raises(AlreadyThereError):
        write_gis(result, out)
    assert not list(out.iterdir())
