"""What the files under `deploy/` are tried with: certificates, processes, drawn slides."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

DEPLOY = Path(__file__).parents[2] / "deploy"


@pytest.fixture(scope="session")
def deploy() -> Path:
    """The folder `deploy/`."""
    return DEPLOY


@pytest.fixture(scope="session")
def quiet() -> dict[str, str]:
    """An environment for processes: one thread each, and none of pytest's own settings."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("DASK_")}
    return {**kept, "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="session")
def wsiproc(quiet: dict[str, str]) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs the command line in a process of its own: ``wsiproc("run", ..., DASK_CONFIG=...)``."""

    def call(*words: str | Path, **settings: str | Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "wsiproc.cli.app", *map(str, words)],
            env={**quiet, **{key: str(value) for key, value in settings.items()}},
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )

    return call


@pytest.fixture(scope="session")
def certify(deploy: Path) -> Callable[[Path], Path]:
    """Makes certificates in a new folder, and the settings that name them: gives those."""

    def make(folder: Path) -> Path:
        script = deploy / "dask" / "certificates.sh"
        subprocess.run(["sh", script, folder], check=True, capture_output=True, timeout=60)
        settings = folder.with_suffix(".yaml")
        text = (deploy / "dask" / "dask.yaml").read_text()
        settings.write_text(text.replace("CERTIFICATES", str(folder)))
        return settings

    return make


@contextmanager
def _process(
    words: list[str | Path], log: Path, **how: object
) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("ab") as lines:
        began = subprocess.Popen(words, stdout=lines, stderr=lines, **how)
    try:
        yield began
    finally:
        began.terminate()
        try:
            began.wait(30)
        except subprocess.TimeoutExpired:
            began.kill()
            began.wait()


@pytest.fixture(scope="session")
def process() -> Callable[..., AbstractContextManager[subprocess.Popen[bytes]]]:
    """A process while inside, and no longer: ``process(words, log, env=..., cwd=...)``."""
    return _process
