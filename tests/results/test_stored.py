"""Opening results: manifests are believed, and only the rows that are asked for are read."""

from __future__ import annotations

import shutil
from pathlib import Path

import geopandas
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wsiproc.errors import StoreError
from wsiproc.results.stored import (
    BoxUm,
    StoredResult,
    find_results,
    open_result,
    row_groups,
    schema_of,
    tables,
)
from wsiproc.testing.results import drawn_result


def test_a_result_says_what_it_is_of(many: StoredResult) -> None:
    result = open_result(many.folder)
    assert result.slide_id == "S-many"
    assert result.outlined
    assert result.nuclei == sum(group.rows for group in row_groups(result.table))
    assert [c.name for c in result.classes] == ["tumour", "lymphocyte"]
    assert result.mpp == (0.25, 0.25)
    assert result.size_um == (result.size_px[0] / 4, result.size_px[1] / 4)
    assert schema_of(result.table).field("area_um2").metadata[b"unit"].decode() == "µm²"


def test_px_and_um_lead_back_to_each_other(many: StoredResult) -> None:
    xy = np.array([[0.0, 0.0], [12.5, 300.0]])
    assert np.allclose(many.to_px(xy), 4 * xy)
    assert np.allclose(many.to_um(many.to_px(xy)), xy)


def test_all_rows_come_in_the_files_order(many: StoredResult) -> None:
    whole = pa.concat_tables(tables(many.table, columns=["nucleus_id", "x_um"]))
    stored = geopandas.read_parquet(many.table)
    assert whole.column_names == ["nucleus_id", "x_um"]
    assert whole["nucleus_id"].to_pylist() == stored["nucleus_id"].tolist()


@settings(max_examples=20, deadline=None)
@given(x=st.floats(-100, 2000), y=st.floats(-100, 2000), width=st.floats(0, 900))
def test_a_box_gives_what_geopandas_gives(
    many: StoredResult, x: float, y: float, width: float
) -> None:
    box: BoxUm = (x, y, x + width, y + width / 2)
    found = [some["nucleus_id"] for some in tables(many.table, columns=["nucleus_id"], box=box)]
    stored = geopandas.read_parquet(many.table)
    bounds = stored.geometry.bounds
    meets = (
        (bounds.minx <= box[2])
        & (bounds.maxx >= box[0])
        & (bounds.miny <= box[3])
        & (bounds.maxy >= box[1])
    )
    expected = stored.loc[meets, "nucleus_id"].tolist()
    assert [n for some in found for n in some.to_pylist()] == expected


def test_the_extents_of_row_groups_hold_their_rows(many: StoredResult) -> None:
    for group, rows in zip(row_groups(many.table), tables(many.table), strict=True):
        assert group.rows == len(rows)
        assert group.box is not None
        sides = rows["bbox"].combine_chunks().flatten()
        whole = [np.asarray(side) for side in sides]
        assert group.box == (whole[0].min(), whole[1].min(), whole[2].max(), whole[3].max())


def test_a_folder_of_results_gives_each_once_and_nothing_else(
    tmp_path: Path, one: StoredResult
) -> None:
    for name in ("b", "a"):
        shutil.copytree(one.folder, tmp_path / name)
    (tmp_path / "c").mkdir()
    (tmp_path / ".wsiproc").mkdir()
    found = find_results([tmp_path / "b", tmp_path])
    assert [result.folder.name for result in found] == ["b", "a"]


def test_what_is_no_result_says_what_is_wanted(tmp_path: Path, one: StoredResult) -> None:
    with pytest.raises(StoreError, match=r"manifest\.json"):
        find_results([tmp_path])
    with pytest.raises(StoreError, match=r"path 2 of 2: .*manifest\.json"):
        find_results([one.folder, tmp_path / "nowhere"])
    with pytest.raises(StoreError, match="this is a file"):
        find_results([one.table])
    with pytest.raises(StoreError, match="no result is named"):
        find_results([])


@pytest.mark.parametrize("harm", ["lost", "cut"])
def test_a_damaged_result_is_not_opened(tmp_path: Path, one: StoredResult, harm: str) -> None:
    folder = Path(shutil.copytree(one.folder, tmp_path / "S"))
    if harm == "lost":
        (folder / "centroids.parquet").unlink()
    else:
        with (folder / "centroids.parquet").open("r+b") as file:
            file.truncate(100)
    with pytest.raises(StoreError, match=r"centroids\.parquet.*--replace"):
        open_result(folder)


def test_tables_of_another_version_are_not_guessed_at(tmp_path: Path, one: StoredResult) -> None:
    folder = Path(shutil.copytree(one.folder, tmp_path / "S"))
    newer = one.manifest.model_copy(update={"schema_version": 99}).sealed()
    (folder / "manifest.json").write_text(newer.to_json())
    with pytest.raises(StoreError, match="version 99, this wsiproc reads 1"):
        open_result(folder)


def test_an_opened_result_stays_where_it_is(
    one: StoredResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(one.folder.parent)
    opened = open_result(one.folder.name)
    monkeypatch.chdir(tmp_path)
    assert sum(map(len, tables(opened.table))) == 200


def test_a_column_that_is_not_there_is_named_with_those_that_are(one: StoredResult) -> None:
    with pytest.raises(StoreError, match=r"no column 'volume'; it has nucleus_id"):
        list(tables(one.table, columns=["volume"]))


def test_points_have_a_table_too(tmp_path: Path) -> None:
    result = drawn_result(tmp_path / "P", nuclei=30, polygons=False)
    assert not result.outlined
    assert result.table.name == "centroids.parquet"
    assert sum(map(len, tables(result.table))) == 30
    with pytest.raises(StoreError, match=r"no nuclei\.parquet"):
        result.file("nuclei.parquet")
