"""``wsiproc view`` prints an address, serves until it is interrupted, and says what is missing."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from wsiproc.testing.results import drawn_result


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return drawn_result(tmp_path_factory.mktemp("view") / "S-4", nuclei=100).folder


def command(*words: str | Path) -> list[str]:
    return [sys.executable, "-m", "wsiproc.cli.app", "view", *map(str, words)]


@pytest.mark.parametrize("told", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("ignored", [False, True])
def test_it_serves_until_it_is_interrupted(
    folder: Path, told: signal.Signals, ignored: bool
) -> None:
    """Also where a script began it with ``&``, so that SIGINT is ignored at first."""
    pytest.importorskip("uvicorn", reason="the extra `view` is not installed")
    words = command(folder, "--at", "#x=1&y=2&w=30", "--json")
    if ignored:
        words = ["sh", "-c", 'trap "" INT; exec "$@"', "sh", *words]
    run = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert run.stdout is not None
        address = json.loads(run.stdout.readline())["url"]
        place, at = address.split("#")
        assert at == "x=1&y=2&w=30"
        with urllib.request.urlopen(place, timeout=60) as page:
            assert b"<!doctype html>" in page.read()
        run.send_signal(told)
        assert run.wait(60) == 0
        assert run.stderr is not None
        assert run.stderr.read() == ""
    finally:
        run.kill()
        run.communicate()


def test_what_is_no_result_is_said_to_be_none(tmp_path: Path) -> None:
    pytest.importorskip("uvicorn", reason="the extra `view` is not installed")
    ran = subprocess.run(command(tmp_path), capture_output=True, text=True, check=False)
    assert ran.returncode == 73
    assert ran.stderr.startswith("error:")
    assert "Traceback" not in ran.stderr


def test_without_the_extra_it_says_what_to_install(folder: Path) -> None:
    program = (
        "import sys\nsys.modules['starlette'] = sys.modules['uvicorn'] = None\n"
        f"sys.argv = ['wsiproc', 'view', {str(folder)!r}]\n"
        "from wsiproc.cli.app import main\nmain()\n"
    )
    words = [sys.executable, "-c", program]
    ran = subprocess.run(words, capture_output=True, text=True, check=False)
    assert ran.returncode == 2
    assert "pip install 'wsiproc[view]'" in ran.stderr
