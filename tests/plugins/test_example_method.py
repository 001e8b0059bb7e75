"""'Write your own method' is true: its package, installed as a stranger's, keeps every promise."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from wsiproc.model import load_model
from wsiproc.slide._drawn_dataset import drawn_dataset

pytest.importorskip("torch")

HERE = Path(__file__).parent
EXAMPLE = HERE / "example_method"
PAGE = HERE.parents[1] / "docs" / "write-your-own-method.md"


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package as it would lie on somebody's disk: building leaves traces beside the source."""
    copy = tmp_path_factory.mktemp("source") / "example"
    return shutil.copytree(EXAMPLE, copy, ignore=shutil.ignore_patterns("__pycache__"))


@pytest.fixture(scope="module")
def world(source: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a process that has the package installed, by pip and without a network."""
    if int(version("setuptools").split(".")[0]) < 77:
        pytest.skip("builds need the setuptools of the extra `test`")
    site = tmp_path_factory.mktemp("site")
    words = ["install", "--no-deps", "--no-build-isolation", "--no-index", "--target", site, source]
    ran(sys.executable, "-m", "pip", *words, env={**os.environ, "PIP_CONSTRAINT": ""})
    assert [path.name for path in site.glob("*.dist-info")] == ["wsiproc_dots-1.0.dist-info"]
    return {**os.environ, "PYTHONPATH": str(site), "OMP_NUM_THREADS": "1"}


def ran(*words: str | Path, env: dict[str, str], where: Path | None = None) -> str:
    """What a command prints; it has to succeed."""
    done = subprocess.run(
        [str(word) for word in words],
        env=env,
        cwd=where,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def wsiproc(world: dict[str, str], *words: str | Path) -> str:
    return ran(sys.executable, "-m", "wsiproc.cli.app", *words, env=world)


def test_without_it_there_is_no_such_method() -> None:
    told = subprocess.run(
        [sys.executable, "-m", "wsiproc.cli.app", "methods", "dots"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert told.returncode == 2
    assert "no method 'dots'" in told.stderr


def test_installed_it_is_listed_with_its_settings(world: dict[str, str]) -> None:
    assert "dots" in wsiproc(world, "methods")
    told = wsiproc(world, "train", "dots", "--help")
    assert "--unlabelled" in told
    assert "dot_um=1.25 µm" in told


@pytest.mark.slow
def test_it_trains_from_the_command_line(world: dict[str, str], tmp_path: Path) -> None:
    data, out = drawn_dataset(tmp_path / "drawn", train=4, val=1), tmp_path / "out"
    words = ("--preset", "smoke", "--set", "schedule.steps=60", "--threads", "1")
    wsiproc(world, "train", "dots", "--data", data, "--out", out, *words)
    card = load_model(str(out / "dots.onnx")).card
    assert card.command == (
        "wsiproc train dots --data DATA/drawn --preset smoke --set schedule.steps=60 --out OUT"
    )
    assert card.metrics["drawn/val/f1"] > 0.5
    assert (out / "curves.png").read_bytes()[:4] == b"\x89PNG"


@pytest.mark.slow
def test_it_keeps_the_contract(world: dict[str, str], source: Path) -> None:
    pytest_ = (sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests")
    assert re.search(r"\b\d+ passed", told := ran(*pytest_, env=world, where=source)), told


def test_the_page_shows_the_very_code_all_of_it_and_in_order() -> None:
    link = re.escape("](../tests/plugins/example_method/")
    shown: dict[str, str] = {}
    for name, code in re.findall(
        rf"{link}([\w./]+)\)\n\n```\w+\n(.*?)\n```", PAGE.read_text(), re.DOTALL
    ):
        shown[name] = shown.get(name, "") + code + "\n"
    files = [path for path in EXAMPLE.rglob("*") if path.suffix in (".py", ".toml")]
    assert set(shown) == {path.relative_to(EXAMPLE).as_posix() for path in files}
    for name, code in shown.items():
        assert lines(code) == lines((EXAMPLE / name).read_text()), name


def lines(code: str) -> list[str]:
    """Without empty ones: those between two pieces of a file are not shown."""
    return [line for line in code.splitlines() if line.strip()]
