"""Outlines go to QuPath and come back as they were drawn."""

from __future__ import annotations

import json
import math
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from wsiproc.datasets import read_dataset, wholly_annotated
from wsiproc.decode import contours
from wsiproc.errors import ConfigError
from wsiproc.geojson import Outline, label_map, outlines_in, simplified, written


def feature(kind: str, coordinates: Any, **more: Any) -> dict[str, Any]:
    shape = {"type": kind, "coordinates": coordinates}
    return {"type": "Feature", "geometry": shape, "properties": {}, **more}


def square(x: float, y: float, size: float) -> list[list[float]]:
    return [[x, y], [x + size, y], [x + size, y + size], [x, y + size], [x, y]]


def blob(seed: int, radius: float = 12.0) -> shapely.Polygon:
    rng = np.random.default_rng(seed)
    angle = np.linspace(0, 2 * math.pi, 40, endpoint=False)
    reach = radius * (1 + 0.25 * np.sin(angle * rng.integers(1, 4) + rng.uniform(0, 6)))
    yy, xx = np.mgrid[:64, :64] + 0.5
    star = shapely.Polygon(np.c_[32 + reach * np.cos(angle), 32 + 0.7 * reach * np.sin(angle)])
    inside = shapely.contains_xy(star, xx, yy).astype(np.int32)
    ring, _ = contours(inside)
    return shapely.Polygon(ring)


def test_what_is_written_is_what_qupath_reads() -> None:
    """Annotations, so that they can be edited; a colour beside each class; UUIDs that stay."""
    outline = Outline(shapely.box(1, 2, 5, 6), "a/1", "nucleus", (0, 160, 80), 0.87654)
    text = written([outline], model="m 12")
    assert written([outline], model="m 12") == text
    (said,) = json.loads(text)["features"]
    assert uuid.UUID(said["id"]).version == 5
    assert said["geometry"]["coordinates"][0][0] == said["geometry"]["coordinates"][0][-1]
    properties = said["properties"]
    assert properties["objectType"] == "annotation"
    assert properties["classification"] == {"name": "nucleus", "color": [0, 160, 80]}
    assert properties["measurements"] == {"score": 0.8765}
    assert properties["metadata"] == {"source": "predicted", "model": "m 12"}
    (back,) = outlines_in(text, "x")
    assert back.equals(outline.polygon)


@given(seed=st.integers(0, 2**31), least=st.sampled_from([0.8, 0.9, 0.95]))
@settings(max_examples=40, deadline=None)
def test_fewer_points_keep_the_outline_within_its_bound(seed: int, least: float) -> None:
    polygon = blob(seed)
    simple, iou = simplified(polygon, 4.0, least)
    overlap = shapely.intersection(simple, polygon).area / shapely.union(simple, polygon).area
    assert iou == pytest.approx(overlap)
    assert overlap >= least
    assert simple.is_valid
    before, after = (len(p.exterior.coords) for p in (polygon, simple))
    assert after <= before


def test_most_points_of_blobs_can_go() -> None:
    blobs = [blob(seed) for seed in range(40)]
    left = sum(len(simplified(each, 4.0, 0.9)[0].exterior.coords) for each in blobs)
    assert left < 0.6 * sum(len(each.exterior.coords) for each in blobs)


def test_an_outline_of_few_points_stays() -> None:
    triangle = shapely.Polygon([(0, 0), (4, 0), (0, 4)])
    assert simplified(triangle, 0.5, 0.9) == (triangle, 1.0)
    tiny = shapely.box(0, 0, 0.1, 0.1)
    assert simplified(tiny, 5.0, 0.9)[1] >= 0.9


def test_holes_parts_and_overlaps_become_labels() -> None:
    ring = feature("Polygon", [square(1, 1, 6), square(3, 3, 2)])
    two = feature("MultiPolygon", [[square(9, 0, 2)], [square(9, 4, 2)]])
    over = feature("Polygon", [square(5, 5, 3)])
    labels = label_map(outlines_in(json.dumps([ring, two, over]), "x"), (9, 12))
    assert (labels == 1).sum() == 36 - 4 - 4, "less the hole, and what lies under the third"
    assert (labels[3:5, 3:5] == 0).all()
    assert (labels == 2).sum() == 8
    assert (labels[0:2, 9:11] == 2).all()
    assert (labels[4:6, 9:11] == 2).all()
    assert (labels[5:8, 5:8] == 3).all()


@given(seed=st.integers(0, 2**31))
@settings(max_examples=40, deadline=None)
def test_a_pixel_is_inside_if_its_centre_is(seed: int) -> None:
    rng = np.random.default_rng(seed)
    polygon = shapely.Polygon(rng.uniform(-3, 15, (3, 2)))
    labels = label_map(np.array([polygon], dtype=object), (9, 12))
    for y in range(9):
        for x in range(12):
            assert labels[y, x] == polygon.contains(shapely.Point(x + 0.5, y + 0.5))


@pytest.mark.parametrize("whole", [True, False])
def test_of_a_cell_the_nucleus_is_taken(whole: bool) -> None:
    cell = feature("Polygon", [square(0, 0, 8)])
    cell["properties"]["objectType"] = "cell"
    if whole:
        cell["nucleusGeometry"] = {"type": "Polygon", "coordinates": [square(2, 2, 3)]}
    (said,) = outlines_in(json.dumps({"type": "FeatureCollection", "features": [cell]}), "x")
    assert said.area == (9 if whole else 64)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not JSON"),
        ("3", "no GeoJSON"),
        (json.dumps([feature("Point", [1, 2])]), "feature 1 is Point; only Polygon"),
        (json.dumps([{"type": "Feature"}]), "feature 1 is nothing"),
        (json.dumps([feature("Polygon", "no")]), "feature 1 has no coordinates"),
    ],
)
def test_what_outlines_nothing_is_refused(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=f"a.geojson.*{message}"):
        outlines_in(text, "a.geojson")


def geojson_set(folder: Path, *, complete: str = "") -> Path:
    for name in ("images", "geojson"):
        (folder / name).mkdir(parents=True)
    Image.fromarray(np.full((9, 12, 3), 200, np.uint8)).save(folder / "images" / "a.png")
    drawn = json.dumps(
        [feature("Polygon", [square(1, 1, 3)]), feature("Polygon", [square(6, 2, 4)])]
    )
    (folder / "geojson" / "a.geojson").write_text(drawn)
    (folder / "dataset.toml").write_text(
        f'name = "corrected"\nlabels = "geojson"\nlicence = "CC0-1.0"\nmpp = 0.5\n{complete}\n'
        '[splits]\ntrain = ["a"]\n'
    )
    return folder


def test_corrected_outlines_are_instances_of_a_data_set(tmp_path: Path) -> None:
    dataset = read_dataset(geojson_set(tmp_path / "s"))
    assert (dataset.label_kind, dataset.complete) == ("instances", True)
    labels = dataset.samples[0].instances()
    assert labels.dtype == np.int32
    assert np.bincount(labels.ravel()).tolist() == [108 - 25, 9, 16]
    wholly_annotated(dataset, "scoring")


def test_of_a_partial_set_the_rest_is_unknown_and_others_refuse_it(tmp_path: Path) -> None:
    dataset = read_dataset(geojson_set(tmp_path / "s", complete="complete = false"))
    labels = dataset.samples[0].instances()
    assert sorted(np.unique(labels).tolist()) == [-1, 1, 2]
    assert (labels == -1).sum() == 108 - 25
    with pytest.raises(ConfigError, match="scoring would take its unknown nuclei for background"):
        wholly_annotated(dataset, "scoring")


def test_outlines_of_another_image_are_refused_and_marks_of_byte_order_are_not(
    tmp_path: Path,
) -> None:
    sample = read_dataset(geojson_set(tmp_path / "s")).samples[0]
    file = tmp_path / "s" / "geojson" / "a.geojson"
    file.write_text(file.read_text(), encoding="utf-8-sig")
    assert sample.instances().max() == 2
    beyond = [feature("Polygon", [square(1, 1, 3)]), feature("Polygon", [square(60, 2, 4)])]
    file.write_text(json.dumps(beyond))
    with pytest.raises(ConfigError, match=r"feature 2 lies outside of image a, 12 x 9 px"):
        sample.instances()
