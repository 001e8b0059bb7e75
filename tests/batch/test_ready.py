"""A slide that is still being copied is never begun, and one of last week at once."""

from __future__ import annotations

import hashlib
import os
from dataclasses import replace
from pathlib import Path

import pytest

from wsiproc.batch.ready import Look, clock_skew_s, is_ready, look_at
from wsiproc.errors import NotReadyError
from wsiproc.slide.arrival import Stamp, announced, see, stamp_of

FRESH = Look(Stamp(1, 100, 0.0, "same"), at=1000.0, quiet_s=5.0, announced=False)
GROWN = Stamp(1, 200, 0.0, "other")


@pytest.fixture
def slide(tmp_path: Path) -> Path:
    path = tmp_path / "a.svs"
    path.write_bytes(b"pixels")
    return path


def test_a_fresh_file_is_not_ready_at_first_sight() -> None:
    assert not is_ready(FRESH, None, 120)
    assert not is_ready(FRESH, FRESH, 120)


def test_a_file_that_looks_the_same_later_is_ready() -> None:
    assert not is_ready(replace(FRESH, at=1119.0), FRESH, 120)
    assert is_ready(replace(FRESH, at=1120.0), FRESH, 120)


def test_a_file_that_grew_between_two_looks_is_not_ready() -> None:
    assert not is_ready(replace(FRESH, stamp=GROWN, at=1500.0), FRESH, 120)


def test_a_file_that_was_long_left_alone_needs_no_second_look() -> None:
    assert is_ready(replace(FRESH, quiet_s=120.0), None, 120)


def test_a_time_in_the_future_says_nothing() -> None:
    assert not is_ready(replace(FRESH, quiet_s=-3600.0), None, 120)


def test_the_word_of_its_copier_is_enough_but_not_for_an_empty_file() -> None:
    told = replace(FRESH, announced=True)
    assert is_ready(told, None, 120)
    assert not is_ready(replace(told, stamp=replace(FRESH.stamp, size=0)), None, 120)


def test_an_old_mtime_does_not_make_a_file_old_that_came_just_now(slide: Path) -> None:
    os.utime(slide, (0, 0))
    assert look_at(slide, 0.0).quiet_s < 60


def test_the_slower_of_two_clocks_is_believed(slide: Path) -> None:
    here = look_at(slide, 0.0).quiet_s
    assert look_at(slide, 3600.0).quiet_s == pytest.approx(here, abs=5)
    assert look_at(slide, -3600.0).quiet_s == pytest.approx(here - 3600, abs=5)


def test_the_file_servers_clock_is_asked_without_a_trace(tmp_path: Path) -> None:
    assert abs(clock_skew_s(tmp_path)) < 5
    assert not list((tmp_path / ".wsiproc").iterdir())


def test_a_stamp_tells_a_file_that_grew_or_was_touched_or_was_joined(tmp_path: Path) -> None:
    index, data = tmp_path / "a.mrxs", tmp_path / "a"
    index.write_bytes(b"index")
    data.mkdir()
    (data / "1.dat").write_bytes(b"1")
    before = stamp_of(index)
    assert stamp_of(index) == before
    (data / "2.dat").write_bytes(b"2")
    joined = stamp_of(index)
    os.utime(data / "1.dat", (5, 5))
    assert len({before.digest, joined.digest, stamp_of(index).digest}) == 3


@pytest.mark.parametrize("mark", ["a.svs.done", "a.done", "a.svs.md5", "a.sha256"])
def test_a_mark_beside_the_slide_announces_it(slide: Path, mark: str) -> None:
    assert not announced(slide)
    (slide.parent / mark).touch()
    assert announced(slide)


@pytest.mark.parametrize("kind", ["sha256", "md5"])
def test_a_checksum_beside_the_slide_is_held_against_it(slide: Path, kind: str) -> None:
    right = hashlib.new(kind, b"pixels").hexdigest()
    mark = slide.with_name(f"a.svs.{kind}")
    mark.write_text(f"{right.upper()} *a.svs\n")
    assert see(slide).fingerprint == hashlib.sha256(b"pixels").hexdigest()
    mark.write_text(f"{right[::-1]}  a.svs\n")
    with pytest.raises(NotReadyError, match=kind):
        see(slide)


def test_a_file_that_has_gone_is_not_ready(tmp_path: Path) -> None:
    with pytest.raises(NotReadyError):
        stamp_of(tmp_path / "gone.svs")
