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
from wsiproc.errors import ConfigError
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


KINDS = ["mask", "points", "hover", "instances"]


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_table_from_every_tile_size_and_batch(
    drawn: DrawnSlide, models: dict[str, Path], tmp_path: Path, kind: str
) -> None:
    runs = {
        (tile, batch): found(
            drawn.path, models[kind], tmp_path / f"{tile}", tile_px=tile, batch=batch
        )
        for tile, batch in [(512, 1), (1024, 4), (4096, 2)]
    }
    tables = [tables for tables, _ in runs.values()]
    assert all(table == tables[0] for table in tables)
    assert len({summary["grid"] for _, summary in runs.values()}) == len(runs)
    assert all(summary["nuclei"] > 500 for _, summary in runs.values())


@pytest.mark.parametrize("kind", ["mask", "hover", "instances"])
def test_where_tiles_agree_the_seams_have_nothing_to_do(
    drawn: DrawnSlide, models: dict[str, Path], tmp_path: Path, kind: str
) -> None:
    _, summary = found(drawn.path, models[kind], tmp_path, tile_px=512)
    audit = summary["seam_audit"]
    assert audit["doubles"] == audit["rescued"] == audit["conflicts"] == 0
    assert audit["not_fully_seen"] == 0
    assert audit["errors"] == 0
    assert audit["agreed"] > 0, "views from both sides of a seam were never compared"


def test_a_model_that_looks_at_its_window_says_otherwise_of_shifted_ones(
    drawn: DrawnSlide, models: dict[str, Path], tmp_path: Path
) -> None:
    """Else the promise above would hold of it without windows that never move: here is the same
    slide under another lattice."""
    fixed, _ = found(drawn.path, models["instances"], tmp_path / "256")
    wider, summary = found(drawn.path, models["instances"], tmp_path / "512", window_px=512)
    assert fixed["nuclei.parquet"] != wider["nuclei.parquet"]
    assert summary["nuclei"] > 500


def test_a_model_without_maps_says_so(
    small: DrawnSlide, models: dict[str, Path], tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="has no maps"):
        found(small.path, models["instances"], tmp_path, maps=True)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "workers"),
    [("mask", 1), ("mask", 2), ("mask", 3), ("hover", 2), ("instances", 2)],
)
def test_the_same_table_from_one_two_and_three_workers(
    drawn: DrawnSlide, models: dict[str, Path], tmp_path: Path, kind: str, workers: int
) -> None:
    alone, _ = found(drawn.path, models[kind], tmp_path / "alone", tile_px=2048)
    ran = subprocess.run(
        command(
            drawn.path,
            models[kind],
            tmp_path / "many",
            "--workers",
            str(workers),
            "--tile-px",
            "512",
        ),
        check=True,
        capture_output=True,
    )
    summary = json.loads(ran.stdout)
    assert summary["tiles_total"] > 4
    assert digests(tmp_path / "many" / "drawn") == alone


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "tiles_first"), [("mask", 1), ("mask", 3), ("hover", 2), ("instances", 2)]
)
def test_a_killed_run_goes_on_and_gives_the_same_table(
    drawn: DrawnSlide, models: dict[str, Path], tmp_path: Path, kind: str, tiles_first: int
) -> None:
    undisturbed, _ = found(drawn.path, models[kind], tmp_path / "undisturbed", tile_px=512)
    out = tmp_path / "killed"
    words = command(drawn.path, models[kind], out, "--workers", "1", "--tile-px", "512")
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
