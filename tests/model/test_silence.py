"""No engine writes to the user's home, starts a process or calls home."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from wsiproc.model.devices import has_openvino

RUN = """
import sys
import numpy as np
import psutil
from wsiproc.model.registry import from_file
from wsiproc.model.session import open_session
from pathlib import Path
model = from_file(Path(sys.argv[1]), None)
session = open_session(model, device=sys.argv[2], threads=1)
size = session.facts.window
session.run(np.zeros((1, size, size, 3), np.uint8), None)
session.close()
assert not psutil.Process().children(), "it started a process"
"""


@pytest.mark.parametrize("device", ["cpu", "openvino"])
def test_an_engine_leaves_nothing_in_the_users_home(
    mask_model: Path, tmp_path: Path, device: str
) -> None:
    if device == "openvino" and not has_openvino():
        pytest.skip("OpenVINO is not installed")
    home = tmp_path / "home"
    home.mkdir()
    hidden = ("XDG_CACHE_HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME", "ORT_DISABLE_TELEMETRY")
    there = {key: value for key, value in os.environ.items() if key not in hidden}
    ended = subprocess.run(
        [sys.executable, "-c", RUN, str(mask_model), device],
        env={**there, "HOME": str(home)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert not [str(path) for path in home.rglob("*")]
