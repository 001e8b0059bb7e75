"""Which nuclei answer a question, and what has to be read for that."""

from __future__ import annotations

import shutil
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import geopandas
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

import wsiproc
from wsiproc.errors import ConfigError, StoreError
from wsiproc.results.selection import Selection
from wsiproc.results.stored import StoredResult, open_result, row_groups
from wsiproc.testing.results import drawn_result

BOX = (300.0, 250.0, 320.0, 270.0)


def ids(selection: Selection) -> list[int]:
    found: list[int] = selection.only("nucleus_id").to_arrow()["nucleus_id"].to_pylist()
    return found


def in_box(rows: geopandas.GeoDataFrame, box: tuple[float, float, float, float]) -> np.ndarray:
    x, y, width, height = box
    across = (rows.x_um >= x) & (rows.x_um < x + width)
    return (across & (rows.y_um >= y) & (rows.y_um < y + height)).to_numpy()


def test_without_a_question_everything_comes_as_it_is_stored(
    many: StoredResult, rows: geopandas.GeoDataFrame
) -> None:
    selection = wsiproc.query(many.folder)
    found = selection.to_geopandas()
    assert found.equals(rows[found.columns])
    assert found.crs == rows.crs
    assert selection.count() == 6500


@settings(max_examples=15, deadline=None)
@given(
    x=st.floats(-50, 1500),
    y=st.floats(-50, 1500),
    width=st.floats(1, 900),
    classes=st.sets(st.sampled_from(["tumour", "lymphocyte"])),
    least=st.integers(0, 60),
)
def test_box_class_and_condition_give_what_geopandas_gives(
    many: StoredResult,
    rows: geopandas.GeoDataFrame,
    x: float,
    y: float,
    width: float,
    classes: set[str],
    least: int,
) -> None:
    box = (x, y, width, width / 2)
    selection = wsiproc.query(
        many.folder, box=box, classes=tuple(classes), where=f"area_um2 > {least}"
    )
    keep = in_box(rows, box) & (rows.area_um2 > least).to_numpy()
    if classes:
        keep &= rows.class_name.isin(list(classes)).to_numpy()
    assert ids(selection) == rows.loc[keep, "nucleus_id"].tolist()
    assert selection.count() == keep.sum()


@settings(max_examples=6, deadline=None)
@given(cuts=st.lists(st.integers(1, 1700), min_size=1, max_size=4, unique=True))
def test_boxes_side_by_side_share_no_nucleus_and_lose_none(
    many: StoredResult, cuts: list[int]
) -> None:
    edges = [0, *sorted(cuts), 3000]
    parts = [
        ids(wsiproc.query(many.folder, box=(left, 0, right - left, 5000)))
        for left, right in pairwise(edges)
    ]
    assert sorted(n for part in parts for n in part) == sorted(ids(wsiproc.query(many.folder)))


def test_a_box_in_px_is_the_same_box(many: StoredResult) -> None:
    in_px = tuple(4 * side for side in BOX)
    assert ids(wsiproc.query(many.folder, box=in_px, unit="px")) == ids(
        wsiproc.query(many.folder, box=BOX)
    )


def test_touching_takes_what_reaches_in_too(
    many: StoredResult, rows: geopandas.GeoDataFrame
) -> None:
    x, y, width, height = BOX
    shape = shapely.box(x, y, x + width, y + height)
    expected = rows.loc[rows.intersects(shape), "nucleus_id"].tolist()
    assert ids(wsiproc.query(many.folder, box=BOX, touching=True)) == expected
    assert ids(wsiproc.query(many.folder, within=shape, touching=True)) == expected
    assert len(expected) > in_box(rows, BOX).sum()


def test_polygons_hold_what_geopandas_says_they_hold(
    many: StoredResult, rows: geopandas.GeoDataFrame
) -> None:
    ring = shapely.Point(500, 450).buffer(200) - shapely.Point(500, 450).buffer(60)
    far = shapely.Point(900, 900).buffer(90)
    points = geopandas.GeoSeries(geopandas.points_from_xy(rows.x_um, rows.y_um))
    expected = rows.loc[points.intersects(ring | far).to_numpy(), "nucleus_id"].tolist()
    assert ids(wsiproc.query(many.folder, within=[ring, far])) == expected
    frame = geopandas.GeoDataFrame(geometry=[ring, far])
    assert ids(wsiproc.query(many.folder, within=frame)) == expected
    both = wsiproc.query(many.folder, within=frame, box=BOX)
    assert set(ids(both)) == set(expected) & set(ids(wsiproc.query(many.folder, box=BOX)))


def damaged(result: StoredResult, folder: Path, group: int, column: str | None) -> StoredResult:
    """A copy whose row group is garbage, in one column or in all of them; its size is the same."""
    shutil.copytree(result.folder, folder)
    footer = pq.read_metadata(result.table).row_group(group)
    with (folder / result.table.name).open("r+b") as file:
        for number in range(footer.num_columns):
            chunk = footer.column(number)
            if column in (None, chunk.path_in_schema.partition(".")[0]):
                starts = (chunk.dictionary_page_offset, chunk.data_page_offset)
                file.seek(min(start for start in starts if start is not None))
                file.write(b"\xff" * chunk.total_compressed_size)
    return open_result(folder)


def readable(selection: Selection) -> bool:
    try:
        selection.to_arrow()
    except (StoreError, pa.ArrowException, OSError):
        return False
    return True


def test_only_row_groups_that_the_box_touches_are_read(many: StoredResult, tmp_path: Path) -> None:
    """A group counts as read if the answer fails where that group is garbage."""
    groups = row_groups(many.table)
    assert len(groups) == 7
    x, y, width, height = BOX
    corners = (x, y, x + width, y + height)
    needed = [g.number for g in groups if replace(g, box=g.centres).touches(corners)]
    assert 0 < len(needed) < 4
    polygon = shapely.box(*corners)
    for question in ({"box": BOX}, {"within": polygon}, {"within": polygon, "touching": True}):
        read = []
        for group in groups:
            folder = tmp_path / f"{len(question)}-{'box' in question}-{group.number}"
            broken = damaged(many, folder, group.number, None)
            if not readable(wsiproc.query(broken.folder, **question)):  # type: ignore[arg-type]
                read.append(group.number)
        assert read == needed


def test_of_a_group_without_an_answer_only_the_columns_that_decide_are_read(
    many: StoredResult, tmp_path: Path
) -> None:
    broken = damaged(many, tmp_path / "S", 2, "geometry")
    assert not readable(wsiproc.query(broken.folder))
    assert readable(wsiproc.query(broken.folder, where="area_um2 > 1000"))
    assert readable(wsiproc.query(broken.folder, columns=("nucleus_id", "area_um2")))
    assert wsiproc.query(broken.folder, where="score > .5").count() > 0


def test_counting_everything_reads_no_row(many: StoredResult, tmp_path: Path) -> None:
    broken = damaged(many, tmp_path / "S", 0, None)
    assert wsiproc.query(broken.folder).count() == 6500


def test_columns_come_in_the_order_that_is_asked_for(many: StoredResult) -> None:
    found = wsiproc.query(many.folder, columns=("area_um2", "nucleus_id"), limit=7).to_arrow()
    assert found.column_names == ["area_um2", "nucleus_id"]
    assert len(found) == 7
    frame = wsiproc.query(many.folder, columns=("score",), limit=1500).to_geopandas()
    assert list(frame.columns) == ["score", "geometry"]
    assert len(frame) == 1500


def test_a_limit_takes_the_first_of_all_slides_together(
    many: StoredResult, one: StoredResult
) -> None:
    selection = wsiproc.query([one.folder, many.folder], limit=250, columns=("slide_id",))
    assert selection.to_arrow()["slide_id"].to_pylist() == ["S-one"] * 200 + ["S-many"] * 50


def test_where_one_result_has_no_outlines_all_give_their_centroids(
    one: StoredResult, tmp_path: Path
) -> None:
    points = drawn_result(tmp_path / "P", nuclei=40, polygons=False)
    found = wsiproc.query([one.folder, points.folder]).to_geopandas()
    assert set(found.geom_type) == {"Point"}
    assert len(found) == 240
    assert "area_um2" not in found


def test_arrow_readers_take_a_selection_as_it_is(
    many: StoredResult, rows: geopandas.GeoDataFrame
) -> None:
    selection = wsiproc.query(many.folder, box=BOX)
    table = pa.table(selection)
    assert table["nucleus_id"].to_pylist() == ids(selection)
    frame = geopandas.GeoDataFrame.from_arrow(selection)
    assert frame.crs == rows.crs
    assert frame.geometry.geom_equals(rows.loc[in_box(rows, BOX)].geometry, align=False).all()


def test_an_answer_without_nuclei_is_an_answer(many: StoredResult) -> None:
    nothing = wsiproc.query(many.folder, box=(1e6, 1e6, 10, 10))
    assert nothing.count() == 0
    assert len(nothing.to_geopandas()) == len(nothing.to_arrow()) == 0
    assert nothing.to_arrow().schema.equals(wsiproc.query(many.folder).to_arrow().schema)


@pytest.mark.parametrize(
    ("question", "says"),
    [
        ({"classes": ("stroma",)}, "no class 'stroma'; there are tumour, lymphocyte"),
        ({"nearest": ("stroma",)}, "no class 'stroma'"),
        ({"columns": ("volume",)}, "no column 'volume'; there are nucleus_id"),
        ({"columns": ("score", "score")}, "named twice"),
        ({"limit": 0}, "1 or more"),
        ({"box": (0, 0, 0, 5)}, "exceed 0"),
        ({"box": (0, 0, float("nan"), 5)}, "finite"),
        ({"box": (0, 0, 5, 5), "unit": "mm"}, "um or px"),
        ({"around_um": -1}, "between 0 and 1000"),
        ({"nearest": ("tumour", "tumour")}, "named twice"),
        ({"within": []}, "no polygon"),
        ({"within": shapely.box(-90, -90, -1, -1)}, "if they are in px"),
        ({"within": shapely.Point(0, 0)}, "polygons"),
        ({"where": "volume > 1"}, "no column 'volume'"),
    ],
)
def test_a_question_that_makes_no_sense_is_refused_at_once(
    many: StoredResult, question: dict[str, object], says: str
) -> None:
    with pytest.raises(ConfigError, match=says):
        wsiproc.query(many.folder, **question)  # type: ignore[arg-type]


def test_the_function_is_there_whatever_was_imported_before(many: StoredResult) -> None:
    import wsiproc.results.stored

    assert wsiproc.results.stored.open_result(many.folder) == many
    assert wsiproc.query(many.folder).count() == 6500
