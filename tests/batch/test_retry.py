"""What kind of trouble an error is, and what follows from it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from wsiproc.batch.ready import Look
from wsiproc.batch.records import Kind
from wsiproc.batch.retry import (
    Policy,
    ends_the_batch,
    kind_of,
    pause_s,
    short_of_memory,
    trouble_of,
)
from wsiproc.cluster import Failed
from wsiproc.config import Execution, Science
from wsiproc.errors import (
    BusyError,
    ConfigError,
    DeviceError,
    DiskFullError,
    NotReadyError,
    SlideFormatError,
    SlideReadError,
    SlideResolutionError,
    StorageError,
    StoreError,
    StrangeError,
    WorkerLostError,
)
from wsiproc.plan import Job
from wsiproc.slide.arrival import Stamp

SLIDE = Path("/scans/Doe Jane/S-4711.svs")
JOB = Job(SLIDE, "s1", "m", Path("/out"), Science(), Execution())
OLD = Look(Stamp(1, 100, 0.0, "x"), at=0.0, quiet_s=1e6, announced=False)
NEW = replace(OLD, quiet_s=60.0)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (SlideFormatError("no slide"), "input"),
        (SlideReadError("unreadable"), "input"),
        (SlideResolutionError("no mpp"), "input"),
        (WorkerLostError("died of SIGSEGV"), "input"),
        (WorkerLostError("was killed", killed=True), "resource"),
        (MemoryError(), "resource"),
        (RuntimeError("std::bad_alloc"), "resource"),
        (DeviceError("CUDA out of memory"), "resource"),
        (DiskFullError("full"), "resource"),
        (NotReadyError("changed"), "not_ready"),
        (StorageError("stale"), "infrastructure"),
        (StoreError("I/O error"), "infrastructure"),
        (KeyError("x"), "bug"),
        (StrangeError("KeyError", "there"), "bug"),
    ],
)
def test_every_error_has_its_kind(error: Exception, kind: Kind) -> None:
    assert kind_of(Failed(JOB, error, (1, 2), 1), OLD, Policy()) == kind


def test_a_file_that_does_not_open_is_bad_only_when_left_alone_for_a_day() -> None:
    failed = Failed(JOB, SlideFormatError("no slide"))
    assert kind_of(failed, NEW, Policy()) == "not_ready"
    assert kind_of(failed, replace(NEW, announced=True), Policy()) == "input"
    assert kind_of(failed, NEW, Policy(unsure_for_s=59)) == "input"


def test_of_a_fresh_slide_in_several_files_any_fault_may_be_a_missing_part() -> None:
    several = replace(NEW, stamp=replace(NEW.stamp, files=9))
    failed = Failed(JOB, SlideResolutionError("no mpp"))
    assert kind_of(failed, several, Policy()) == "not_ready"
    assert kind_of(failed, NEW, Policy()) == "input"


def test_a_wrong_model_or_setting_ends_the_batch_and_a_failing_tile_does_not() -> None:
    assert ends_the_batch(Failed(JOB, ConfigError("no such window")))
    assert ends_the_batch(Failed(JOB, DeviceError("no CUDA")))
    assert not ends_the_batch(Failed(JOB, DeviceError("other numerics"), (0, 0), 1))
    assert not ends_the_batch(Failed(JOB, BusyError("elsewhere")))


def test_memory_asks_for_a_smaller_batch_and_a_full_disk_does_not() -> None:
    assert short_of_memory(MemoryError())
    assert short_of_memory(WorkerLostError("was killed", killed=True))
    assert not short_of_memory(DiskFullError("full"))


def test_pauses_double_up_to_a_limit_and_never_fall_together() -> None:
    policy = Policy(pause_s=30, longest_pause_s=100)
    assert [pause_s(n, policy, 0.999999) for n in (1, 2, 3, 9)] == pytest.approx(
        [30, 60, 100, 100], rel=1e-3
    )
    assert pause_s(1, policy, 0.0) == 15


def test_a_record_names_tile_class_and_command_but_no_file() -> None:
    failed = Failed(JOB, SlideReadError(f"cannot decode {SLIDE}", 0, (0, 0, 9, 9)), (3, 4))
    trouble = trouble_of(failed, "input", slide=SLIDE, reproduce="wsiproc batch --only s1")
    assert (trouble.error, trouble.tile) == ("SlideReadError", (3, 4))
    assert "level 0" in trouble.message
    assert "--only s1" in trouble.reproduce
    for name in ("4711", "Doe", "Jane", "scans"):
        assert name not in trouble.message


def test_of_a_bug_class_and_place_are_told_and_never_its_message() -> None:
    with pytest.raises(ValueError, match="Jane") as raised:
        int("Jane Doe")
    trouble = trouble_of(Failed(JOB, raised.value), "bug", slide=SLIDE, reproduce="")
    assert trouble.error == "ValueError"
    assert "Jane" not in trouble.message
    strange = Failed(JOB, StrangeError("KeyError", "wsiproc/a.py:1 in f"))
    told = trouble_of(strange, "bug", slide=SLIDE, reproduce="")
    assert told.error == "KeyError"
    assert "wsiproc/a.py:1" in told.message
