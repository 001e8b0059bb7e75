"""A batch is looked after from the command line: how it stands, and whether it is whole."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from wsiproc.slide._drawn import draw_slide

NAME = "Mustermann-Erika"
Ran = subprocess.CompletedProcess[str]


def environment(home: Path) -> dict[str, str]:
    own = {"WSIPROC_MODELS": str(home / "models"), "XDG_CONFIG_HOME": str(home / "config")}
    return os.environ | own | {"OMP_NUM_THREADS": "1", "COLUMNS": "200"}


def wsiproc(home: Path, *words: str | Path, code: int = 0) -> Ran:
    """The command line, in a process and a home of its own."""
    ran = subprocess.run(
        [sys.executable, "-m", "wsiproc.cli.app", *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
        env=environment(home),
    )
    assert ran.returncode == code, (ran.stdout, ran.stderr)
    assert "Traceback" not in ran.stderr
    return ran


def said(ran: Ran) -> dict[str, object]:
    return json.loads(ran.stdout)


def batch(home: Path, *more: str) -> list[str | Path]:
    how = ["--model", "haematoxylin", "--workers", "0", "--stable-for", "0s", *more]
    return ["batch", home / "in", "--out", home / "out", *how]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, mask_model: Path) -> Path:
    """Two good slides and a bad one, after their night."""
    home = tmp_path_factory.mktemp("home")
    (home / "in").mkdir()
    for n in (1, 2):
        draw_slide(home / "in" / f"{NAME}-{n}.tiff", width=640, height=512, seed=n, mpp=0.5)
    bad = home / "in" / f"{NAME}-3.svs"
    bad.write_bytes(b"no slide at all " * 300)
    bad.with_name(f"{bad.name}.done").touch()  # else it might still be being copied
    wsiproc(home, "models", "add", mask_model)
    wsiproc(home, *batch(home), code=10)
    return home


@pytest.fixture
def copy(home: Path, tmp_path: Path) -> Path:
    """The same output folder again, for tests that do harm."""
    shutil.copytree(home / "out", tmp_path / "out")
    return tmp_path / "out"


def one_result(out: Path) -> Path:
    return min(path.parent for path in out.glob("*/manifest.json"))


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 0x11
    path.write_bytes(data)


def test_status_tells_people_and_machines_what_is_not_done_and_why(home: Path) -> None:
    facts = said(wsiproc(home, "status", home / "out", "--json"))
    assert facts["counts"] == {"done": 2, "waiting": 0, "quarantined": 1}
    bad = [slide for slide in facts["slides"] if slide["state"] == "quarantined"]
    assert bad[0]["trouble"]["kind"] == "input"
    assert [night["state"] for night in facts["nights"]] == ["finished"]
    assert [night["exit_code"] for night in facts["nights"]] == [10]
    table = wsiproc(home, "status", home / "out").stdout
    for words in ("2 done", "1 quarantined", bad[0]["slide_id"], bad[0]["trouble"]["message"]):
        assert words in table
    assert bad[0]["trouble"]["reproduce"] in table


def test_names_are_told_only_when_asked_and_only_with_the_sites_list(
    home: Path, tmp_path: Path
) -> None:
    for more in ((), ("--json",)):
        assert NAME not in wsiproc(home, "status", home / "out", *more).stdout
        assert NAME in wsiproc(home, "status", home / "out", "--names", *more).stdout
    files = [
        s["file"]
        for s in said(wsiproc(home, "status", home / "out", "--names", "--json"))["slides"]
    ]
    assert {Path(file).name for file in files} == {
        f"{NAME}-1.tiff",
        f"{NAME}-2.tiff",
        f"{NAME}-3.svs",
    }
    elsewhere = ("--site-key", tmp_path / "other.key")
    assert NAME not in wsiproc(home, "status", home / "out", "--names", *elsewhere).stdout


def test_no_name_is_in_anything_that_a_night_leaves(home: Path) -> None:
    for path in (home / "out").rglob("*"):
        assert NAME not in path.name
        assert path.is_dir() or NAME.encode() not in path.read_bytes(), path
    assert any(NAME.encode() in path.read_bytes() for path in (home / "config").rglob("*.names"))


def test_the_page_and_the_metrics_of_the_night_are_there(home: Path) -> None:
    page = (home / "out" / "summary.html").read_text()
    assert page.count("<img ") == 2
    assert "1</b> quarantined" in page
    families = text_string_to_metric_families((home / "out" / "metrics.prom").read_text())
    samples = {
        s.name + str(sorted(s.labels.values())): s.value for f in families for s in f.samples
    }
    assert samples["wsiproc_batch_slides['done']"] == 2
    assert samples["wsiproc_batch_slides['quarantined']"] == 1
    assert samples["wsiproc_batch_last_success_timestamp_seconds[]"] == 0
    assert samples["wsiproc_batch_last_run_exit_code[]"] == 10


def test_check_finds_a_byte_that_has_changed(home: Path, copy: Path) -> None:
    assert said(wsiproc(home, "check", copy, "--json"))["results"] == 2
    flip(one_result(copy) / "overview.png", 1000)
    facts = said(wsiproc(home, "check", copy, "--json", code=73))
    assert facts["status"] == "damaged"
    assert facts["problems"] == {one_result(copy).name: ["overview.png: its content has changed"]}
    shown = wsiproc(home, "check", copy, code=73).stdout
    assert f"{one_result(copy).name}: overview.png" in shown
    assert "2 results, 1 with problems" in shown


def test_check_looks_at_what_run_has_made_too(home: Path, tmp_path: Path, mask_model: Path) -> None:
    slide = home / "in" / f"{NAME}-1.tiff"
    wsiproc(home, "run", slide, "--model", mask_model, "--out", tmp_path, "--workers", "0")
    assert "1 results, all as they were published" in wsiproc(home, "check", tmp_path).stdout
    flip(one_result(tmp_path) / "manifest.json", 200)
    wsiproc(home, "check", tmp_path, code=73)
    assert "no batch" in wsiproc(home, "status", tmp_path, code=2).stderr


def test_gc_frees_what_was_left_and_says_how_much(home: Path, copy: Path) -> None:
    left = copy / ".wsiproc" / "staging-0123456789abcdef" / "s1" / "nuclei.parquet"
    left.parent.mkdir(parents=True)
    left.write_bytes(bytes(123_456))
    for path in (left, left.parent, left.parent.parent):
        os.utime(path, (time.time() - 7200,) * 2)
    would = said(wsiproc(home, "gc", copy, "--dry-run", "--json"))
    assert would["bytes"] == 123_456
    assert left.exists()
    assert "123,456 bytes" in wsiproc(home, "gc", copy).stdout
    assert not left.parent.parent.exists()
    assert said(wsiproc(home, "gc", copy, "--json"))["removed"] == []
    wsiproc(home, "check", copy)
    wsiproc(home, "audit", "verify", copy)


def test_the_audit_log_is_whole_until_somebody_changes_it(home: Path, copy: Path) -> None:
    facts = said(wsiproc(home, "audit", "verify", copy, "--json"))
    assert facts["status"] == "whole"
    events = [json.loads(line)["event"] for line in (copy / "audit.jsonl").read_text().splitlines()]
    assert events.count("published") == 2
    assert facts["lines"] == len(events)
    noted = ("--noted", facts["digest"])
    assert facts["digest"] in wsiproc(home, "audit", "verify", copy, *noted).stdout
    assert (
        "noted" in wsiproc(home, "audit", "verify", copy, "--noted", "0" * 63 + "1", code=73).stdout
    )
    flip(copy / "audit.jsonl", 300)
    assert said(wsiproc(home, "audit", "verify", copy, "--json", code=73))["problems"]
    assert "broken" in wsiproc(home, "audit", "verify", copy, code=73).stdout
    missing = wsiproc(home, "audit", "verify", copy / "missing", code=73)
    assert "no audit log" in missing.stderr


@pytest.mark.slow
def test_looking_and_tidying_beside_a_running_batch_does_it_no_harm(
    home: Path, tmp_path: Path
) -> None:
    shutil.copytree(home / "models", tmp_path / "models")
    (tmp_path / "in").mkdir()
    for n in range(4):
        draw_slide(tmp_path / "in" / f"{n}.tiff", width=900, height=900, seed=n, mpp=0.5)
    running = subprocess.Popen(
        [sys.executable, "-m", "wsiproc.cli.app", *map(str, batch(tmp_path))],
        env=environment(tmp_path),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    out, states = tmp_path / "out", set()
    while running.poll() is None:
        if (out / ".wsiproc" / "batch" / "records").is_dir():
            facts = said(wsiproc(tmp_path, "status", out, "--json"))
            states |= {night["state"] for night in facts["nights"]}
            wsiproc(tmp_path, "check", out)
            assert said(wsiproc(tmp_path, "gc", out, "--json"))["removed"] == []
            wsiproc(tmp_path, "audit", "verify", out)
        time.sleep(0.1)
    assert running.returncode == 0, running.communicate()[1]
    assert "running" in states
    facts = said(wsiproc(tmp_path, "status", out, "--json"))
    assert facts["counts"] == {"done": 4, "waiting": 0, "quarantined": 0}
    assert [night["state"] for night in facts["nights"]] == ["finished"]
    assert said(wsiproc(tmp_path, "check", out, "--json"))["results"] == 4
