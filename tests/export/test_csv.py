"""A table of text says the same as the Parquet file, units included."""

from __future__ import annotations

import csv
import gzip
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from wsiproc.errors import ConfigError
from wsiproc.export.csv import write_csv
from wsiproc.results.stored import StoredResult, schema_of

ENDS = {"µm": "_um", "µm²": "_um2", "px": "_px", "rad": "_rad"}


def test_the_table_is_read_back_to_the_last_digit(
    result: StoredResult, rows: pa.Table, tmp_path: Path
) -> None:
    assert write_csv(result, tmp_path / "t.csv") == result.nuclei
    back = pd.read_csv(tmp_path / "t.csv", dtype={"score": "float32", "area_um2": "float32"})
    stored = rows.drop_columns(["geometry", "bbox"])
    assert back.columns.tolist() == stored.column_names
    for name in ("nucleus_id", "x_um", "y_px", "score", "area_um2"):
        np.testing.assert_array_equal(back[name], stored[name])
    assert back["class_name"].tolist() == stored["class_name"].to_pylist(), "quotes and commas"


def test_the_header_says_the_units(result: StoredResult, tmp_path: Path) -> None:
    write_csv(result, tmp_path / "t.csv")
    with (tmp_path / "t.csv").open(encoding="utf-8", newline="") as file:
        header = next(csv.reader(file))
    schema = schema_of(result.table)
    for name in header:
        unit = (schema.field(name).metadata or {}).get(b"unit", b"1").decode()
        assert name.endswith(ENDS.get(unit, "")), name
    assert {"x_um", "y_um", "x_px", "area_um2", "orientation_rad"} <= set(header)


def test_packed_it_is_the_same_bytes_each_time(points: StoredResult, tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_csv(points, tmp_path / f"{name}.csv.gz")
    write_csv(points, tmp_path / "c.csv")
    one, two = ((tmp_path / f"{name}.csv.gz").read_bytes() for name in ("a", "b"))
    assert one == two
    assert gzip.decompress(one) == (tmp_path / "c.csv").read_bytes()


def test_a_result_of_nothing_is_a_header(nothing: StoredResult, tmp_path: Path) -> None:
    assert write_csv(nothing, tmp_path / "n.csv") == 0
    assert len((tmp_path / "n.csv").read_text("utf-8").splitlines()) == 1


def test_another_name_is_refused(result: StoredResult, out: Path) -> None:
    with pytest.raises(ConfigError, match=r"X\.csv"):
        write_csv(result, out.with_suffix(".xlsx"))
