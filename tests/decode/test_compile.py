from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import wsiproc.decode._compile

PROGRAM = """
import sys
sys.path.insert(0, sys.argv[1])
from lonely import twice
print(twice(21))
"""

KERNEL = """

@kernel
def twice(n: int) -> int:
    return 2 * n
"""


def run_alone(folder: Path, **settings: str) -> subprocess.CompletedProcess[str]:
    """Compile and call a kernel in a process of its own, from a package in `folder`."""
    (folder / "lonely.py").write_text(Path(wsiproc.decode._compile.__file__).read_text() + KERNEL)
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, str(folder)],
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1", **settings},
        capture_output=True,
        text=True,
        check=False,
    )


def test_without_a_place_for_compiled_code_it_is_compiled_anew(tmp_path):
    """A read-only installation and home: files stand where the folders would be made."""
    (tmp_path / "__pycache__").write_text("")
    (tmp_path / "home").write_text("")
    home = str(tmp_path / "home")
    done = run_alone(tmp_path, NUMBA_CACHE_DIR=home, HOME=home, XDG_CACHE_HOME=home)
    assert done.stdout.strip() == "42", done.stderr


def test_compiled_code_is_kept_where_there_is_a_place(tmp_path):
    done = run_alone(tmp_path, NUMBA_CACHE_DIR=str(tmp_path / "cache"))
    assert done.stdout.strip() == "42", done.stderr
    assert list((tmp_path / "cache").rglob("*.nbi"))
