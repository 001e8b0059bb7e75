"""A disk that is full after any number of bytes: nothing is lost, and room is all it takes."""

from __future__ import annotations

import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from forked import forked
from scene import NAME, Scene, fragments

from wsiproc.errors import DiskFullError, StoreError

SIZES = 100
PAGE = 4096
LARGE = 64 << 20


def mountable(place: Path) -> bool:
    """Whether a file system of a given size can be mounted here."""
    try:
        with _disk(place, LARGE):
            return True
    except subprocess.CalledProcessError:
        return False


def full(scene: Scene, number: int) -> dict[str, Any]:
    """A run on a disk of the `number`-th of 100 sizes up to what it takes, then with room."""
    place = scene.new("disk")
    size = PAGE * max(1, _needed(scene) * (number % SIZES + 1) // (SIZES * PAGE))
    with _disk(place, size):
        out = place / "out"
        ended = forked(lambda: scene.run(out))
        codes = {DiskFullError.exit_code, StoreError.exit_code}
        if ended.error:
            assert ended.told["exit_code"] in codes, ended.told
            assert not (out / NAME).exists(), "half a result was published"
        there = fragments(out)
        _mount("-o", f"remount,size={LARGE}", place)
        done = forked(lambda: scene.run(out))
        assert not done.error, done.told
        assert scene.whole(out), "other bytes than those of an undisturbed run"
        reused = done.told["tiles_reused"]
        assert not ended.error or reused == there, f"{there} tiles were there, {reused} were used"
    return {
        "bytes": size,
        "error": ended.error,
        "exit_code": ended.told.get("exit_code", 0),
        "tiles_reused": reused,
    }


def _needed(scene: Scene) -> int:
    """Bytes that a run has on the disk at most; measured once, and kept beside the scene."""
    kept = scene.folder / "needed"
    if not kept.exists():
        place = scene.new("disk")
        with _disk(place, LARGE):
            free = forked(lambda: _most_used(scene, place)).told
        kept.write_text(str(free))
    return int(kept.read_text())


def _most_used(scene: Scene, place: Path) -> int:
    """Bytes in use before the steps that free some: just before the work folder is removed."""
    import os

    from points import watch

    most = 0

    def look(_name: str) -> None:
        nonlocal most
        facts = os.statvfs(place)
        most = max(most, (facts.f_blocks - facts.f_bfree) * facts.f_frsize)

    watch(place / "out", look)
    scene.run(place / "out")
    return most


@contextmanager
def _disk(place: Path, size: int):
    """A file system of `size` bytes."""
    place.mkdir(parents=True, exist_ok=True)
    _mount("-t", "tmpfs", "-o", f"size={size}", "tmpfs", place)
    try:
        yield
    finally:
        subprocess.run(["umount", str(place)], check=True, capture_output=True)


def _mount(*words: str | Path) -> None:
    subprocess.run(["mount", *map(str, words)], check=True, capture_output=True)
