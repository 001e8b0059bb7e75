"""Every command and every snippet of docs/exports.md does what it says, with the field's reader."""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest
from snippets import blocks, languages, lines, standing_in
from typer.testing import CliRunner

import wsiproc
from wsiproc.cli.app import app
from wsiproc.slide._drawn import DrawnSlide

PAGE = "exports.md"
NEEDS = {"dicom": "highdicom"}
"""What an export needs that not every environment has."""


@pytest.fixture(scope="module")
def place(small: DrawnSlide, mask_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a slide and its result, called as on the page."""
    folder = tmp_path_factory.mktemp("docs")
    shutil.copy(small.path, folder / "S-1.svs")
    wsiproc.run(folder / "S-1.svs", model=str(mask_model), out=folder / "wsiproc-out")
    return folder


@pytest.mark.parametrize("line", [line for line in lines(PAGE) if line.startswith("wsiproc")])
def test_commands_of_the_page_run(place: Path, line: str) -> None:
    program, *words = shlex.split(line, comments=True)
    assert program == "wsiproc"
    if "FOLDER_OF_THE_DICOM_SLIDE" in words:
        pytest.skip("the drawn slide is not DICOM; tests/export/test_dicom.py has one")
    pytest.importorskip(NEEDS.get(words[words.index("--to") + 1], "wsiproc"))
    with standing_in(place):
        ran = CliRunner().invoke(app, [*words, "--replace"], catch_exceptions=False)
    assert ran.exit_code == 0, ran.output


@pytest.mark.parametrize("code", blocks(PAGE, "python"))
def test_python_of_the_page_runs(place: Path, code: str) -> None:
    for name in ("spatialdata", "tiatoolbox"):
        if name in code.split("\n")[0]:
            pytest.importorskip(name)
            with standing_in(place):
                CliRunner().invoke(
                    app, ["export", "wsiproc-out/S-1", "--to", name], catch_exceptions=False
                )
    (place / "S-1.geojson.gz").unlink(missing_ok=True)
    names: dict[str, Any] = {}
    with standing_in(place):
        exec(code, names)
        if "write_geojson" in names:
            assert Path("S-1.geojson.gz").stat().st_size > 0


def test_the_page_runs_all_it_shows() -> None:
    assert languages(PAGE) == {"sh", "python"}
    assert all(line.startswith(("wsiproc export", "pip install")) for line in lines(PAGE))
