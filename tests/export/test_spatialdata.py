"""SpatialData opens the store, and knows where in the slide its shapes lie."""

from __future__ import annotations

from pathlib import Path

import geopandas
import numpy as np
import pyarrow as pa
import pytest
import shapely
import zarr
from reading import told

from wsiproc.export._shapes import shapes_px, shapes_um
from wsiproc.export.spatialdata import write_spatialdata
from wsiproc.results.stored import StoredResult

READ = """
import json, sys
import spatialdata
from spatialdata.transformations import get_transformation
said = []
for name in sys.argv[1:]:
    data = spatialdata.read_zarr(name)
    nuclei = data["nuclei"]
    moved = spatialdata.transform(nuclei, to_coordinate_system="global")
    low, high = [1000.0, 900.0], [2000.0, 2100.0]
    some = spatialdata.bounding_box_query(
        nuclei, axes=("x", "y"), min_coordinate=low, max_coordinate=high,
        target_coordinate_system="global",
    )
    data.write(name + ".again")
    said.append({
        "elements": sorted(data.shapes),
        "systems": sorted(data.coordinate_systems),
        "n": len(nuclei),
        "index": nuclei.index.tolist(),
        "bounds": moved.total_bounds.tolist(),
        "inside": sorted(some.index.tolist()),
        "again": len(spatialdata.read_zarr(name + ".again")["nuclei"]),
    })
print(json.dumps(said))
"""


@pytest.fixture(scope="module")
def store(result: StoredResult, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("spatialdata") / "S-1.zarr"
    assert write_spatialdata(result, path) == result.nuclei
    return path


def test_shapes_are_the_rows_in_um_without_a_crs(store: Path, rows: pa.Table) -> None:
    nuclei = geopandas.read_parquet(store / "shapes" / "nuclei" / "shapes.parquet")
    assert nuclei.crs is None, "SpatialData has no CRS"
    assert nuclei.index.name == "nucleus_id"
    assert nuclei.index.tolist() == rows["nucleus_id"].to_pylist()
    assert shapely.equals(np.asarray(nuclei.geometry), shapes_um(rows)).all()
    assert nuclei["class_name"].tolist() == rows["class_name"].to_pylist()
    np.testing.assert_array_equal(nuclei["score"], rows["score"])


def test_a_transformation_leads_to_px_of_the_slide(store: Path) -> None:
    group = zarr.open_group(store, mode="r")["shapes/nuclei"]
    scale, identity = group.attrs["coordinateTransformations"]
    assert (scale["type"], scale["scale"]) == ("scale", [4.0, 4.0])
    assert (scale["output"]["name"], identity["output"]["name"]) == ("global", "um")
    assert identity["type"] == "identity"


def test_spatialdata_reads_places_and_asks_it(
    store: Path, points: StoredResult, result: StoredResult, rows: pa.Table, tmp_path: Path
) -> None:
    write_spatialdata(points, tmp_path / "P-1.zarr")
    said, dots = told("spatialdata", READ, store, tmp_path / "P-1.zarr")
    assert said["elements"] == ["nuclei", "tissue"]
    assert said["systems"] == ["global", "um"]
    assert said["n"] == said["again"] == result.nuclei
    assert said["index"] == rows["nucleus_id"].to_pylist()
    shapes = shapes_px(rows, result)
    np.testing.assert_allclose(said["bounds"], shapely.total_bounds(shapes))
    inside = shapely.intersects(shapes, shapely.box(1000, 900, 2000, 2100))
    assert said["inside"] == sorted(rows.filter(pa.array(inside))["nucleus_id"].to_pylist())
    assert dots["n"] == points.nuclei
