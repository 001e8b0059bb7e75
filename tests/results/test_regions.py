"""Polygons from QuPath's files: where they are, and what they are called."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import shapely

import wsiproc
from wsiproc.errors import ConfigError
from wsiproc.results.densities import statistics
from wsiproc.results.regions import places_in
from wsiproc.results.stored import StoredResult


def feature(shape: shapely.Geometry, **properties: object) -> dict[str, object]:
    geometry = json.loads(shapely.to_geojson(shape))
    return {"type": "Feature", "geometry": geometry, "properties": properties}


@pytest.fixture
def drawn_in_qupath(tmp_path: Path) -> Path:
    """Two annotations, px: one named, one of a class."""
    path = tmp_path / "regions.geojson"
    features = [
        feature(shapely.box(1200, 1000, 2400, 2000), name="front", objectType="annotation"),
        feature(shapely.box(2000, 2000, 3000, 3000), classification={"name": "Stroma"}),
    ]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    return path


def test_a_file_is_in_px_unless_it_is_said_otherwise(
    many: StoredResult, drawn_in_qupath: Path
) -> None:
    boxes = [shapely.box(300, 250, 600, 500), shapely.box(500, 500, 750, 750)]
    from_file = wsiproc.query(many.folder, within=drawn_in_qupath)
    assert from_file.count() == wsiproc.query(many.folder, within=boxes).count() > 100
    in_um = wsiproc.query(many.folder, within=drawn_in_qupath, unit="um")
    assert in_um.count() != from_file.count()


def test_densities_call_places_what_people_called_them(
    many: StoredResult, drawn_in_qupath: Path
) -> None:
    told = statistics(wsiproc.query(many.folder, within=drawn_in_qupath))
    assert [place["place"] for place in told["places"]] == ["front", "Stroma"]


def test_names_tell_places_apart(tmp_path: Path) -> None:
    box = shapely.box(0, 0, 1, 1)
    path = tmp_path / "a.geojson"
    path.write_text(
        json.dumps(
            [
                feature(box, name="a"),
                feature(box, name="a"),
                feature(box),
                feature(box, classification="b"),
            ]
        )
    )
    assert [place.name for place in places_in(path)] == ["a", "a (2)", "region 3", "b"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (b"no json", "not JSON"),
        (b"\xff\xfe", "not UTF-8"),
        (json.dumps(feature(shapely.Point(1, 2))).encode(), "Point"),
        (b'{"type":"FeatureCollection","features":[]}', "no polygon"),
    ],
)
def test_what_is_no_file_of_polygons_is_refused(
    many: StoredResult, tmp_path: Path, text: bytes, says: str
) -> None:
    (tmp_path / "a.geojson").write_bytes(text)
    with pytest.raises(ConfigError, match=says):
        wsiproc.query(many.folder, within=tmp_path / "a.geojson")
    with pytest.raises(ConfigError, match="cannot be read"):
        wsiproc.query(many.folder, within=tmp_path / "nowhere.geojson")
