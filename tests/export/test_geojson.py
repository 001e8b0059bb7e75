"""QuPath gets detections by its own rules, and what it gives back is read."""

from __future__ import annotations

import gzip
import json
import uuid
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import shapely
from PIL import Image

from wsiproc import tissue
from wsiproc.datasets import read_dataset
from wsiproc.errors import AlreadyThereError, ConfigError
from wsiproc.export._names import SPACE, nucleus_uuids
from wsiproc.export._shapes import shapes_px
from wsiproc.export.geojson import write_geojson
from wsiproc.geojson import label_map, outlines_in, text_of
from wsiproc.results.stored import StoredResult, tables


@pytest.fixture(scope="module")
def file(result: StoredResult, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("qupath") / "S-1.geojson.gz"
    assert write_geojson(result, path) == result.nuclei
    return path


def test_qupath_reads_detections_with_classes_colours_and_measurements(
    file: Path, result: StoredResult, rows: pa.Table
) -> None:
    collection = json.loads(gzip.decompress(file.read_bytes()))
    assert collection["type"] == "FeatureCollection"
    features = collection["features"]
    assert len(features) == len(rows)
    classes = {c.name: list(c.color) for c in result.classes}
    for feature, row in zip(features, rows.to_pylist(), strict=True):
        said = feature["properties"]
        assert said["objectType"] == "detection", "annotations by the thousand make it unusable"
        # A name without a colour makes QuPath refuse the file.
        assert said["classification"]["name"] == row["class_name"]
        assert said["classification"]["color"] == classes[row["class_name"]]
        assert said["metadata"] == {"nucleus_id": str(row["nucleus_id"])}
        assert said["measurements"]["Area µm^2"] == pytest.approx(row["area_um2"])
        assert said["measurements"]["Score"] == pytest.approx(row["score"])
        assert len(said["measurements"]) == 8
        assert feature["geometry"]["type"] == "Polygon"
        (ring,) = feature["geometry"]["coordinates"]
        assert ring[0] == ring[-1]


def test_ids_are_uuids_of_the_nucleus_that_stay(
    file: Path, result: StoredResult, rows: pa.Table
) -> None:
    features = json.loads(text_of(file))["features"]
    assert len({feature["id"] for feature in features}) == len(features)
    key = result.manifest.job_key
    for feature, one in zip(features[:200], rows["nucleus_id"].to_pylist(), strict=False):
        assert feature["id"] == str(uuid.uuid5(SPACE, f"{key}/{one}"))


def test_what_is_read_back_is_what_was_stored(
    file: Path, result: StoredResult, rows: pa.Table
) -> None:
    back = outlines_in(text_of(file), file.name)
    stored = shapes_px(rows, result)
    assert shapely.is_valid(back).all()
    assert np.abs(shapely.get_coordinates(back) - shapely.get_coordinates(stored)).max() <= 0.00501


def test_the_same_result_gives_the_same_bytes_and_they_name_no_time(
    file: Path, result: StoredResult, tmp_path: Path
) -> None:
    again = tmp_path / "another-name.geojson.gz"
    write_geojson(result, again)
    assert again.read_bytes() == file.read_bytes()


def test_what_is_exported_is_training_labels(few: StoredResult, tmp_path: Path) -> None:
    for name in ("images", "geojson"):
        (tmp_path / name).mkdir()
    Image.new("RGB", few.size_px, "white").save(tmp_path / "images" / "a.png")
    write_geojson(few, tmp_path / "geojson" / "a.geojson.gz")
    (tmp_path / "dataset.toml").write_text(
        'name = "corrected"\nlabels = "geojson"\nlicence = "CC0-1.0"\nmpp = 0.25\n'
        '[splits]\ntrain = ["a"]\n'
    )
    labels = read_dataset(tmp_path).samples[0].instances()
    (width, height), (rows,) = few.size_px, tables(few.table)
    wanted = label_map(shapes_px(rows, few, per_px=100), (height, width))
    np.testing.assert_array_equal(labels, wanted)
    assert labels.max() == few.nuclei


@pytest.mark.parametrize("name", ["t.geojson", "t.geojson.gz"])
def test_the_searched_regions_are_a_region_of_interest(
    name: str, result: StoredResult, tmp_path: Path
) -> None:
    path = tmp_path / name
    regions = pa.concat_tables(tables(result.file("tissue.parquet")))
    assert write_geojson(result, path, tissue=True) == len(regions)
    said = json.loads(text_of(path))["features"]
    assert {f["properties"]["objectType"] for f in said} == {"annotation"}, "to be edited"
    read = tissue.roi_from_text(str(path))
    area = sum(shapely.Polygon(outline[0], outline[1:]).area for outline in read)
    assert area * 0.25**2 == pytest.approx(sum(regions["area_um2"].to_pylist()), rel=1e-6)


def test_nuclei_without_outlines_are_points(points: StoredResult, tmp_path: Path) -> None:
    write_geojson(points, tmp_path / "p.geojson")
    features = json.loads((tmp_path / "p.geojson").read_text("utf-8"))["features"]
    table = pa.concat_tables(tables(points.table))
    assert [f["geometry"]["type"] for f in features] == ["Point"] * 400
    xy = np.array([f["geometry"]["coordinates"] for f in features])
    stored = np.column_stack([table["x_um"].to_numpy(), table["y_um"].to_numpy()]) / 0.25
    np.testing.assert_allclose(xy, stored, atol=0.00501)
    assert features[0]["properties"]["measurements"].keys() == {"Score"}


def test_a_result_of_nothing_is_a_collection_of_nothing(
    nothing: StoredResult, tmp_path: Path
) -> None:
    assert write_geojson(nothing, tmp_path / "n.geojson") == 0
    said = json.loads((tmp_path / "n.geojson").read_text("utf-8"))
    assert said == {"type": "FeatureCollection", "features": []}


def test_a_name_that_qupath_would_not_take_is_refused(result: StoredResult, out: Path) -> None:
    for name in ("a.gz", "a.txt", "a.zip"):
        with pytest.raises(ConfigError, match=r"X\.geojson\.gz"):
            write_geojson(result, out.with_name(name))
    assert not list(out.parent.iterdir())


def test_a_file_that_is_there_is_replaced_only_when_told(result: StoredResult, out: Path) -> None:
    path = out.with_suffix(".geojson")
    path.write_text("mine")
    with pytest.raises(AlreadyThereError, match="--replace"):
        write_geojson(result, path)
    assert path.read_text() == "mine"
    write_geojson(result, path, replace=True)
    assert len(outlines_in(text_of(path), "x")) == result.nuclei


def test_names_do_not_depend_on_how_they_are_made(result: StoredResult) -> None:
    ids = [0, 1, -5, 2**62]
    wanted = [str(uuid.uuid5(SPACE, f"{result.manifest.job_key}/{one}")) for one in ids]
    assert nucleus_uuids(result, ids) == wanted
