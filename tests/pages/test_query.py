"""Every snippet of docs/query.md does what it says, with the client that it names."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import duckdb
import geopandas
import pytest
import shapely
from snippets import DOCS, blocks, languages, lines, standing_in
from typer.testing import CliRunner

import wsiproc
from wsiproc.cli.app import app
from wsiproc.testing.results import drawn_result

PAGE = "query.md"
CLIENTS = {"polars": "polars", "polars_st": "polars_st", "sedonadb": "geoarrow.pyarrow"}
"""Clients that not every environment has, and what each needs beside it."""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with results and polygons as the page has them."""
    folder = tmp_path_factory.mktemp("docs")
    classes = ("tumour", "lymphocyte")
    drawn_result(folder / "wsiproc-out" / "S-1", nuclei=2500, classes=classes)
    drawn_result(folder / "wsiproc-out" / "S-2", nuclei=300, classes=classes, seed=1)
    shapes = [shapely.box(1200, 1200, 2000, 2000), shapely.box(2000, 1200, 2400, 2400)]
    features = [
        {
            "type": "Feature",
            "geometry": json.loads(shapely.to_geojson(shape)),
            "properties": {"name": f"frame {number}"},
        }
        for number, shape in enumerate(shapes)
    ]
    (folder / "regions.geojson").write_text(
        json.dumps({"type": "FeatureCollection", "features": features})
    )
    return folder


@pytest.mark.parametrize("line", lines(PAGE))
def test_commands_of_the_page_run(place: Path, line: str) -> None:
    program, *words = shlex.split(line, comments=True)
    assert program == "wsiproc"
    with standing_in(place):
        ran = CliRunner().invoke(app, words, catch_exceptions=False)
    assert ran.exit_code == 0, ran.output
    if "--count" in words:
        assert int(ran.output) > 0
    elif "--out" in words:
        assert not ran.output.startswith("0 nuclei")


@pytest.mark.parametrize("code", blocks(PAGE, "python"))
def test_python_of_the_page_runs(
    place: Path, code: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, companion in CLIENTS.items():
        if re.search(rf"^import {name}\b", code, re.MULTILINE):
            pytest.importorskip(name)
            pytest.importorskip(companion)
    names: dict[str, Any] = {}
    with standing_in(place):
        exec(code, names)
    # What the snippets find is what wsiproc finds.
    whole = wsiproc.query(place / "wsiproc-out" / "S-1")
    if "corner" in names:
        shape = shapely.from_wkt(names["corner"])
        touching = wsiproc.query(place / "wsiproc-out" / "S-1", within=shape, touching=True)
        assert names["found"]["nuclei"].item() == touching.count() > 0
    elif "areas" in names:
        stored = whole.to_arrow()["area_um2"].to_pylist()
        assert names["areas"]["area_um2"].to_list() == pytest.approx(stored, rel=1e-5)
    elif "frame" in names:
        assert len(names["frame"]) == len(names["table"]) == names["large"].count() > 0
    elif "part" in names:
        read = geopandas.read_file(place / "part.gpkg")
        assert len(read) == len(names["part"]) > 0
        assert read.total_bounds[3] < 0
    elif "inside" in names:
        assert 0 < len(names["inside"]) <= len(names["box"])
    elif "told" in names:
        assert [one["place"] for one in names["told"]["places"]] == ["frame 0", "frame 1"]
    elif "crowded" in names:
        assert len(names["crowded"]) == 10
    else:
        assert "tumour" in capsys.readouterr().out


@pytest.mark.parametrize("text", blocks(PAGE, "sql"))
def test_sql_of_the_page_runs(
    place: Path, text: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    home = str(tmp_path_factory.mktemp("duck"))
    with pytest.MonkeyPatch.context() as patch:
        if "spatial" in text:
            # From the wheel: installed so, INSTALL finds it there and downloads nothing.
            patch.setenv("HOME", home)
            pytest.importorskip("duckdb_extensions").import_extension("spatial")
        with standing_in(place), duckdb.connect(config={"home_directory": home}) as database:
            found = database.execute(text).fetchall()
    assert found
    assert all(row[1] > 0 for row in found)


def test_the_page_runs_all_it_shows() -> None:
    """A block in another language would be run by nobody: R's says so."""
    assert languages(PAGE) == {"sh", "python", "sql", "r"}
    assert min(len(lines(PAGE)), len(blocks(PAGE, "python")), len(blocks(PAGE, "sql"))) > 1
    assert "Not run by the suite" in (DOCS / PAGE).read_text("utf-8")
