"""Reading an export with packages that contradict wsiproc's own, in a Python of theirs."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest


def told(package: str, program: str, *files: Path) -> Any:
    """What a program prints as JSON, run by a Python that has `package`; skips without one.

    ``WSIPROC_PACKAGE_PYTHON`` names that Python; `make test-PACKAGE` sets it, or runs in one.
    """
    python = os.environ.get(f"WSIPROC_{package.upper()}_PYTHON")
    if python is None and importlib.util.find_spec(package) is not None:
        python = sys.executable
    if python is None:
        pytest.skip(f"{package} is not installed: make test-{package} has it")
    ran = subprocess.run(
        [python, "-W", "ignore", "-c", program, *map(str, files)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout.splitlines()[-1])
