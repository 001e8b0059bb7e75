"""Bad input ends in one sentence that says what to do, the right exit code, and no half result."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from wsiproc.api import run
from wsiproc.config import Execution, RunConfig
from wsiproc.errors import (
    BusyError,
    DeviceError,
    ModelError,
    SlideError,
    SlideReadError,
    SlideResolutionError,
    StoreError,
)
from wsiproc.slide._drawn import DrawnSlide, draw_slide
from wsiproc.testing.models import haematoxylin_model

IN_PROCESS = RunConfig(execution=Execution(workers=0))


def refused(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "wsiproc.cli.app", "run", *map(str, words), "--workers", "0"],
        capture_output=True,
        text=True,
        check=False,
    )


def nothing_published(out: Path) -> bool:
    return not out.exists() or not list(out.glob("*/manifest.json"))


def test_a_file_that_is_not_there_and_a_file_that_is_no_slide(
    mask_model: Path, tmp_path: Path
) -> None:
    junk = tmp_path / "secret-patient-name.svs"
    junk.write_bytes(b"this is no slide" * 1000)
    for path in (tmp_path / "secret-patient-missing.svs", junk):
        ended = refused(
            path, "--model", mask_model, "--out", tmp_path / "out", "--slide-id", "slide"
        )
        assert ended.returncode == 65
        assert "error: " in ended.stderr
        assert "Traceback" not in ended.stderr
        assert "secret-patient" not in ended.stderr, "a path can name a patient"
        assert nothing_published(tmp_path / "out")


def test_a_picture_without_resolution_is_refused_until_mpp_is_given(
    mask_model: Path, tmp_path: Path
) -> None:
    picture = tmp_path / "picture.png"
    Image.fromarray(np.full((300, 400, 3), 230, np.uint8)).save(picture)
    with pytest.raises(SlideResolutionError, match="--mpp"):
        run(picture, str(mask_model), tmp_path, settings=IN_PROCESS)
    assert run(picture, str(mask_model), tmp_path, mpp=0.5).summary["nuclei"] == 0


def test_half_a_file_is_refused(small: DrawnSlide, mask_model: Path, tmp_path: Path) -> None:
    whole = small.path.read_bytes()
    half = tmp_path / "half.tiff"
    half.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(SlideError):
        run(half, str(mask_model), tmp_path / "out", settings=IN_PROCESS)
    assert nothing_published(tmp_path / "out")


def test_no_nuclei_is_a_result_and_not_an_error(mask_model: Path, tmp_path: Path) -> None:
    blank = tmp_path / "blank.png"
    Image.fromarray(np.full((900, 900, 3), 243, np.uint8)).save(blank)
    result = run(blank, str(mask_model), tmp_path / "out", mpp=0.5)
    assert result.summary["nuclei"] == 0
    assert any("no tissue" in warning for warning in result.summary["warnings"])
    assert len(result.nuclei()) == 0


def test_a_slide_too_coarse_is_refused_and_twice_as_coarse_is_warned_of(
    small: DrawnSlide, mask_model: Path, tmp_path: Path
) -> None:
    with pytest.raises(SlideResolutionError) as coarse:
        run(small.path, str(mask_model), tmp_path / "a", mpp=1.2)
    assert "--mpp" not in str(coarse.value)
    warned = run(small.path, str(mask_model), tmp_path / "b", mpp=0.8)
    assert any("coarser" in warning for warning in warned.summary["warnings"])


def test_a_fluorescence_slide_is_warned_of(mask_model: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    dark = rng.integers(0, 12, (800, 800, 3), dtype=np.uint8)
    y, x = np.mgrid[:800, :800]
    for cy, cx in rng.integers(20, 780, (80, 2)):
        dark[(y - cy) ** 2 + (x - cx) ** 2 < 144, 2] = 200
    Image.fromarray(dark).save(tmp_path / "dapi.png")
    result = run(tmp_path / "dapi.png", str(mask_model), tmp_path / "out", mpp=0.5)
    assert any("fluorescence" in warning for warning in result.summary["warnings"])


def test_a_model_without_card_an_unknown_model_and_an_unknown_device(
    small: DrawnSlide, mask_model: Path, tmp_path: Path
) -> None:
    with pytest.raises(ModelError, match="wsiproc models"):
        run(small.path, "no-such-model", tmp_path, settings=IN_PROCESS)
    onnx = pytest.importorskip("onnx")
    bare = onnx.load_from_string(mask_model.read_bytes())
    del bare.metadata_props[:]
    (tmp_path / "bare.onnx").write_bytes(bare.SerializeToString())
    with pytest.raises(ModelError, match="--card"):
        run(small.path, str(tmp_path / "bare.onnx"), tmp_path, settings=IN_PROCESS)
    cuda = RunConfig(execution=Execution(workers=0, device="cuda"))
    with pytest.raises(DeviceError):
        run(small.path, str(mask_model), tmp_path, settings=cuda)


def test_one_corrupt_tile_fails_its_slide_and_says_where(mask_model: Path, tmp_path: Path) -> None:
    import tifffile

    path = draw_slide(tmp_path / "a.tiff", width=1500, height=1200, seed=2, mpp=0.5).path
    with tifffile.TiffFile(path) as file:
        page = file.pages[0]
        middle = len(page.dataoffsets) // 2
        offset, count = page.dataoffsets[middle], page.databytecounts[middle]
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(b"\x00" * count)
    with pytest.raises(SlideReadError, match="level 0"):
        run(path, str(mask_model), tmp_path / "out", settings=IN_PROCESS)
    assert nothing_published(tmp_path / "out")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_an_output_folder_that_cannot_be_written(
    small: DrawnSlide, mask_model: Path, tmp_path: Path
) -> None:
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    with pytest.raises(StoreError):
        run(small.path, str(mask_model), locked, settings=IN_PROCESS)


def test_an_output_folder_that_is_a_file(
    small: DrawnSlide, mask_model: Path, tmp_path: Path
) -> None:
    (tmp_path / "out").write_text("in the way")
    with pytest.raises(StoreError):
        run(small.path, str(mask_model), tmp_path / "out", settings=IN_PROCESS)


def test_stain_input_is_estimated_from_the_slide_and_changes_what_the_network_sees(
    small: DrawnSlide, tmp_path: Path
) -> None:
    model = tmp_path / "stained.onnx"
    model.write_bytes(haematoxylin_model(mpp=0.5, windows=(256,), stain=True, name="stained"))
    result = run(small.path, str(model), tmp_path / "out", settings=IN_PROCESS)
    assert result.summary["nuclei"] > 100


def test_two_runs_of_one_slide_at_once_publish_it_once(
    small: DrawnSlide, mask_model: Path, tmp_path: Path
) -> None:
    words = [sys.executable, "-m", "wsiproc.cli.app", "run", str(small.path), "--workers", "0"]
    words += ["--model", str(mask_model), "--out", str(tmp_path)]
    both = [subprocess.Popen(words, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    ends = sorted((p.wait(), p.communicate()[1]) for p in both)
    assert ends[0][0] == 0
    assert ends[1][0] in (0, BusyError.exit_code), ends[1][1]
    assert len(list(tmp_path.glob("*/manifest.json"))) == 1


@pytest.fixture
def tiny_disk(tmp_path: Path):
    """A file system of 300 kB, where one can be mounted."""
    place = tmp_path / "tiny"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", str(place)],
        capture_output=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip("no file system can be mounted here")
    yield place
    subprocess.run(["umount", str(place)], check=False)


def test_a_full_disk_asks_for_room_publishes_nothing_and_goes_on_when_there_is_some(
    drawn: DrawnSlide, mask_model: Path, tiny_disk: Path
) -> None:
    words = (drawn.path, "--model", mask_model, "--out", tiny_disk, "--tile-px", "512")
    full = refused(*words)
    assert full.returncode == 75, full.stderr
    assert "No space left" in full.stderr
    assert nothing_published(tiny_disk)
    subprocess.run(["mount", "-o", "remount,size=50m", str(tiny_disk)], check=True)
    done = refused(*words, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["nuclei"] > 500


def test_a_stopped_run_says_so_and_goes_on(
    drawn: DrawnSlide, mask_model: Path, tmp_path: Path
) -> None:
    words = [sys.executable, "-m", "wsiproc.cli.app", "run", str(drawn.path), "--workers", "0"]
    words += ["--model", str(mask_model), "--out", str(tmp_path), "--tile-px", "512", "--json"]
    words += ["--window-px", "256"]
    running = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while not list(tmp_path.glob(".wsiproc/**/*.frag")):
        assert running.poll() is None, "it ended before it could be stopped"
        time.sleep(0.01)
    running.send_signal(signal.SIGTERM)
    _, said = running.communicate()
    assert running.returncode == 143
    assert "error: stopped" in said
    assert nothing_published(tmp_path)
    again = subprocess.run(words, capture_output=True, text=True, check=True)
    assert json.loads(again.stdout)["tiles_reused"] > 0
