"""Whenever a run is killed, the next one goes on and gives the bytes of an undisturbed run."""

from __future__ import annotations

import kills
import pytest
from forked import forked
from kills import POINTS, reached
from points import PLAIN, REPLACING
from scene import NAME, Scene

from wsiproc.api import run


@pytest.mark.slow
def test_every_step_on_the_disk_has_a_name(scene: Scene) -> None:
    out = scene.folder / "named"
    first = reached(scene, out)
    assert set(first) == set(PLAIN)
    assert first.count("rename OUT/.wsiproc/staging/slide") == 1, "one rename publishes"
    out = scene.folder / "replaced"
    other = forked(
        lambda: run(scene.slide, str(scene.model), out, settings=kills.OTHER, slide_id=NAME).summary
    )
    assert not other.error, other.told
    assert set(reached(scene, out, replace=True)) - set(PLAIN) == set(REPLACING)


@pytest.mark.slow
@pytest.mark.parametrize("number", range(4, len(POINTS), len(POINTS) // 8))
def test_a_run_killed_at_a_named_point_goes_on(scene: Scene, number: int) -> None:
    kills.at_a_point(scene, number)


@pytest.mark.slow
@pytest.mark.parametrize("number", range(7))
def test_a_run_killed_at_any_time_goes_on(scene: Scene, number: int) -> None:
    kills.at_a_time(scene, number)


@pytest.mark.slow
@pytest.mark.parametrize("number", range(2))
def test_a_run_that_is_killed_again_while_it_goes_on_gets_there(scene: Scene, number: int) -> None:
    kills.again_and_again(scene, number)
