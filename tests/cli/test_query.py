"""`wsiproc query` as people and scripts meet it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from wsiproc.cli.app import app, main
from wsiproc.errors import ConfigError
from wsiproc.results.stored import StoredResult
from wsiproc.testing.results import drawn_result


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> tuple[StoredResult, StoredResult]:
    out = tmp_path_factory.mktemp("out")
    classes = ("tumour", "lymphocyte")
    return (
        drawn_result(out / "S-1", nuclei=300, classes=classes),
        drawn_result(out / "S-2", nuclei=200, classes=classes, seed=1),
    )


def said(*words: object) -> str:
    ran = CliRunner().invoke(app, ["query", *map(str, words)])
    if ran.exception is not None and not isinstance(ran.exception, SystemExit):
        raise ran.exception
    assert ran.exit_code == 0, ran.output
    return ran.output


def test_counts_are_bare_numbers(results: tuple[StoredResult, StoredResult]) -> None:
    first, _ = results
    assert said(first.folder, "--count") == "300\n"
    assert said(first.folder.parent, "--count") == "500\n"
    assert json.loads(said(first.folder, "--count", "--json")) == {"nuclei": 300}
    both = int(said(first.folder, "--count", "--where", "score > .8"))
    assert 0 < both < 300


def test_options_mean_what_they_mean_from_python(
    results: tuple[StoredResult, StoredResult], tmp_path: Path
) -> None:
    import wsiproc

    first, _ = results
    width, height = first.size_um
    expected = wsiproc.query(
        first.folder,
        box=(0, 0, width * 2, height * 2),
        unit="px",
        classes=("tumour",),
        nearest=("lymphocyte",),
        where="nearest_lymphocyte_um < 60",
        columns=("nucleus_id", "nearest_lymphocyte_um"),
    ).to_arrow()
    answer = said(
        *(first.folder, "--box", 0, 0, width * 2, height * 2, "--unit", "px", "--class", "tumour"),
        *("--nearest", "lymphocyte", "--where", "nearest_lymphocyte_um < 60"),
        *("--columns", "nucleus_id, nearest_lymphocyte_um", "--json", "--limit", 1000),
    )
    assert json.loads(answer) == {"rows": expected.to_pylist(), "more": False}
    assert len(expected) > 5


def test_without_an_answer_to_choose_the_first_rows_are_shown(
    results: tuple[StoredResult, StoredResult],
) -> None:
    lines = said(results[0].folder.parent).splitlines()
    assert lines[0].split()[:3] == ["nucleus_id", "slide_id", "class_name"]
    assert len(lines) == 22
    assert lines[-1].startswith("... and more")
    few = said(results[0].folder, "--limit", 3).splitlines()
    assert len(few) == 4


def test_statistics_are_tables_for_people_and_one_object_for_machines(
    results: tuple[StoredResult, StoredResult],
) -> None:
    out = results[0].folder.parent
    shown = said(out, "--stats", "--around", 30)
    for word in ("500 nuclei", "per mm² of tissue", "S-2", "median", "around_lymphocyte"):
        assert word in shown
    told = json.loads(said(out, "--stats", "--json"))
    assert told["nuclei"] == 500
    assert [slide["nuclei"] for slide in told["slides"]] == [300, 200]


def test_names_are_shown_as_they_are(
    results: tuple[StoredResult, StoredResult], tmp_path: Path
) -> None:
    ring = [[[0, 0], [9000, 0], [9000, 9000], [0, 9000], [0, 0]]]
    feature = {
        "type": "Feature",
        "geometry": {"type": "Polygon", "coordinates": ring},
        "properties": {"name": "[/bold] front [3] :smile:"},
    }
    (tmp_path / "a.geojson").write_text(json.dumps(feature))
    shown = said(results[0].folder, "--within", tmp_path / "a.geojson", "--stats")
    assert "[/bold] front [3] :smile:" in shown


def test_files_are_written_and_not_replaced(
    results: tuple[StoredResult, StoredResult], tmp_path: Path
) -> None:
    path = tmp_path / "a.csv"
    assert said(results[0].folder, "--out", path) == "300 nuclei written to a.csv\n"
    with pytest.raises(OSError, match="--replace"):
        said(results[0].folder, "--out", path)
    told = json.loads(said(results[0].folder, "--out", path, "--replace", "--json"))
    assert told == {"status": "done", "nuclei": 300}


def test_an_error_repeats_what_was_written_as_it_was_written(
    results: tuple[StoredResult, StoredResult],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    wrong = "[/red] score [bold]"
    monkeypatch.setattr(sys, "argv", ["wsiproc", "query", str(results[0].folder), "--where", wrong])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == ConfigError.exit_code
    assert f"error: --where {wrong}: " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--count", "--stats"), "ask for one"),
        (("--unit", "mm"), "um or px"),
        (("--columns", "geometry"), "--out FILE"),
        (("--where", "1; SELECT 2"), "one condition"),
        (("--within", "nowhere.geojson"), "cannot be read"),
    ],
)
def test_contradictions_are_told_in_a_sentence(
    results: tuple[StoredResult, StoredResult], words: tuple[str, ...], says: str
) -> None:
    with pytest.raises(ConfigError, match=says):
        said(results[0].folder, *words)
