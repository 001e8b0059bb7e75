"""Looking at a batch tells how it stands, and finds whatever is not as it was published."""

from __future__ import annotations

import os
import random
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from wsiproc.batch import look
from wsiproc.batch.look import check, check_all, standing, things_to_check
from wsiproc.batch.nights import lease_of_night
from wsiproc.batch.records import Night, Record, Trouble, records_folder, write_night, write_record
from wsiproc.errors import ConfigError, StoreError
from wsiproc.store.lease import lease
from wsiproc.store.manifest import MANIFEST

Publish = Callable[[Path, str], Path]


def night(day: int, **more: object) -> Night:
    facts = {"started": f"2026-11-{day:02}T01:00:00+00:00", "token": f"{day:08x}", "model": "unet"}
    return Night.model_validate(facts | {"model_sha256": "ab" * 32} | more)


def waiting(slide_id: str) -> Record:
    trouble = Trouble(kind="resource", error="DiskFullError", message="the disk is full")
    changed = "2026-11-09T02:00:00+00:00"
    return Record(slide_id=slide_id, state="waiting", trouble=trouble, changed=changed)


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at % len(data)] ^= 1 + at % 255
    path.write_bytes(data)


def test_a_batch_stands_as_its_records_say(tmp_path: Path) -> None:
    write_record(tmp_path, Record(slide_id="s1", state="done"))
    write_record(tmp_path, waiting("s2"))
    finished = night(7, finished="2026-11-07T02:00:00+00:00", slides=("s1",))
    killed, running = night(8, slides=("s2",)), night(9, slides=("s2",))
    for each in (running, finished, killed):
        write_night(tmp_path, each)
    with lease(lease_of_night(tmp_path, running)):
        lease_of_night(tmp_path, killed).write_text("{}")
        os.utime(lease_of_night(tmp_path, killed), (1e9, 1e9))
        found = standing(tmp_path)
    assert found.counts == {"done": 1, "waiting": 1, "quarantined": 0}
    assert found.since == {"s2": killed.started}
    assert [(n.token, state) for n, state in found.nights] == [
        (finished.token, "finished"),
        (killed.token, "broken off"),
        (running.token, "running"),
    ]


def test_where_no_batch_has_run_that_is_said(tmp_path: Path) -> None:
    for place in (tmp_path, tmp_path / "missing"):
        with pytest.raises(ConfigError, match="no batch"):
            standing(place)
    with pytest.raises(StoreError):
        things_to_check(tmp_path / "missing")


@pytest.mark.slow
def test_ten_thousand_records_are_read_in_the_time_of_a_few_plain_reads(tmp_path: Path) -> None:
    """A ratio, since the suite times nothing: a record costs no more than thirty reads of it."""
    for n in range(200):
        write_record(tmp_path, waiting(f"s{n:020x}"))
    folder = records_folder(tmp_path)
    record = (folder / f"s{0:020x}.json").read_bytes()
    for n in range(200, 10_000):
        slide_id = f"s{n:020x}"
        (folder / f"{slide_id}.json").write_bytes(
            record.replace(b"s" + b"0" * 20, slide_id.encode())
        )
    write_night(tmp_path, night(9, slides=tuple(f"s{n:020x}" for n in range(10_000))))
    began = time.process_time()
    for path in sorted(folder.glob("*.json")):
        path.read_bytes()
    plain = time.process_time() - began
    began = time.process_time()
    found = standing(tmp_path)
    assert time.process_time() - began < 30 * plain
    assert found.counts["waiting"] == len(found.since) == 10_000


@pytest.mark.slow
def test_a_byte_that_changes_in_any_of_200_results_is_found(
    tmp_path: Path, published: Publish
) -> None:
    rng = random.Random(20261121)
    for n in range(200):
        published(tmp_path, f"s{n:020x}")
    assert not any(checked.problems for checked in check_all(tmp_path))
    files = []
    for n in range(200):
        file = rng.choice(sorted((tmp_path / f"s{n:020x}").iterdir()))
        flip(file, rng.randrange(file.stat().st_size))
        files.append(file.name)
    found = {checked.slide_id: checked.problems for checked in check_all(tmp_path)}
    assert len(found) == 200
    assert [n for n in range(200) if not found[f"s{n:020x}"]] == []
    assert set(files) >= {MANIFEST, "nuclei.parquet", "overview.png"}


def test_no_byte_of_a_manifest_can_change_unseen(tmp_path: Path, published: Publish) -> None:
    path = published(tmp_path, "s1") / MANIFEST
    whole = path.read_bytes()
    for at in range(0, len(whole), 7):
        path.write_bytes(whole)
        flip(path, at)
        assert check(tmp_path, "s1").problems, whole[at : at + 20]
    path.write_bytes(whole)
    assert check(tmp_path, "s1") == look.Checked("s1", is_result=True)


def test_a_result_without_its_manifest_is_found(tmp_path: Path, published: Publish) -> None:
    (published(tmp_path, "s1") / MANIFEST).unlink()
    assert check(tmp_path, "s1").problems == ("the result has no manifest.json",)


def test_a_result_under_another_name_is_found(tmp_path: Path, published: Publish) -> None:
    published(tmp_path, "s1").rename(tmp_path / "s2")
    assert check(tmp_path, "s2").problems == ("the manifest is of another slide",)


def test_records_and_results_are_compared(tmp_path: Path, published: Publish) -> None:
    for slide_id in ("s1", "s2", "s3"):
        published(tmp_path, slide_id)
    assert not any(checked.notes for checked in check_all(tmp_path)), "without a batch"
    write_record(tmp_path, Record(slide_id="s1", state="done"))
    write_record(tmp_path, waiting("s3"))
    write_record(tmp_path, Record(slide_id="s4", state="done"))
    write_record(tmp_path, waiting("s5"))
    (records_folder(tmp_path) / "s6.json").write_text("{")
    found = {checked.slide_id: checked for checked in check_all(tmp_path)}
    assert found["s1"] == look.Checked("s1", is_result=True)
    assert "no record" in found["s2"].notes[0]
    assert "waiting" in found["s3"].notes[0]
    assert found["s4"].problems == ("its record says done, but there is no result",)
    assert found["s5"] == look.Checked("s5")
    assert found["s6"].problems == ("its record cannot be read",)
    assert {slide for slide, checked in found.items() if checked.problems} == {"s4", "s6"}


def test_folders_of_others_are_left_alone(tmp_path: Path, published: Publish) -> None:
    published(tmp_path, "s1")
    (tmp_path / "letters").mkdir()
    (tmp_path / "summary.html").write_text("page")
    found = {checked.slide_id: checked for checked in check_all(tmp_path)}
    assert set(found) == {"s1", "letters"}
    assert not found["letters"].problems


def test_a_result_that_is_replaced_meanwhile_is_looked_at_again(
    tmp_path: Path, published: Publish, monkeypatch: pytest.MonkeyPatch
) -> None:
    published(tmp_path, "s1")
    before, looks = look.verify, []

    def replaced_meanwhile(folder: Path) -> list[str]:
        looks.append(folder)
        if len(looks) > 1:
            return before(folder)
        shutil.rmtree(folder)
        published(tmp_path, "s1")
        return ["nuclei.parquet: No such file or directory"]

    monkeypatch.setattr(look, "verify", replaced_meanwhile)
    assert not check(tmp_path, "s1").problems
    assert len(looks) == 2
