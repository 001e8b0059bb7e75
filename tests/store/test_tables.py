"""The tables: the same bytes however they came together, and readable by everyone."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import duckdb
import geopandas
import numpy as np
import pyarrow.dataset
import pyarrow.parquet as pq
import pyproj
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from wsiproc.card import Card
from wsiproc.errors import StoreError
from wsiproc.geometry import Frame
from wsiproc.nuclei import Nuclei, concat
from wsiproc.store.order import key_of
from wsiproc.store.schema import CENTROIDS, ENGINEERING_CRS_V1, NUCLEI, Provenance
from wsiproc.store.tables import Written, write_nuclei, write_tissue

Write = Callable[..., Written]
BOTH = ("nuclei.parquet", "centroids.parquet")


@pytest.fixture(scope="module")
def write(frame: Frame, card: Card, provenance: Provenance, kept: Callable[[Nuclei], Any]) -> Write:
    def _write(
        folder: Path, parts: Sequence[Nuclei], with_card: Card = card, **more: Any
    ) -> Written:
        folder.mkdir(exist_ok=True, parents=True)
        return write_nuclei(
            folder,
            [kept(part) for part in parts],
            frame=frame,
            card=with_card,
            provenance=provenance,
            **more,
        )

    return _write


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory, write: Write, draw: Any) -> tuple[Path, Nuclei]:
    """A result of three row groups."""
    folder, nuclei = tmp_path_factory.mktemp("large"), draw(120_001)
    written = write(folder, [nuclei])
    assert written.nuclei == len(nuclei)
    return folder, nuclei


@pytest.fixture(scope="module")
def duck(tmp_path_factory: pytest.TempPathFactory) -> duckdb.DuckDBPyConnection:
    """DuckDB with its spatial extension, from the wheel: nothing is downloaded."""
    extensions = pytest.importorskip("duckdb_extensions")
    home = str(tmp_path_factory.mktemp("duck"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", home)
        extensions.import_extension("spatial")
        connection = duckdb.connect(config={"home_directory": home})
        connection.load_extension("spatial")
    return connection


def valid(path: Path) -> None:
    validator = Path(sys.executable).with_name("geoparquet-validator")
    if not validator.exists():
        pytest.skip("geoparquet-validator is not installed")
    done = subprocess.run([validator, "check", path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert "FAIL" not in done.stdout


@settings(max_examples=6, deadline=None)
@given(cuts=st.lists(st.integers(0, 600), max_size=6), seed=st.integers(0, 1000))
def test_the_bytes_do_not_tell_how_nuclei_were_shared_out(
    tmp_path_factory: pytest.TempPathFactory, write: Write, draw: Any, cuts: list[int], seed: int
) -> None:
    folder, nuclei = tmp_path_factory.mktemp("cut"), draw(600, seed)
    write(folder / "one", [nuclei])
    shuffled = nuclei.take(np.random.default_rng(seed).permutation(600))
    edges = [0, *sorted(cuts), 600]
    write(
        folder / "many",
        [shuffled.take(np.arange(a, b)) for a, b in pairwise(edges)],
    )
    for name in BOTH:
        assert (folder / "one" / name).read_bytes() == (folder / "many" / name).read_bytes()


def test_row_groups_do_not_tell_it_either(
    tmp_path: Path, write: Write, large: tuple[Path, Nuclei], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, nuclei = large
    # So little is kept in memory that every part is loaded again and again.
    monkeypatch.setattr("wsiproc.store.tables.HELD", 10)
    order = np.random.default_rng(1).permutation(len(nuclei))
    write(tmp_path, [nuclei.take(some) for some in np.array_split(order, 7)])
    for name in BOTH:
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()


def test_row_groups_have_50_000_rows(large: tuple[Path, Nuclei]) -> None:
    for name in BOTH:
        file = pq.ParquetFile(large[0] / name)
        sizes = [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]
        assert sizes == [50_000, 50_000, 20_001]
        assert file.metadata.row_group(0).column(0).compression == "ZSTD"


def test_rows_follow_the_curve_then_the_id(large: tuple[Path, Nuclei]) -> None:
    table = pq.read_table(large[0] / "nuclei.parquet", columns=["nucleus_id", "x_um", "y_um"])
    key = key_of(table["x_um"].to_numpy(), table["y_um"].to_numpy())
    ids = table["nucleus_id"].to_numpy()
    assert np.array_equal(np.lexsort((ids, key)), np.arange(len(ids)))
    assert set(ids.tolist()) == set(large[1].ids.tolist())


@pytest.mark.parametrize("name", BOTH)
def test_the_validator_finds_nothing(large: tuple[Path, Nuclei], name: str) -> None:
    valid(large[0] / name)


@pytest.mark.parametrize("name", BOTH)
def test_geopandas_gets_places_and_shapes(
    large: tuple[Path, Nuclei], frame: Frame, name: str
) -> None:
    table = geopandas.read_parquet(large[0] / name).set_index("nucleus_id").loc[large[1].ids]
    nuclei = large[1]
    assert table.crs == pyproj.CRS.from_json(ENGINEERING_CRS_V1)
    um = frame.model_to_um(np.column_stack([nuclei.x, nuclei.y]))
    assert np.abs(table["x_um"] - um[:, 0]).max() <= 1 / 128
    assert np.abs(table["y_um"] - um[:, 1]).max() <= 1 / 128
    assert np.abs(table["x_px"] - nuclei.x).max() < 0.05
    assert np.abs(table["y_px"] - nuclei.y).max() < 0.05
    assert np.array_equal(table["class_id"], nuclei.class_id)
    assert np.array_equal(table["score"], nuclei.score)
    assert set(table["class_name"][table["class_id"] == 1]) == {"Lympho"}
    assert set(table["slide_id"]) == {"S-1"}
    if name == "nuclei.parquet":
        assert nuclei.ring is not None
        assert np.allclose(table.area, table["area_um2"], rtol=1e-6)
        truth = shapely.polygons((nuclei.ring * frame.um_per_px).reshape(-1, 4, 2))
        assert (shapely.hausdorff_distance(table.geometry.to_numpy(), truth) < 0.05).all()
    else:
        assert np.array_equal(table.geometry.x, table["x_um"])
        assert np.array_equal(table.geometry.y, table["y_um"])


def test_geopandas_reads_a_window_alone(large: tuple[Path, Nuclei]) -> None:
    window = (1000.0, 2000.0, 1512.0, 2512.0)
    whole = geopandas.read_parquet(large[0] / "nuclei.parquet")
    inside = whole[whole.intersects(shapely.box(*window))]
    part = geopandas.read_parquet(large[0] / "nuclei.parquet", bbox=window)
    assert len(inside) > 50
    assert sorted(part["nucleus_id"]) == sorted(inside["nucleus_id"])


def test_duckdb_gets_places_and_shapes(
    large: tuple[Path, Nuclei], duck: duckdb.DuckDBPyConnection
) -> None:
    file = large[0] / "nuclei.parquet"
    found = duck.sql(
        f"""select count(*), sum(st_area(geometry)), sum(area_um2),
                   max(abs(st_xmin(geometry) - bbox.xmin)), max(abs(st_ymax(geometry) - bbox.ymax)),
                   min(st_isvalid(geometry)::int)
            from '{file}'"""
    ).fetchone()
    assert found is not None
    rows, areas, stored, apart_x, apart_y, all_valid = found
    assert (rows, apart_x, apart_y, all_valid) == (len(large[1]), 0, 0, 1)
    assert areas == pytest.approx(stored, rel=1e-6)
    points = duck.sql(
        f"select count(*) from '{large[0] / 'centroids.parquet'}' "
        "where st_x(geometry) = x_um and st_y(geometry) = y_um"
    ).fetchone()
    assert points == (len(large[1]),)


def test_arrow_reads_the_columns_that_the_schema_promises(large: tuple[Path, Nuclei]) -> None:
    for name, schema in zip(BOTH, (NUCLEI, CENTROIDS), strict=True):
        found = pq.read_schema(large[0] / name)
        assert found.equals(schema, check_metadata=False)
        assert found.field("x_um").metadata[b"unit"].decode() == "µm"


def test_every_way_to_the_metadata_leads_to_the_same(large: tuple[Path, Nuclei]) -> None:
    by_schema = pq.read_schema(large[0] / "nuclei.parquet").metadata
    by_file = dict(pq.ParquetFile(large[0] / "nuclei.parquet").metadata.metadata)
    by_file.pop(b"ARROW:schema")
    assert by_schema == by_file
    assert pyarrow.dataset.dataset(large[0] / "nuclei.parquet").schema.metadata == by_file


def test_metadata_says_where_rows_come_from_and_nothing_of_the_run(
    large: tuple[Path, Nuclei], frame: Frame
) -> None:
    metadata = pq.read_schema(large[0] / "nuclei.parquet").metadata
    mine = {
        k.decode().removeprefix("wsiproc:"): v.decode() for k, v in metadata.items() if k != b"geo"
    }
    assert sorted(mine) == [
        "bounds_offset_px",
        "level0_size_px",
        "model",
        "mpp",
        "params_sha256",
        "schema_version",
        "slide_id",
        "slide_sha256",
        "um_to_px",
    ]
    assert json.loads(mine["mpp"]) == {"x": 0.2527, "y": 0.2526, "source": "file"}
    a, b, c, d, e, f = json.loads(mine["um_to_px"])
    row = pq.read_table(large[0] / "nuclei.parquet").slice(7, 1).to_pylist()[0]
    assert a * row["x_um"] + b * row["y_um"] + c == pytest.approx(row["x_px"], abs=1 / 64)
    assert d * row["x_um"] + e * row["y_um"] + f == pytest.approx(row["y_px"], abs=1 / 64)
    box = json.loads(metadata[b"geo"])["columns"]["geometry"]["bbox"]
    assert box == geopandas.read_parquet(large[0] / "nuclei.parquet").total_bounds.tolist()


@pytest.mark.parametrize("parts", [0, 2])
def test_a_slide_without_nuclei_has_empty_tables(
    tmp_path: Path, write: Write, duck: duckdb.DuckDBPyConnection, parts: int
) -> None:
    written = write(tmp_path, [Nuclei.none(polygons=True)] * parts)
    assert written == Written(nuclei=0, by_class=(0, 0), repaired=0, collapsed=0)
    for name in BOTH:
        valid(tmp_path / name)
        assert len(geopandas.read_parquet(tmp_path / name)) == 0
        assert duck.sql(f"select count(*) from '{tmp_path / name}'").fetchone() == (0,)


def test_points_have_no_outlines_to_write(
    tmp_path: Path, write: Write, draw: Any, point_card: Card
) -> None:
    written = write(tmp_path, [draw(500, polygons=False)], point_card)
    assert written.nuclei == sum(written.by_class) == 500
    assert [path.name for path in tmp_path.iterdir()] == ["centroids.parquet"]
    valid(tmp_path / "centroids.parquet")


def test_who_listens_hears_every_centroid_in_order(tmp_path: Path, write: Write, draw: Any) -> None:
    heard: list[tuple[list[float], list[float], list[int]]] = []
    write(
        tmp_path,
        [draw(700)],
        heard=lambda x, y, c: heard.append((x.tolist(), y.tolist(), c.tolist())),
    )
    table = pq.read_table(tmp_path / "centroids.parquet")
    assert [*zip(*heard, strict=True)] == [
        (table["x_um"].to_pylist(),),
        (table["y_um"].to_pylist(),),
        (table["class_id"].to_pylist(),),
    ]


def test_two_nuclei_with_one_name_are_refused_and_nothing_is_left(
    tmp_path: Path, write: Write, draw: Any
) -> None:
    nuclei = draw(30)
    with pytest.raises(StoreError, match="1 nuclei have the id"):
        write(tmp_path, [nuclei, nuclei.take(np.array([3]))])
    assert not list(tmp_path.iterdir())


def test_a_part_that_fails_leaves_no_file(tmp_path: Path, write: Write, draw: Any) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("gone")

    with pytest.raises(RuntimeError):
        write(tmp_path, [draw(30)], heard=fail)
    assert not list(tmp_path.iterdir())


def test_nuclei_at_and_past_the_slides_edge_are_stored(
    tmp_path: Path, write: Write, draw: Any
) -> None:
    nuclei = draw(1)
    moved = concat([nuclei]).take(np.array([0]))
    assert moved.ring is not None
    edge = Nuclei(
        **{name: getattr(moved, name) for name in ("ref_x", "ref_y", "class_id", "score", "cut")},
        x=np.array([0.0]),
        y=np.array([0.5]),
        ring=moved.ring - moved.ring.mean(axis=0),
        ring_start=moved.ring_start,
    )
    write(tmp_path, [edge])
    valid(tmp_path / "nuclei.parquet")


def test_tissue_is_stored_with_its_holes(
    tmp_path: Path, frame: Frame, card: Card, provenance: Provenance
) -> None:
    ring = shapely.Polygon(
        shapely.box(0, 0, 900.03, 500).exterior, [shapely.box(100, 100, 200, 200).exterior.coords]
    )
    bow = shapely.Polygon([(2000, 0), (2100, 100), (2100, 0), (2000, 100)])
    rows = write_tissue(tmp_path, [bow, ring], frame=frame, card=card, provenance=provenance)
    valid(tmp_path / "tissue.parquet")
    table = geopandas.read_parquet(tmp_path / "tissue.parquet")
    assert rows == len(table) == 3
    assert table.is_valid.all()
    assert np.array_equal(table["area_um2"], table.area)
    assert table["area_um2"].iloc[0] == 900 * 500 - 100 * 100
    assert sorted(table["region_id"]) == [0, 1, 2]


def test_a_slide_without_tissue_has_an_empty_table(
    tmp_path: Path, frame: Frame, card: Card, provenance: Provenance
) -> None:
    assert write_tissue(tmp_path, [], frame=frame, card=card, provenance=provenance) == 0
    valid(tmp_path / "tissue.parquet")
