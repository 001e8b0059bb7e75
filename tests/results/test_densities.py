"""Densities: of what area, counted how, and adding up."""

from __future__ import annotations

import json
from pathlib import Path

import geopandas
import numpy as np
import pytest
import shapely

import wsiproc
from wsiproc.card import Card
from wsiproc.errors import ConfigError
from wsiproc.geometry import Box, Frame
from wsiproc.results.densities import searched_um2, statistics
from wsiproc.results.stored import StoredResult, open_result
from wsiproc.store.schema import Provenance
from wsiproc.store.staging import publish, staging
from wsiproc.store.tables import write_skipped
from wsiproc.tiling import Tile


@pytest.fixture(scope="module")
def tissue(many: StoredResult) -> shapely.Geometry:
    shape = geopandas.read_parquet(many.file("tissue.parquet")).geometry.union_all()
    assert isinstance(shape, shapely.MultiPolygon | shapely.Polygon)
    return shape


def test_a_whole_slide_is_as_dense_as_its_manifest_says(
    many: StoredResult, rows: geopandas.GeoDataFrame
) -> None:
    told = statistics(wsiproc.query(many.folder))
    assert told["nuclei"] == 6500
    assert told["tissue_mm2"] == pytest.approx(many.manifest.audit["tissue_mm2"], rel=1e-3)
    assert told["area_mm2"] == pytest.approx(np.prod(many.size_um) / 1e6)
    assert told["per_mm2_tissue"] == pytest.approx(6500 / told["tissue_mm2"])
    for one in told["classes"]:
        of_class = rows[rows.class_name == one["class_name"]]
        assert one["nuclei"] == len(of_class)
        assert one["share"] == pytest.approx(len(of_class) / 6500)
        for name in ("area_um2", "score", "eccentricity"):
            values = of_class[name].astype(float)
            assert one["measures"][name] == pytest.approx(
                {
                    "mean": values.mean(),
                    "sd": values.std(),
                    "min": values.min(),
                    "median": values.median(),
                    "max": values.max(),
                }
            )
    assert json.loads(json.dumps(told)) == told


def test_quarters_of_a_slide_add_up_to_it(many: StoredResult) -> None:
    width, height = many.size_um
    whole = statistics(wsiproc.query(many.folder))
    quarters = [
        statistics(wsiproc.query(many.folder, box=(x, y, width / 2, height / 2)))
        for x in (0, width / 2)
        for y in (0, height / 2)
    ]
    for what in ("nuclei", "area_mm2", "tissue_mm2"):
        assert sum(one[what] for one in quarters) == pytest.approx(whole[what])


def test_polygons_have_densities_of_their_own_and_of_the_tissue_in_them(
    many: StoredResult, rows: geopandas.GeoDataFrame, tissue: shapely.Geometry
) -> None:
    inside = shapely.Point(600, 500).buffer(150)
    across = shapely.box(-100, -100, 500, 500)
    told = statistics(wsiproc.query(many.folder, within=[inside, across]))
    points = geopandas.GeoSeries(geopandas.points_from_xy(rows.x_um, rows.y_um))
    for place, shape in zip(told["places"], (inside, across), strict=True):
        seen = shape & shapely.box(0, 0, *many.size_um)
        assert place["area_mm2"] == pytest.approx(seen.area / 1e6)
        assert place["tissue_mm2"] == pytest.approx((seen & tissue).area / 1e6)
        assert place["nuclei"] == points.intersects(shape).sum()
        assert place["per_mm2"] == pytest.approx(place["nuclei"] / place["area_mm2"])
        assert sum(place["classes"].values()) == place["nuclei"]
    # Where they overlap nuclei and area count once in the whole.
    assert told["nuclei"] == points.intersects(inside | across).sum()
    both = (inside | across) & shapely.box(0, 0, *many.size_um)
    assert told["area_mm2"] == pytest.approx(both.area / 1e6)


def test_several_slides_are_told_apart_and_together(many: StoredResult, one: StoredResult) -> None:
    told = statistics(wsiproc.query([many.folder, one.folder]))
    assert [slide["slide_id"] for slide in told["slides"]] == ["S-many", "S-one"]
    assert [slide["nuclei"] for slide in told["slides"]] == [6500, 200]
    assert told["nuclei"] == 6700
    apart = [statistics(wsiproc.query(result.folder)) for result in (many, one)]
    assert told["tissue_mm2"] == pytest.approx(sum(each["tissue_mm2"] for each in apart))
    assert [c["class_name"] for c in told["classes"]] == ["tumour", "lymphocyte", "nucleus"]


def test_distances_between_classes_are_measures_like_others(
    many: StoredResult, rows: geopandas.GeoDataFrame
) -> None:
    selection = wsiproc.query(many.folder, classes=("lymphocyte",), nearest=("tumour",))
    (told,) = statistics(selection)["classes"]
    distances = selection.to_geopandas()["nearest_tumour_um"]
    assert told["measures"]["nearest_tumour_um"]["median"] == pytest.approx(distances.median())
    assert told["nuclei"] == (rows.class_name == "lymphocyte").sum()


def test_tiles_that_could_not_be_read_are_no_searched_tissue(
    many: StoredResult, tmp_path: Path, tissue: shapely.Geometry
) -> None:
    tile, core = shapely.box(400, 400, 700, 700), Box(800, 800, 1400, 1400)
    record = many.manifest.slide
    provenance = Provenance(
        "S", record.sha256, (record.width, record.height), "file", (0, 0), "0" * 64, "0" * 64
    )
    with staging(tmp_path, "S") as stage:
        for name in ("nuclei.parquet", "centroids.parquet", "tissue.parquet"):
            (stage / name).write_bytes(many.file(name).read_bytes())
        write_skipped(
            stage,
            [(Tile(0, 0, core, core), core)],
            frame=Frame.covering((record.width, record.height), (0.25, 0.25), (2.0, 2.0)),
            card=Card.model_validate(many.model.card),
            provenance=provenance,
        )
        with pytest.MonkeyPatch.context() as patch:
            # `many` has row groups of a size that nothing else writes.
            patch.setattr("wsiproc.store.geoparquet.ROW_GROUP", 1000)
            publish(stage, many.manifest.model_copy(update={"slide_id": "S"}), tmp_path)
    result = open_result(tmp_path / "S")
    assert searched_um2(result) == pytest.approx((tissue - tile).area)
    assert searched_um2(result, tile) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("question", [{"touching": True}, {"limit": 5}])
def test_what_would_make_a_density_wrong_is_refused(
    many: StoredResult, question: dict[str, object]
) -> None:
    with pytest.raises(ConfigError, match="density needs"):
        statistics(wsiproc.query(many.folder, box=(0, 0, 99, 99), **question))  # type: ignore[arg-type]


def test_an_error_of_the_condition_stays_one(many: StoredResult) -> None:
    with pytest.raises(ConfigError, match="--where class_name > 3"):
        statistics(wsiproc.query(many.folder, where="class_name > 3"))


def test_where_there_is_nothing_there_is_no_density(many: StoredResult) -> None:
    told = statistics(wsiproc.query(many.folder, box=(1e6, 1e6, 5, 5)))
    assert told["nuclei"] == 0
    assert told["per_mm2"] is None
    assert all(one["measures"] == {} for one in told["classes"])
