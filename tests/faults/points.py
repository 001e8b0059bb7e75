"""Named fault points: every step by which a run changes what is on the disk.

They are found from outside: Python tells an audit hook of each file that is opened for writing,
renamed, linked or removed *before* it happens, and `os.fsync` is wrapped.  So nothing in the
package knows of them, and a new step that nobody named is noticed by a test.
"""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path

PLAIN = (
    "make OUT",
    "make OUT/.wsiproc/JOB",
    "make OUT/.wsiproc",
    "open OUT/.wsiproc/JOB/region.npz~",
    "sync OUT/.wsiproc/JOB/region.npz~",
    "rename OUT/.wsiproc/JOB/region.npz~",
    "sync OUT/.wsiproc/JOB",
    "open OUT/.wsiproc/JOB/picture.png~",
    "sync OUT/.wsiproc/JOB/picture.png~",
    "rename OUT/.wsiproc/JOB/picture.png~",
    "open OUT/.wsiproc/JOB/plan.json~",
    "sync OUT/.wsiproc/JOB/plan.json~",
    "rename OUT/.wsiproc/JOB/plan.json~",
    "open OUT/.wsiproc/JOB.lease~",
    "link OUT/.wsiproc/JOB.lease~",
    "remove OUT/.wsiproc/JOB.lease~",
    "make OUT/.wsiproc/JOB/GRID",
    "open OUT/.wsiproc/JOB/GRID/TILE.frag~",
    "sync OUT/.wsiproc/JOB/GRID/TILE.frag~",
    "rename OUT/.wsiproc/JOB/GRID/TILE.frag~",
    "sync OUT/.wsiproc/JOB/GRID",
    "make OUT/.wsiproc/staging/slide",
    "make OUT/.wsiproc/staging",
    "sync OUT/.wsiproc/staging/slide/nuclei.parquet~",
    "rename OUT/.wsiproc/staging/slide/nuclei.parquet~",
    "sync OUT/.wsiproc/staging/slide",
    "sync OUT/.wsiproc/staging/slide/centroids.parquet~",
    "rename OUT/.wsiproc/staging/slide/centroids.parquet~",
    "sync OUT/.wsiproc/staging/slide/tissue.parquet~",
    "rename OUT/.wsiproc/staging/slide/tissue.parquet~",
    "open OUT/.wsiproc/staging/slide/overview.png",
    "sync OUT/.wsiproc/staging/slide/centroids.parquet",
    "sync OUT/.wsiproc/staging/slide/nuclei.parquet",
    "sync OUT/.wsiproc/staging/slide/overview.png",
    "sync OUT/.wsiproc/staging/slide/tissue.parquet",
    "open OUT/.wsiproc/staging/slide/manifest.json~",
    "sync OUT/.wsiproc/staging/slide/manifest.json~",
    "rename OUT/.wsiproc/staging/slide/manifest.json~",
    "sync OUT/.wsiproc/staging",
    "rename OUT/.wsiproc/staging/slide",
    "sync OUT",
    "remove OUT/.wsiproc/staging",
    "remove OUT/.wsiproc/JOB/GRID/TILE.frag",
    "remove OUT/.wsiproc/JOB/GRID",
    "remove OUT/.wsiproc/JOB/plan.json",
    "remove OUT/.wsiproc/JOB/picture.png",
    "remove OUT/.wsiproc/JOB/region.npz",
    "remove OUT/.wsiproc/JOB",
    "remove OUT/.wsiproc/JOB.lease",
)
"""Of a slide that is run for the first time.  ``~`` is a temporary name; names that differ from run
to run are in capitals."""

REPLACING = (
    "make OUT/.wsiproc/replaced",
    "rename OUT/slide",
    "sync OUT/.wsiproc/replaced",
    "remove OUT/.wsiproc/replaced/slide/manifest.json",
    "remove OUT/.wsiproc/replaced/slide/overview.png",
    "remove OUT/.wsiproc/replaced/slide/tissue.parquet",
    "remove OUT/.wsiproc/replaced/slide/centroids.parquet",
    "remove OUT/.wsiproc/replaced/slide/nuclei.parquet",
    "remove OUT/.wsiproc/replaced/slide",
    "remove OUT/.wsiproc/replaced",
)
"""Further ones, of a result that takes the place of another."""


_SHAPES = (
    (re.compile(r"[0-9a-f]{64}"), "JOB"),
    (re.compile(r"(staging|replaced)-[0-9a-f]{16}"), r"\1"),
    (re.compile(r"\.(JOB\.lease)\.[0-9a-f]{16}"), r"\1~"),
    (re.compile(r"/\.([^/]+)\.\d+-[0-9a-f]{8}\.tmp"), r"/\1~"),
    (re.compile(r"r\d{5}c\d{5}\.frag"), "TILE.frag"),
    (re.compile(r"/JOB/c\d+-h[^/]*"), "/JOB/GRID"),
)
_VERBS = {
    "os.mkdir": "make",
    "os.rename": "rename",
    "os.remove": "remove",
    "os.rmdir": "remove",
    "os.link": "link",
}
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT


def watch(out: Path, reached: Callable[[str], None]) -> None:
    """Call `reached` with the name of each point below `out`, before it is passed.

    For the rest of this process: meant for a child that ends soon.
    """

    def tell(verb: str, place: str) -> None:
        if place == str(out) or place.startswith(f"{out}{os.sep}"):
            reached(f"{verb} {named(place, out)}")

    def hear(event: str, arguments: tuple[object, ...]) -> None:
        if event == "open":
            path, _, flags = arguments
            if isinstance(path, str) and isinstance(flags, int) and flags & _WRITING:
                tell("open", path)
        elif event in _VERBS:
            folder = arguments[-1]
            tell(_VERBS[event], _whole(os.fsdecode(arguments[0]), folder))  # type: ignore[arg-type]

    fsync = os.fsync

    def synced(handle: int) -> None:
        tell("sync", str(Path(f"/proc/self/fd/{handle}").readlink()))
        fsync(handle)

    os.fsync = synced  # type: ignore[assignment]
    sys.addaudithook(hear)


def halt(signum: int) -> None:
    """Send this process SIGKILL or SIGSTOP; the calling thread goes no step further before it."""
    os.kill(os.getpid(), signum)
    # Another thread may be the first to hear of it.
    time.sleep(1.0)


def named(place: str, out: Path) -> str:
    """A place without what differs from run to run."""
    name = "OUT" + place[len(str(out)) :]
    for shape, short in _SHAPES:
        name = shape.sub(short, name)
    return name


def _whole(path: str, folder: object) -> str:
    """A path, also where it is told below an open folder."""
    if Path(path).is_absolute() or not isinstance(folder, int) or folder < 0:
        return path
    return str(Path(f"/proc/self/fd/{folder}").readlink() / path)
