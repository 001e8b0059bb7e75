"""The promise: the same bytes whatever the tiles, workers, batch, order and crashes."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from wsiproc.api import run
from wsiproc.config import Execution, RunConfig
from wsiproc.slide._drawn import DrawnSlide

TABLES = ("nuclei.parquet", "centroids.parquet", "tissue.parquet")


def digests(folder: Path) -> dict[str, str]:
    """SHA-256 of every table of a result."""
    return {
        name: hashlib.sha256((folder / name).read_bytes()).hexdigest()
        for name in TABLES
        if (folder / name).exists()
    }


def found(slide: Path, model: Path, out: Path, **execution: object) -> tuple[dict[str, str], dict]:
    """Tables' digests and summary of a run in this process."""
    settings = RunConfig(execution=Execution(**{"workers": 0, "window_px": 256, **execution}))
    result = run(slide, str(model), out, settings=settings)
    return digests(result.folder), result.summary


def command(slide: Path, model: Path, out: Path, *more: str) -> list[str]:
    words = [sys.executable, "-m", "wsiproc.cli.app", "run", str(slide), "--model", str(model)]
    return [*words, "--out", str(out), "--window-px", "256", "--json", *more]


@pytest.mark.parametrize("kind", ["mask", "points"])
def test_the_same_table_from_every_tile_size_and_batch(
    drawn: DrawnSlide, mask_model: Path, point_model: Path, tmp_path: Path, kind: str
) -> None:
    model = mask_model if kind == "mask" else point_model
    runs = {
        (tile, batch): found(drawn.path, model, tmp_path / f"{tile}", tile_px=tile, batch=batch)
        for tile, batch in [(512, 1), (1024, 4), (4096, 2)]
    }
    tables = [tables for tables, _ in runs.values()]
    assert all(table == tables[0] for table in tables)
    assert len({summary["grid"] for _, summary in runs.values()}) == len(runs)
    assert all(summary["nuclei"] > 500 for _, summary in runs.values())


def test_a_local_model_gives_the_seams_nothing_to_do(
    drawn: DrawnSlide, mask_model: Path, tmp_path: Path
) -> None:
    _, summary = found(drawn.path, mask_model, tmp_path, tile_px=512)
    audit = summary["seam_audit"]
    assert audit["doubles"] == audit["rescued"] == audit["conflicts"] == 0
    assert audit["not_fully_seen"] == 0
    assert audit["agreed"] > 0, "views from both sides of a seam were never compared"


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2, 3])
def test_the_same_table_from_one_two_and_three_workers(
    drawn: DrawnSlide, mask_model: Path, tmp_path: Path, workers: int
) -> None:
    alone, _ = found(drawn.path, mask_model, tmp_path / "alone", tile_px=2048)
    ran = subprocess.run(
        command(
            drawn.path, mask_model, tmp_path / "many", "--workers", str(workers), "--tile-px", "512"
        ),
        check=True,
        capture_output=True,
    )
    summary = json.loads(ran.stdout)
    assert summary["tiles_total"] > 4
    assert digests(tmp_path / "many" / "drawn") == alone


@pytest.mark.slow
@pytest.mark.parametrize("tiles_first", [1, 3])
def test_a_killed_run_goes_on_and_gives_the_same_table(
    drawn: DrawnSlide, mask_model: Path, tmp_path: Path, tiles_first: int
) -> None:
    undisturbed, _ = found(drawn.path, mask_model, tmp_path / "undisturbed", tile_px=512)
    out = tmp_path / "killed"
    words = command(drawn.path, mask_model, out, "--workers", "1", "--tile-px", "512")
    victim = subprocess.Popen(
        words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    deadline = time.monotonic() + 120
    while len(list(out.glob(".wsiproc/**/*.frag"))) < tiles_first:
        assert time.monotonic() < deadline, "no fragment was ever written"
        assert victim.poll() is None, "the run ended before it could be killed"
        time.sleep(0.01)
    os.killpg(victim.pid, signal.SIGKILL)
    victim.wait()
    assert not (out / "drawn").exists(), "a killed run must not look finished"
    again = subprocess.run(words, check=True, capture_output=True)
    summary = json.loads(again.stdout)
    assert summary["tiles_reused"] >= tiles_first
    assert digests(out / "drawn") == undisturbed
