"""Conditions: what people may write, and what nobody may."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from wsiproc.errors import ConfigError
from wsiproc.results.conditions import private, understood

ROWS = pa.table(
    {
        "nucleus_id": pa.array([256, 512, 768], pa.int64()),
        "class_name": ["tumour", "it's", "Lymphocyte"],
        "score": pa.array([0.5, 0.9, None], pa.float32()),
        "area_um2": pa.array([10.0, 50.0, 90.0], pa.float32()),
        "bbox": pa.array([{"xmin": x, "ymin": 0.0} for x in (1.0, 2.0, 3.0)]),
    }
)


def held(text: str) -> list[bool]:
    condition = understood(text, ROWS.schema.names)
    with private() as database:
        answer: list[bool] = condition.holds(ROWS, database).tolist()
        return answer


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("area_um2 > 20", [False, True, True]),
        ("AREA_UM2 > 20 AND NOT score < .6", [False, True, False]),
        ("score IS NULL OR class_name = 'tumour'", [True, False, True]),
        ("class_name = 'it''s'", [False, True, False]),
        ("class_name IN ('tumour', 'Lymphocyte')", [True, False, True]),
        ("class_name ILIKE 'lympho%'", [False, False, True]),
        ("regexp_matches(class_name, '^[tL]')", [True, False, True]),
        ("area_um2 BETWEEN 10 AND 50", [True, True, False]),
        ("sqrt(area_um2) * 2 > abs(-13)", [False, True, True]),
        ("CASE WHEN score > .8 THEN area_um2 < 60 ELSE area_um2 > 60 END", [False, True, True]),
        ("bbox.xmin >= 2", [False, True, True]),
        ("(nucleus_id // 256) % 2 = 0", [False, True, False]),
        ("coalesce(score, 0)::INT = 1", [False, True, False]),
        ("area_um2 > 20 -- only the large ones", [False, True, True]),
        ("true", [True, True, True]),
    ],
)
def test_a_condition_holds_where_it_is_true(text: str, expected: list[bool]) -> None:
    assert held(text) == expected


def test_only_the_columns_that_a_condition_looks_at_are_needed() -> None:
    condition = understood("score > .8 OR bbox.xmin > 2 OR SCORE < .1", ROWS.schema.names)
    assert condition.columns == ("score", "bbox")


@pytest.mark.parametrize(
    "text",
    [
        "1=1; DROP TABLE rows",
        "1=1) OR (1=1",
        "1)) UNION SELECT (1",
        "score > .5 FROM rows",
        "score > .5 LIMIT 1",
        "score > .5 ORDER BY 1",
        "score > .5, area_um2 > 5",
        "score > .5 AS kept",
        "DISTINCT score",
        "(SELECT true)",
        "score IN (SELECT 1)",
        "EXISTS (FROM rows)",
        "score = ANY([1])",
        "*",
        "COLUMNS('score') > 1",
        "$1 = 1",
        "? = 1",
        "sum(area_um2) > 5",
        "row_number() OVER () > 1",
        "random() < .5",
        "now() > '2020-01-01'",
        "getenv('HOME') = ''",
        "current_setting('threads') = '1'",
        "list_filter([1], x -> x > 0) = [1]",
        "unnest([true, false])",
        "repeat('x', 1000000000) = ''",
        "memory.score > 1",
        "SET threads = 4",
        "COPY rows TO 'file'",
        "",
        "score >",
        "'unclosed",
        "score > .5 /* open",
        "NOT " * 3000 + "true",
        "[" * 3000,
    ],
)
def test_what_is_no_condition_over_columns_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="--where"):
        understood(text, ROWS.schema.names)


def test_no_condition_reads_a_file(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    for call in ("read_text", "read_blob", "read_csv"):
        with pytest.raises(ConfigError, match="cannot"):
            held(f"{call}('{tmp_path / 'secret'}') = 'secret'")


def test_the_database_behind_reaches_nothing_even_if_it_is_asked_to(tmp_path: Path) -> None:
    """The second wall, tried without the first."""
    import duckdb

    (tmp_path / "file.csv").write_text("a\n1\n")
    with private() as database:
        for statement in (
            f"FROM '{tmp_path / 'file.csv'}'",
            f"FROM read_csv('{tmp_path / 'file.csv'}')",
            f"ATTACH '{tmp_path / 'new.db'}'",
            f"COPY (SELECT 1) TO '{tmp_path / 'new.csv'}'",
            "INSTALL spatial",
            "SET enable_external_access = true",
        ):
            with pytest.raises(duckdb.Error):
                database.execute(statement)
    assert [path.name for path in tmp_path.iterdir()] == ["file.csv"]


def test_unknown_columns_are_told_with_those_that_are_there() -> None:
    with pytest.raises(ConfigError, match=r"no column 'volume'; there are nucleus_id, class_name"):
        understood("volume > 3", ROWS.schema.names)


@pytest.mark.parametrize("text", ["area_um2", "class_name || 'x'", "area_um2 + 1", "ATTACH 'file'"])
def test_a_value_is_no_condition(text: str) -> None:
    with pytest.raises(ConfigError):
        held(text)


def test_what_cannot_be_compared_says_so_in_one_line() -> None:
    with pytest.raises(ConfigError, match=r"^--where class_name > 3: Cannot compare") as caught:
        held("class_name > 3")
    assert "\n" not in str(caught.value)


def test_sums_are_taken_by_one_thread_in_the_order_of_rows() -> None:
    with private() as database:
        assert database.execute("SELECT current_setting('threads')").fetchone() == (1,)
