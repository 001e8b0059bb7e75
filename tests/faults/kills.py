"""Kill -9 at every named point, at random times, and again while the next run goes on."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from forked import Child, Ended, forked
from points import PLAIN, REPLACING, halt, named, watch
from scene import NAME, SETTINGS, Scene, fragments, tables

from wsiproc.api import run
from wsiproc.config import RunConfig, Science
from wsiproc.store.manifest import MANIFEST

POINTS = (*PLAIN, *REPLACING)
OTHER = RunConfig(science=Science(tissue=False), execution=SETTINGS.execution)
"""Settings of the result that stands in the way where one is replaced."""


def reached(scene: Scene, out: Path, **more: Any) -> list[str]:
    """Names of the points that a run passes, one after the other."""

    def do() -> list[str]:
        names: list[str] = []
        watch(out, names.append)
        scene.run(out, **more)
        return names

    return list(forked(do).told)


def until(point: str, nth: int, do: Callable[[], object], out: Path) -> Ended:
    """`do` in a child that is killed when it comes to `point` for the `nth` time."""

    def dies() -> object:
        left = nth

        def here(name: str) -> None:
            nonlocal left
            left -= name == point
            if left == 0 and name == point:
                halt(signal.SIGKILL)

        watch(out, here)
        return do()

    return forked(dies)


def at_a_point(scene: Scene, number: int) -> dict[str, Any]:
    """A run is killed at a point, every other time the next one too, and the last one ends well."""
    rng = random.Random(number)
    point = POINTS[number % len(POINTS)]
    replaces = point in REPLACING
    out = scene.new(f"point-{number}")
    if replaces:
        forked(
            lambda: run(scene.slide, str(scene.model), out, settings=OTHER, slide_id=NAME).summary
        )
        before = tables(out / NAME)
    many = rng.randint(1, 9) if "TILE" in point else 1
    ended = until(point, many, lambda: scene.run(out, replace=replaces), out)
    assert ended.killed, f"{point} was never reached: {ended.told}"
    _nothing_half(scene, out)
    if replaces and not (out / NAME).exists():
        kept = [tables(old) for old in out.glob(f".wsiproc/replaced-*/{NAME}")]
        assert before in kept, "the old result is gone, and the new one is not there"
    deaths = 1
    if number // len(POINTS) % 2:
        deaths += until(rng.choice(POINTS), 1, lambda: scene.run(out, replace=True), out).killed
        _nothing_half(scene, out)
    return {"point": point, "deaths": deaths, **_goes_on(scene, out, replace=replaces)}


def at_a_time(scene: Scene, number: int) -> dict[str, Any]:
    """A run is killed at any time from its first fragment to its manifest."""
    rng = random.Random(number)
    out = scene.new(f"time-{number}")
    deaths = _killed_between(scene, out, rng)
    return {"deaths": deaths, **_goes_on(scene, out)}


def again_and_again(scene: Scene, number: int) -> dict[str, Any]:
    """One to five runs in a row are killed, each going on from where the one before was."""
    rng = random.Random(number)
    out = scene.new(f"again-{number}")
    deaths = _killed_between(scene, out, rng)
    for _ in range(rng.randint(1, 4)):
        child = Child(lambda: scene.run(out))
        time.sleep(rng.uniform(0.0, 4 * scene.seconds))
        child.kill()
        deaths += child.wait().killed
        _nothing_half(scene, out)
    return {"deaths": deaths, **_goes_on(scene, out)}


def _killed_between(scene: Scene, out: Path, rng: random.Random) -> int:
    """Kill a run between its first fragment and its manifest; how many were."""
    for _ in range(20):
        wait = rng.uniform(0.0, scene.seconds)
        child = Child(lambda: scene.run(out))
        while not fragments(out) and child.alive:
            time.sleep(0.0005)
        time.sleep(wait)
        late = (out / NAME / MANIFEST).exists()
        child.kill()
        child.wait()
        _nothing_half(scene, out)
        if not late:
            return 1
        scene.new(out.name)
    raise AssertionError("every run was too quick to be killed")


def _nothing_half(scene: Scene, out: Path) -> None:
    """What a killed run left: no result, or a whole one."""
    if (out / NAME).exists():
        assert (out / NAME / MANIFEST).exists(), "a folder without a manifest was published"
        assert scene.whole(out) or tables(out / NAME) != scene.wanted


def _goes_on(scene: Scene, out: Path, **more: Any) -> dict[str, Any]:
    """The next run ends well, uses what is there, and leaves nothing behind."""
    there = fragments(out)
    done = (out / NAME).exists() and tables(out / NAME) == scene.wanted
    ended = forked(lambda: scene.run(out, **more))
    assert ended.status == 0, f"killed by {ended.status}"
    assert not ended.error, ended.told
    assert scene.whole(out), "other bytes than those of an undisturbed run"
    reused = ended.told["tiles_reused"]
    if not done:
        assert reused >= there, f"{there} tiles were there, {reused} were used"
        # What a killed attempt staged goes when nobody can be at work on it any more; so do a
        # lease that was not yet taken, and an empty folder for an old result.
        left = {named(str(path), out) for path in (out / ".wsiproc").iterdir()}
        dust = {"OUT/.wsiproc/staging", "OUT/.wsiproc/JOB.lease~", "OUT/.wsiproc/replaced"}
        assert left <= dust, left
        assert not list(out.glob(".wsiproc/replaced-*/*")), "an old result was left behind"
    return {"tiles_there": there, "tiles_reused": reused, "already_done": done}
