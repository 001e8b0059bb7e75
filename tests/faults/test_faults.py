"""A handful of each fault; `make test-faults` has them by the hundred."""

from __future__ import annotations

import os
from collections.abc import Iterator

import cuts
import disk
import many
import mutants
import pytest
import starts
from scene import Scene


@pytest.fixture(scope="module")
def worker(scene: Scene) -> Iterator[mutants.Worker]:
    worker = mutants.Worker(scene)
    yield worker
    worker.end()


@pytest.mark.slow
def test_no_corrupt_tile_harms_the_worker_or_the_next_slide(
    scene: Scene, worker: mutants.Worker
) -> None:
    good: dict[str, str] = {}
    rounds = [mutants.mutant(scene, number, worker, good) for number in range(6)]
    assert {facts["kind_of_slide"] for facts in rounds} == set(mutants.KINDS)
    assert len({facts["pid"] for facts in rounds}) == 1
    assert sum(facts["decoder_errors"] for facts in rounds) > 3


@pytest.mark.parametrize("number", range(0, cuts.POINTS, 9))
def test_a_slide_cut_off_anywhere_is_refused(scene: Scene, number: int) -> None:
    cuts.cut(scene, number)


@pytest.mark.slow
@pytest.mark.parametrize("number", [5, 60, 95])
def test_a_disk_that_is_full_loses_nothing(scene: Scene, number: int) -> None:
    if not disk.mountable(scene.folder / "disk"):
        pytest.skip("no file system can be mounted here")
    assert disk.full(scene, number)["exit_code"] in (75, 73)


@pytest.mark.slow
@pytest.mark.parametrize("number", [0, 1])
def test_runs_that_start_at_once_publish_once(scene: Scene, number: int) -> None:
    starts.at_once(scene, number)


@pytest.mark.slow
def test_a_run_that_slept_while_another_published_discards_its_own(scene: Scene) -> None:
    starts.asleep(scene, 0)


@pytest.fixture(scope="module")
def registered(scene: Scene) -> Iterator[Scene]:
    before = os.environ.get("WSIPROC_MODELS")
    many.register(scene)
    yield scene
    if before is not None:
        os.environ["WSIPROC_MODELS"] = before


@pytest.mark.slow
def test_a_slide_that_grows_while_batches_look_at_it_is_done_once_and_whole(
    registered: Scene,
) -> None:
    many.grows(registered, 0)


@pytest.mark.slow
def test_batches_that_start_at_once_publish_each_slide_once(registered: Scene) -> None:
    many.batches_at_once(registered, 0)


@pytest.mark.slow
def test_a_clock_that_is_set_back_loses_nothing(scene: Scene) -> None:
    many.clock(scene, 0)


@pytest.mark.slow
def test_a_slide_that_kills_its_decoder_is_put_in_quarantine_and_the_others_are_done(
    registered: Scene,
) -> None:
    many.poisoned(registered, 0, 5)


@pytest.mark.slow
def test_killed_workers_keep_no_slide_from_being_done(registered: Scene) -> None:
    many.workers_die(registered, 0, 6)


@pytest.mark.slow
def test_the_driver_does_not_grow_with_the_number_of_slides(registered: Scene) -> None:
    many.thousand(registered, 0, 30)
