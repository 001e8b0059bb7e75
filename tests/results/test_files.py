"""Selections as files: valid GeoParquet, CSV, and GeoJSON that QuPath reads."""

from __future__ import annotations

import csv
import gzip
import json
import subprocess
import sys
from pathlib import Path

import geopandas
import numpy as np
import pyarrow.parquet as pq
import pytest
import shapely

import wsiproc
from wsiproc.errors import AlreadyThereError, ConfigError, StoreError
from wsiproc.geojson import outlines_in
from wsiproc.results.files import write
from wsiproc.results.stored import StoredResult
from wsiproc.store.geoparquet import PIECE, check_file

BOX = (300.0, 250.0, 320.0, 270.0)


def valid(path: Path) -> None:
    validator = Path(sys.executable).with_name("geoparquet-validator")
    if not validator.exists():
        pytest.skip("geoparquet-validator is not installed")
    done = subprocess.run([validator, "check", path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert "FAIL" not in done.stdout


def test_all_of_a_result_as_parquet_is_the_result(many: StoredResult, tmp_path: Path) -> None:
    """With the same settings of the writer the very bytes."""
    selection = wsiproc.query(many.folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("wsiproc.store.geoparquet.ROW_GROUP", 1000)
        patch.setattr("wsiproc.results.files.PIECE", 500)
        assert write(selection, tmp_path / "all.parquet") == 6500
    assert (tmp_path / "all.parquet").read_bytes() == many.table.read_bytes()


def test_a_part_as_parquet_keeps_crs_units_and_metadata(many: StoredResult, tmp_path: Path) -> None:
    path = tmp_path / "part.parquet"
    selection = wsiproc.query(many.folder, box=BOX, columns=("score", "nucleus_id"), around_um=20)
    selection = selection.only("score", "nucleus_id", "around_tumour")
    assert write(selection, path) == selection.count()
    assert check_file(path) == selection.count()
    found, whole = geopandas.read_parquet(path), geopandas.read_parquet(many.table)
    assert found.crs == whole.crs
    assert list(found.columns) == ["score", "nucleus_id", "around_tumour", "geometry"]
    keep = whole.nucleus_id.isin(found.nucleus_id)
    assert found.geometry.geom_equals(whole[keep].geometry, align=False).all()
    stored = pq.read_metadata(path).metadata
    assert json.loads(stored[b"wsiproc:mpp"]) == {"x": 0.25, "y": 0.25, "source": "file"}
    assert pq.read_schema(path).field("around_tumour").metadata[b"description"].startswith(b"other")


def test_nuclei_of_several_slides_go_into_one_valid_file(
    many: StoredResult, one: StoredResult, tmp_path: Path
) -> None:
    path = tmp_path / "both.parquet"
    assert write(wsiproc.query([many.folder, one.folder], where="score > .5"), path) > PIECE // 2
    found = geopandas.read_parquet(path)
    assert set(found.slide_id) == {"S-many", "S-one"}
    stored = pq.read_metadata(path).metadata
    # What is true of one slide only must not be said of the file.
    assert b"wsiproc:slide_id" not in stored
    assert b"wsiproc:schema_version" in stored
    valid(path)


def test_csv_has_units_in_its_header_and_every_row(many: StoredResult, tmp_path: Path) -> None:
    selection = wsiproc.query(many.folder, box=BOX)
    path = tmp_path / "part.csv"
    assert write(selection, path) == selection.count()
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    table = selection.to_arrow()
    assert list(rows[0]) == [n for n in table.column_names if n not in ("geometry", "bbox")]
    assert [int(row["nucleus_id"]) for row in rows] == table["nucleus_id"].to_pylist()
    assert [float(row["x_um"]) for row in rows] == table["x_um"].to_pylist()
    areas = np.array([row["area_um2"] for row in rows], np.float32)
    assert (areas == np.asarray(table["area_um2"])).all()


def test_csv_gives_geometry_as_exact_text_if_it_is_asked_for(
    many: StoredResult, tmp_path: Path
) -> None:
    selection = wsiproc.query(many.folder, columns=("geometry", "bbox"), limit=20)
    write(selection, tmp_path / "g.csv")
    with (tmp_path / "g.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    shapes = shapely.from_wkb(selection.to_arrow()["geometry"].to_numpy())
    assert shapely.equals_exact(shapely.from_wkt([row["geometry"] for row in rows]), shapes).all()
    assert [float(row["bbox.xmin"]) for row in rows] == shapely.bounds(shapes)[:, 0].tolist()


def test_a_csv_without_nuclei_has_its_header(many: StoredResult, tmp_path: Path) -> None:
    nothing = wsiproc.query(many.folder, where="score > 2", columns=("score", "area_um2"))
    assert write(nothing, tmp_path / "none.csv") == 0
    assert (tmp_path / "none.csv").read_text() == '"score","area_um2"\n'
    assert write(nothing, tmp_path / "none.parquet") == 0
    assert len(geopandas.read_parquet(tmp_path / "none.parquet")) == 0


@pytest.mark.parametrize("name", ["part.geojson", "part.geojson.gz"])
def test_geojson_lies_on_the_slide_with_what_qupath_wants(
    many: StoredResult, tmp_path: Path, name: str
) -> None:
    selection = wsiproc.query(many.folder, box=BOX, nearest=("tumour",))
    count = write(selection, tmp_path / name)
    packed = (tmp_path / name).read_bytes()
    text = (gzip.decompress(packed) if name.endswith("gz") else packed).decode()
    features = json.loads(text)["features"]
    assert len(features) == count == selection.count()
    shapes = shapely.from_wkb(selection.to_arrow()["geometry"].to_numpy())
    px = shapely.transform(shapes, many.to_px)
    assert shapely.hausdorff_distance(outlines_in(text, "it"), px).max() < 0.01
    first = features[0]["properties"]
    assert first["objectType"] == "detection"
    assert first["classification"]["color"] in ([204, 51, 63], [59, 107, 208])
    assert first["measurements"].keys() >= {"score", "area_um2", "nearest_tumour_um"}


def test_geojson_is_of_one_slide(many: StoredResult, one: StoredResult, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="one slide"):
        write(wsiproc.query([many.folder, one.folder]), tmp_path / "both.geojson")
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_not_replaced_unless_it_is_asked_for(one: StoredResult, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("mine")
    with pytest.raises(AlreadyThereError, match="--replace"):
        write(wsiproc.query(one.folder), path)
    assert path.read_text() == "mine"
    assert write(wsiproc.query(one.folder), path, replace=True) == 200


@pytest.mark.parametrize("ending", [".parquet", ".csv", ".geojson"])
def test_what_fails_leaves_nothing_behind(one: StoredResult, tmp_path: Path, ending: str) -> None:
    wrong = wsiproc.query(one.folder, where="class_name > 3")
    with pytest.raises(ConfigError, match="--where"):
        write(wrong, tmp_path / f"a{ending}")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(StoreError, match="cannot write"):
        write(wsiproc.query(one.folder), tmp_path / "nowhere" / f"a{ending}")


def test_an_unknown_ending_is_refused_with_those_that_are_known(
    one: StoredResult, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=r"\.parquet, \.csv, \.geojson"):
        write(wsiproc.query(one.folder), tmp_path / "a.xlsx")
