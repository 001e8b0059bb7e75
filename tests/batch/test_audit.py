"""Whatever is done to the audit log is found; whatever a crash does to it is survived."""

from __future__ import annotations

import errno
import fcntl
import json
import multiprocessing
import os
import random
import resource
import signal
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from wsiproc.batch import _alone
from wsiproc.batch.audit import append, read_chain, verify
from wsiproc.errors import BusyError, DiskFullError, StoreError

LINES = 6
SPAWN = multiprocessing.get_context("spawn")
Files = tuple[bytes, bytes]


def write(folder: Path, lines: int) -> Path:
    path = folder / "audit.jsonl"
    for n in range(lines):
        append(path, "published", {"slide_id": f"s{n:020x}", "nuclei": n, "µm": 0.25, "why": None})
    return path


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Files:
    """A log of a few lines and its head, as bytes."""
    path = write(tmp_path_factory.mktemp("audit"), LINES)
    return path.read_bytes(), path.with_suffix(".head").read_bytes()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("changed") / "audit.jsonl"


def put(place: Path, log: bytes, head: bytes | None) -> Path:
    place.write_bytes(log)
    place.with_suffix(".head").unlink(missing_ok=True)
    if head is not None:
        place.with_suffix(".head").write_bytes(head)
    return place


def test_lines_say_what_happened_and_hang_together(tmp_path: Path) -> None:
    path = write(tmp_path, 3)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["n"] for line in lines] == [1, 2, 3]
    assert lines[1]["facts"] == {"slide_id": f"s{1:020x}", "nuclei": 1, "µm": 0.25, "why": None}
    assert [line["previous"] for line in lines[1:]] == [line["digest"] for line in lines[:2]]
    assert all(line["time"].endswith("+00:00") for line in lines)
    chain = read_chain(path)
    assert (chain.lines, chain.digest) == (3, lines[-1]["digest"])
    assert not chain.problems
    assert not chain.torn


def test_a_digest_can_be_checked_without_wsiproc(tmp_path: Path) -> None:
    import hashlib
    import re

    for line in write(tmp_path, 2).read_text().splitlines():
        bare = re.sub(r',"digest":"[0-9a-f]{64}"\}$', "}", line)
        assert hashlib.sha256(bare.encode()).hexdigest() == json.loads(line)["digest"]


def test_no_byte_of_log_or_head_can_change_unseen(place: Path, whole: Files) -> None:
    log, head = whole
    for at in range(len(log)):
        changed = log[:at] + bytes([log[at] ^ (1 + at % 255)]) + log[at + 1 :]
        assert verify(put(place, changed, head)), at
    for at in range(len(head)):
        changed = head[:at] + bytes([head[at] ^ (1 + at % 255)]) + head[at + 1 :]
        assert verify(put(place, log, changed)), at


@settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.too_slow])
@given(at=st.integers(0, 10**6), xor=st.integers(1, 255))
def test_any_flip_is_found(place: Path, whole: Files, at: int, xor: int) -> None:
    log, head = whole
    at %= len(log)
    assert verify(put(place, log[:at] + bytes([log[at] ^ xor]) + log[at + 1 :], head))


@settings(deadline=None, max_examples=200)
@given(gone=st.sets(st.integers(0, LINES - 1), min_size=1))
def test_any_lines_that_are_removed_are_missed(place: Path, whole: Files, gone: set[int]) -> None:
    lines = whole[0].splitlines(keepends=True)
    left = b"".join(line for n, line in enumerate(lines) if n not in gone)
    assert verify(put(place, left, whole[1]))


@settings(deadline=None, max_examples=200)
@given(order=st.permutations(range(LINES)))
def test_any_other_order_is_seen(place: Path, whole: Files, order: list[int]) -> None:
    lines = whole[0].splitlines(keepends=True)
    problems = verify(put(place, b"".join(lines[n] for n in order), whole[1]))
    assert bool(problems) == (order != list(range(LINES)))


@settings(deadline=None, max_examples=200)
@given(cut=st.integers(2, 10**6), later=st.booleans())
def test_a_log_cut_short_is_found_even_when_it_goes_on(
    place: Path, whole: Files, cut: int, later: bool
) -> None:
    log, head = whole
    put(place, log[: -(2 + cut % (len(log) - 2))], head)
    if later:
        append(place, "later", {})
    assert verify(place)


@settings(deadline=None, max_examples=100)
@given(line=st.integers(0, LINES - 1), copies=st.integers(2, 3))
def test_a_line_that_stands_twice_is_found(
    place: Path, whole: Files, line: int, copies: int
) -> None:
    lines = whole[0].splitlines(keepends=True)
    lines[line : line + 1] = [lines[line]] * copies
    assert verify(put(place, b"".join(lines), whole[1]))


def test_a_last_line_that_was_changed_is_not_taken_for_torn(place: Path, whole: Files) -> None:
    log, head = whole
    other = b"1" if log[-40:-39] == b"0" else b"0"
    put(place, log[:-40] + other + log[-39:], head)
    append(place, "later", {})
    assert any(f"line {LINES} is missing or changed" in problem for problem in verify(place))


def test_a_log_that_was_taken_away_is_missed_even_when_it_goes_on(
    place: Path, whole: Files
) -> None:
    put(place, b"", whole[1]).unlink()
    assert verify(place)
    append(place, "later", {})
    assert any(f"lines 1 to {LINES} are missing" in problem for problem in verify(place))


def test_a_head_that_was_taken_away_is_missed(place: Path, whole: Files) -> None:
    assert any("head" in problem for problem in verify(put(place, whole[0], None)))


def test_a_whole_new_chain_is_found_by_a_digest_noted_elsewhere(tmp_path: Path) -> None:
    path = write(tmp_path, 3)
    noted = read_chain(path).digest
    append(path, "later", {})
    assert not read_chain(path, [noted]).problems
    for forged in (path, path.with_suffix(".head")):
        forged.unlink()
    write(tmp_path, 4)
    assert not verify(path), "nothing in it is secret"
    assert read_chain(path, [noted]).problems


def test_where_there_is_no_log_nothing_is_fine(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no audit log"):
        verify(tmp_path / "audit.jsonl")


@settings(deadline=None, max_examples=60)
@given(kept=st.integers(0, 10**6), tears=st.lists(st.integers(0, 10**6), max_size=3))
def test_a_torn_last_line_is_followed_and_told_of(
    tmp_path_factory: pytest.TempPathFactory, kept: int, tears: list[int]
) -> None:
    """Killed in the middle of a line, once or several times over, before the head was written."""
    path = write(tmp_path_factory.mktemp("torn"), 2)
    log, head = path.read_bytes(), path.with_suffix(".head").read_bytes()
    for tear in (kept, *tears):
        before = path.stat().st_size
        append(path, "torn", {"slide_id": "s1"})
        with path.open("r+b") as file:
            # All but the newline is a whole line, and that is another test.
            file.truncate(before + tear % (path.stat().st_size - before - 1))
        path.with_suffix(".head").write_bytes(head)
    torn = path.stat().st_size > len(log)
    assert not verify(path)
    assert bool(read_chain(path).torn) == torn
    append(path, "next", {})
    chain = read_chain(path)
    assert (chain.lines, chain.problems, bool(chain.torn)) == (3, (), torn)
    assert path.read_bytes().startswith(log)
    if torn:
        changed = bytearray(path.read_bytes())
        changed[len(log)] ^= 1
        path.write_bytes(changed)
        assert verify(path), "what is torn may not change either"


def test_a_line_that_lost_only_its_newline_counts(tmp_path: Path) -> None:
    path = write(tmp_path, 2)
    path.write_bytes(path.read_bytes()[:-1])
    assert read_chain(path).lines == 2
    append(path, "next", {})
    chain = read_chain(path)
    assert (chain.lines, chain.problems, chain.torn) == (3, (), ())


def test_a_tail_of_zeros_after_a_power_cut_is_torn(tmp_path: Path) -> None:
    path = write(tmp_path, 2)
    with path.open("ab") as file:
        file.write(bytes(100_000))
    append(path, "next", {})
    chain = read_chain(path)
    assert (chain.lines, chain.problems) == (3, ())
    assert "100000 bytes" in chain.torn[0]


def test_on_a_full_disk_the_log_stays_as_it_was(tmp_path: Path) -> None:
    path = write(tmp_path, 2)
    before = path.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    refused = 0
    for room in (0, 1, 100, 200):
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + room, limits[1]))
        try:
            append(path, "next", {})
        except DiskFullError:
            refused += 1
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert path.read_bytes() == before
    assert refused == 4
    append(path, "next", {})
    assert read_chain(path).lines == 3
    assert not verify(path)


def _append_many(path: Path, who: int, count: int) -> None:
    for n in range(count):
        append(path, "counted", {"who": who, "n": n})


def test_eight_processes_that_append_at_once_write_one_chain(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    crowd = [SPAWN.Process(target=_append_many, args=(path, who, 50)) for who in range(8)]
    for process in crowd:
        process.start()
    while any(process.is_alive() for process in crowd):
        if path.exists():
            assert not verify(path), "readers see a whole chain at any time"
        time.sleep(0.05)
    assert [process.exitcode for process in crowd] == [0] * 8
    chain = read_chain(path)
    assert (chain.lines, chain.problems, chain.torn) == (400, (), ())
    facts = [json.loads(line)["facts"] for line in path.read_text().splitlines()]
    for who in range(8):
        assert [fact["n"] for fact in facts if fact["who"] == who] == list(range(50))


def _append_until_killed(path: Path, said: Path) -> None:
    n = sum(1 for _ in said.open()) if said.exists() else 0
    with said.open("a") as file:
        while True:
            append(path, "counted", {"n": n})
            file.write(f"{n}\n")
            file.flush()
            n += 1


def test_a_process_killed_while_it_appends_loses_nothing_that_was_said(tmp_path: Path) -> None:
    path, said = tmp_path / "audit.jsonl", tmp_path / "said"
    rng = random.Random(4)
    for _ in range(6):
        process = SPAWN.Process(target=_append_until_killed, args=(path, said))
        seen = path.stat().st_size if path.exists() else 0
        process.start()
        while not path.exists() or path.stat().st_size < seen + 500:
            time.sleep(0.002)
        time.sleep(rng.uniform(0, 0.02))
        os.kill(process.pid or 0, signal.SIGKILL)
        process.join()
        assert not verify(path)
    chain = read_chain(path)
    counted = [json.loads(line)["facts"]["n"] for line in path.read_text().splitlines()]
    assert set(counted) >= set(map(int, said.read_text().split()))
    assert chain.lines == len(counted)


def test_a_log_that_somebody_keeps_locked_is_not_waited_for_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path, 1)
    monkeypatch.setattr(_alone, "PATIENCE_S", 0.1)
    with path.open("ab") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(BusyError, match="locked"):
            append(path, "next", {})
    append(path, "next", {})
    assert read_chain(path).lines == 2


def test_without_locks_a_lease_takes_their_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", unknown)
    path = write(tmp_path, 3)
    assert not verify(path)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["audit.head", "audit.jsonl"]


def test_a_line_is_of_numbers_and_words(tmp_path: Path) -> None:
    path = write(tmp_path, 1)
    with pytest.raises(ValueError):
        append(path, "next", {"density": float("nan")})
    with pytest.raises(ValueError, match="at most"):
        append(path, "next", {"why": "x" * (1 << 20)})
    assert read_chain(path).lines == 1
    assert not verify(path)
