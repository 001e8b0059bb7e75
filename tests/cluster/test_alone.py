"""A step in a process of its own: what happens there happens to nobody else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from wsiproc.cluster import _alone
from wsiproc.cluster._alone import carry_out_alone, where
from wsiproc.cluster._orders import WHOLE_SLIDE_LIMIT_S, Order, limit_s
from wsiproc.errors import SlideFormatError, StrangeError, WorkerLostError
from wsiproc.plan import Job
from wsiproc.slide import open_slide
from wsiproc.slide._drawn import DrawnSlide
from wsiproc.slide.arrival import Seen, see


@pytest.fixture
def order(job: Callable[..., Job], small: DrawnSlide, mask_model: Path, tmp_path: Path) -> Order:
    return Order("identify", job(small.path, mask_model, tmp_path))


def child_that(does: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the child do something of its own instead of its order."""
    monkeypatch.setattr(
        _alone,
        "_CHILD",
        "from wsiproc.cluster import _alone\n"
        f"def carry_out(order, bench):\n    {does}\n"
        "_alone.carry_out = carry_out\n_alone.main()",
    )


def test_the_result_is_that_of_the_step(order: Order, small: DrawnSlide) -> None:
    assert carry_out_alone(order, 1) == see(small.path)


def test_an_error_is_that_of_the_step(order: Order, tmp_path: Path) -> None:
    junk = tmp_path / "junk.svs"
    junk.write_bytes(b"no slide")
    with pytest.raises(SlideFormatError, match="no part of wsiproc reads this file"):
        carry_out_alone(replace(order, what="plan", job=replace(order.job, slide=junk)), 1)


@pytest.mark.parametrize(
    ("does", "said", "killed"),
    [
        ("import os; os.kill(os.getpid(), 11)", "SIGSEGV", False),
        ("import os; os.kill(os.getpid(), 9)", "memory is short", True),
        ("import os; os._exit(3)", "status 3", False),
        ("import time; time.sleep(60)", "took too long", False),
    ],
)
def test_a_death_is_told_by_its_cause(
    order: Order, monkeypatch: pytest.MonkeyPatch, does: str, said: str, killed: bool
) -> None:
    if "sleep" in does:
        does = "with bench.watched(0.1): " + does
    child_that(does, monkeypatch)
    with pytest.raises(WorkerLostError, match=said) as died:
        carry_out_alone(order, 1)
    assert died.value.killed is killed


def test_a_bug_is_told_by_its_class(order: Order, monkeypatch: pytest.MonkeyPatch) -> None:
    child_that("raise KeyError('Jane Doe')", monkeypatch)
    with pytest.raises(StrangeError) as bug:
        carry_out_alone(order, 1)
    assert bug.value.name == "KeyError"
    assert "Jane" not in str(bug.value)


def test_what_a_library_prints_or_leaves_running_spoils_no_reply(
    order: Order, small: DrawnSlide, monkeypatch: pytest.MonkeyPatch
) -> None:
    child_that(
        "import os, sys, time; from wsiproc.slide.arrival import see; print('noise', flush=True); "
        "os.write(1, b'more'); sys.stdin.close(); os.fork() or time.sleep(5); "
        "return see(order.job.slide)",
        monkeypatch,
    )
    assert isinstance(carry_out_alone(order, 1), Seen)


def test_the_place_of_a_bug_lies_in_wsiproc(tmp_path: Path) -> None:
    with pytest.raises(SlideFormatError) as raised:
        open_slide(tmp_path / "nothing.svs")
    assert where(raised.value).startswith("wsiproc/slide/")


def test_every_step_has_a_time_limit_and_a_tile_the_one_that_was_set(order: Order) -> None:
    limits = {what: limit_s(replace(order, what=what)) for what in ("identify", "plan", "finish")}
    assert set(limits.values()) == {WHOLE_SLIDE_LIMIT_S}
    assert limit_s(replace(order, what="tile")) == order.job.execution.tile_timeout_s
