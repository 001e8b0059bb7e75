"""TIAToolbox opens the store, and finds nuclei in it where they are."""

from __future__ import annotations

import json
import sqlite3
import zlib
from contextlib import closing
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import shapely
from reading import told

from wsiproc.errors import ConfigError
from wsiproc.export._shapes import shapes_px
from wsiproc.export.tiatoolbox import write_tiatoolbox
from wsiproc.results.stored import StoredResult, tables

READ = """
import json, sys
import sqlite3
if not hasattr(sqlite3.Connection, "enable_load_extension"):
    print(json.dumps("this Python's sqlite3 is too small for TIAToolbox"))
    raise SystemExit
from tiatoolbox.annotation import SQLiteStore
store = SQLiteStore(sys.argv[1])
box = json.loads(sys.argv[2])
some = store.query(box)
print(json.dumps({
    "n": len(store),
    "types": sorted({a.properties["type"] for a in store.values()}),
    "inside": sorted(a.properties["nucleus_id"] for a in some.values()),
    "tumour": len(store.query(box, where='props["type"] == "tumour"')),
    "area": sum(a.geometry.area for a in store.values()),
}))
"""


@pytest.fixture(scope="module")
def file(result: StoredResult, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tiatoolbox") / "S-1.db"
    assert write_tiatoolbox(result, path) == result.nuclei
    return path


def test_the_store_holds_every_nucleus_in_px(
    file: Path, result: StoredResult, rows: pa.Table
) -> None:
    with closing(sqlite3.connect(file)) as base:
        about = {k: json.loads(v) for k, v in base.execute("SELECT key, value FROM metadata")}
        stored = base.execute(
            "SELECT key, objtype, cx, cy, geometry, properties, area FROM annotations ORDER BY id"
        ).fetchall()
    assert (about["version"], about["compression"]) == ("1.0.1", "zlib")
    shapes = shapely.from_wkb([zlib.decompress(row[4]) for row in stored])
    wanted = shapes_px(rows, result)
    apart = shapely.get_coordinates(shapes) - shapely.get_coordinates(wanted)
    assert np.abs(apart).max() <= 0.5 / 64
    assert {row[1] for row in stored} == {"Polygon"}
    for row, table_row in zip(stored[:300], rows.to_pylist(), strict=False):
        said = json.loads(row[5])
        assert said["type"] == table_row["class_name"]
        assert said["nucleus_id"] == table_row["nucleus_id"]
        assert said["prob"] == pytest.approx(table_row["score"], rel=1e-6)
        assert said["solidity"] == pytest.approx(table_row["solidity"], rel=1e-6)


def test_the_index_finds_what_meets_a_box(file: Path, result: StoredResult, rows: pa.Table) -> None:
    box = (1000.0, 900.0, 2000.0, 2100.0)
    query = (
        "SELECT annotations.id FROM annotations, rtree WHERE annotations.id = rtree.id "
        "AND max_x >= ? AND max_y >= ? AND min_x <= ? AND min_y <= ? ORDER BY annotations.id"
    )
    with closing(sqlite3.connect(file)) as base:
        found = [row[0] - 1 for row in base.execute(query, box)]
    bounds = shapely.bounds(shapes_px(rows, result, per_px=64))
    meets = (bounds[:, 2:] >= box[:2]).all(axis=1) & (bounds[:, :2] <= box[2:]).all(axis=1)
    assert found == np.flatnonzero(meets).tolist()
    assert 0 < len(found) < len(rows)


def test_points_are_stored_as_tiatoolbox_stores_them(points: StoredResult, tmp_path: Path) -> None:
    write_tiatoolbox(points, tmp_path / "p.db")
    (table,) = tables(points.table)
    with closing(sqlite3.connect(tmp_path / "p.db")) as base:
        stored = base.execute("SELECT objtype, cx, cy, geometry FROM annotations").fetchall()
    assert {(row[0], row[3]) for row in stored} == {("Point", None)}
    xy = np.array([row[1:3] for row in stored])
    np.testing.assert_allclose(xy[:, 0], table["x_um"].to_numpy() / 0.25, atol=0.5 / 64)


def test_a_name_that_its_viewer_would_not_see_is_refused(result: StoredResult, out: Path) -> None:
    with pytest.raises(ConfigError, match=r"X\.db"):
        write_tiatoolbox(result, out.with_suffix(".sqlite"))


@pytest.mark.tiatoolbox
def test_tiatoolbox_reads_all_of_it(file: Path, result: StoredResult, rows: pa.Table) -> None:
    box = (1000, 900, 2000, 2100)
    said = told("tiatoolbox", READ, file, Path(json.dumps(box)))
    if isinstance(said, str):
        pytest.skip(said)
    shapes = shapes_px(rows, result, per_px=64)
    inside = shapely.intersects(shapes, shapely.box(*box))
    assert said["n"] == result.nuclei
    assert said["types"] == sorted(c.name for c in result.classes)
    assert said["inside"] == sorted(rows.filter(pa.array(inside))["nucleus_id"].to_pylist())
    assert said["area"] == pytest.approx(shapely.area(shapes).sum())
    tumours = np.array(rows["class_name"].to_pylist()) == "tumour"
    assert said["tumour"] == (inside & tumours).sum()
