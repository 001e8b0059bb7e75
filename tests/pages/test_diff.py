"""What the page on differences says to type does what it says."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

import duckdb
from drawn_nuclei import MPP, Drawn, publish_drawn
from snippets import DOCS, blocks

from wsiproc.diff import compare
from wsiproc.diff.limits import Limits, read_limits
from wsiproc.diff.table import write_table


def block(language: str) -> str:
    """The page's only block of a language."""
    (found,) = blocks("diff.md", language)
    return str(found.values[0])


def test_its_python_its_sql_and_its_limits_run(tmp_path: Path) -> None:
    a, b = (
        publish_drawn(drawn, ("a",), True, "ab" * 32, "S", "drawn", MPP, tmp_path / name)
        for name, drawn in (
            ("a", [Drawn(100, 100), Drawn(200, 100)]),
            ("b", [Drawn(100, 100)]),
        )
    )
    said = io.StringIO()
    program = block("python").replace("OLD/SLIDE_ID", str(a.folder))
    with contextlib.redirect_stdout(said):
        exec(program.replace("NEW/SLIDE_ID", str(b.folder)), {})
    assert said.getvalue().startswith(f"{2 / 3}")
    write_table(tmp_path / "diff.parquet", compare(a, b))
    query = block("sql").replace("diff.parquet", str(tmp_path / "diff.parquet"))
    assert duckdb.sql(query).fetchall() == [("a", 1)]
    limits = tmp_path / "limits.toml"
    limits.write_text("\n".join(line.strip() for line in block("toml").splitlines()), "utf-8")
    assert read_limits(limits).least_f1 == 0.98


def test_its_table_has_every_limit() -> None:
    named = set(re.findall(r"`((?:least|most)_\w+)`", (DOCS / "diff.md").read_text("utf-8")))
    assert named == set(Limits.model_fields) - {"note"}
