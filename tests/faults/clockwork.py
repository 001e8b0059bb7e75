"""A run whose clock is set on the way: a process of its own, since everybody has to see it.

    python clockwork.py SLIDE MODEL OUT JUMP_S AT [DIES_AT]

The clock jumps when the run comes to its `AT`-th step on the disk, and the process is killed when
it comes to the `DIES_AT`-th.
"""

from __future__ import annotations

import time

_real = time.time
_ahead = 0.0


def _now() -> float:
    return _real() + _ahead


# Before anybody else takes hold of it.
time.time = _now

import json  # noqa: E402
import os  # noqa: E402
import signal  # noqa: E402
import sys  # noqa: E402
from pathlib import Path  # noqa: E402

from points import halt, watch  # noqa: E402
from scene import NAME, SETTINGS  # noqa: E402

from wsiproc.api import run  # noqa: E402
from wsiproc.cluster import _clock  # noqa: E402
from wsiproc.errors import BusyError  # noqa: E402


def main(slide: Path, model: str, out: Path, jump_s: float, at: int, dies_at: int) -> None:
    passed = 0

    def here(_name: str) -> None:
        global _ahead  # noqa: PLW0603
        passed_now = step()
        if passed_now == at:
            _ahead = jump_s
        if passed_now == dies_at:
            halt(signal.SIGKILL)

    def step() -> int:
        nonlocal passed
        passed += 1
        return passed

    _clock.LATE_S = 5.0  # type: ignore[misc]
    watch(out, here)
    try:
        summary = run(slide, model, out, settings=SETTINGS, slide_id=NAME).summary
    except BusyError as error:
        print(json.dumps({"error": str(error)}), flush=True)
        os._exit(error.exit_code)
    print(json.dumps({"total": summary["seconds"]["total"]}))


if __name__ == "__main__":
    main(
        Path(sys.argv[1]),
        sys.argv[2],
        Path(sys.argv[3]),
        float(sys.argv[4]),
        int(sys.argv[5]),
        int([*sys.argv, 0][6]),
    )
