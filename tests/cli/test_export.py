"""``wsiproc export`` writes any format, says what it did, and refuses in one sentence."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from wsiproc.cli.app import app
from wsiproc.errors import AlreadyThereError, ConfigError, MissingExtraError, StoreError
from wsiproc.export import formats
from wsiproc.results.stored import StoredResult
from wsiproc.testing.results import drawn_result

LIGHT = [name for name in formats.FORMATS if name != "dicom"]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> list[StoredResult]:
    folder = tmp_path_factory.mktemp("canary-71")
    return [drawn_result(folder / name, nuclei=60, seed=i) for i, name in enumerate("AB")]


def ran(*words: object) -> str:
    done = CliRunner().invoke(app, ["export", *map(str, words)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


@pytest.mark.parametrize("to", LIGHT)
def test_every_format_has_a_name_of_its_own(
    to: str, results: list[StoredResult], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    said = json.loads(ran(results[0].folder, "--to", to, "--json"))
    assert said["written"] == 60
    assert [path.name for path in tmp_path.iterdir()] == [said["out"]]
    assert said["out"].startswith("A")
    with pytest.raises(AlreadyThereError, match="--replace"):
        ran(results[0].folder, "--to", to)
    ran(results[0].folder, "--to", to, "--replace")


def test_a_folder_of_results_becomes_a_folder_of_exports(
    results: list[StoredResult], tmp_path: Path
) -> None:
    lines = ran(results[0].folder.parent, "--to", "csv", "-o", tmp_path / "all", "--json")
    assert [json.loads(line)["slide_id"] for line in lines.splitlines()] == ["A", "B"]
    assert sorted(path.name for path in (tmp_path / "all").iterdir()) == ["A.csv", "B.csv"]
    with pytest.raises(ConfigError, match="--slide is of one result"):
        ran(*(r.folder for r in results), "--to", "gis", "--slide", "x.svs")


@pytest.mark.parametrize(
    ("to", "option", "owner"),
    [
        ("csv", ["--unit", "px"], "--unit is of --to gis,"),
        ("geojson", ["--as", "fgb"], "--as is of --to gis,"),
        ("csv", ["--slide", "a.svs"], "--slide is of --to gis and dicom,"),
        ("gis", ["--downsample", "2"], "--downsample is of --to ome-zarr,"),
        ("gis", ["--frame-of-reference", "1.2"], "--frame-of-reference is of --to dicom,"),
        ("csv", ["--tissue"], "--tissue is of --to geojson,"),
    ],
)
def test_an_option_of_another_format_is_refused(
    to: str, option: list[str], owner: str, results: list[StoredResult], tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=owner):
        ran(results[0].folder, "--to", to, "-o", tmp_path / "x", *option)
    assert not list(tmp_path.iterdir())


def test_what_is_no_result_is_not_exported(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no result"):
        ran(tmp_path, "--to", "csv", "-o", tmp_path / "x.csv")


def test_without_highdicom_its_extra_is_named(
    results: list[StoredResult], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "highdicom", None)
    with pytest.raises(MissingExtraError, match=r"wsiproc\[dicom\]"):
        ran(results[0].folder, "--to", "dicom", "-o", tmp_path / "d")
    assert not list(tmp_path.iterdir())


def test_no_export_holds_the_path_of_the_result(
    results: list[StoredResult], tmp_path: Path
) -> None:
    for to in LIGHT:
        ran(results[0].folder, "--to", to, "-o", tmp_path / formats.default_name(results[0], to))
    secret = results[0].folder.parent.name.encode()
    for path in tmp_path.rglob("*"):
        if path.is_file():
            assert secret not in path.read_bytes(), path.name
