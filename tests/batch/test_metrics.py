"""Prometheus can read the metrics, and alerts on them mean what they say."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from wsiproc.batch import metrics
from wsiproc.batch.nights import lease_of_night
from wsiproc.batch.records import Night, Record, Trouble, write_night
from wsiproc.errors import DiskFullError, StoreError
from wsiproc.store import disk
from wsiproc.store.lease import lease

SHA = "ab" * 32


def done(slide_id: str, nuclei: int = 100, seconds: float = 40.0) -> Record:
    return Record(slide_id=slide_id, state="done", nuclei=nuclei, seconds=seconds)


def waiting(slide_id: str, changed: str) -> Record:
    trouble = Trouble(kind="not_ready", error="NotReadyError", message="it still grows")
    return Record(slide_id=slide_id, state="waiting", trouble=trouble, changed=changed)


def night(day: int, *, code: int | None = 0, **more: object) -> Night:
    finished = f"2026-11-{day:02}T05:00:00+00:00" if code is not None else ""
    facts = {
        "started": f"2026-11-{day:02}T01:00:00+00:00",
        "token": f"{day:08x}",
        "finished": finished,
        "exit_code": code,
        "model": "unet",
        "model_sha256": SHA,
        "seconds": 14400.0,
    }
    return Night.model_validate(facts | more)


def told(
    folder: Path, records: Iterable[Record] = (), nights: Iterable[Night] = ()
) -> dict[str, float]:
    """All samples, by name and labels as Prometheus spells them."""
    metrics.write(folder / "metrics.prom", records, nights, folder)
    text = (folder / "metrics.prom").read_text()
    samples = {}
    for family in text_string_to_metric_families(text):
        assert family.documentation
        assert family.type in ("gauge", "counter", "histogram")
        for sample in family.samples:
            labels = ",".join(f'{k}="{v}"' for k, v in sample.labels.items())
            key = sample.name + (f"{{{labels}}}" if labels else "")
            assert key not in samples, "one sample a series"
            samples[key] = sample.value
    return samples


def stamp(day: int, hour: int) -> float:
    from datetime import UTC, datetime

    return datetime(2026, 11, day, hour, tzinfo=UTC).timestamp()


def test_slides_are_counted_by_state_and_by_what_is_wrong(tmp_path: Path) -> None:
    said = told(tmp_path, [done("s1"), done("s2", 50), waiting("s3", "2026-11-02T02:00:00+00:00")])
    assert said['wsiproc_batch_slides{state="done"}'] == 2
    assert said['wsiproc_batch_slides{state="waiting"}'] == 1
    assert said['wsiproc_batch_slides{state="quarantined"}'] == 0
    assert said['wsiproc_batch_troubled_slides{kind="not_ready"}'] == 1
    assert said['wsiproc_batch_troubled_slides{kind="bug"}'] == 0
    assert said["wsiproc_batch_nuclei"] == 150
    assert said["wsiproc_batch_out_free_bytes"] > 0


def test_only_a_night_without_failures_moves_the_last_success(tmp_path: Path) -> None:
    last_success = "wsiproc_batch_last_success_timestamp_seconds"
    assert told(tmp_path)[last_success] == 0
    assert told(tmp_path, nights=[night(1, code=10)])[last_success] == 0
    assert told(tmp_path, nights=[night(1)])[last_success] == stamp(1, 5)
    for code in (10, 20, 75, 124, 143, None):
        said = told(tmp_path, nights=[night(1), night(2, code=code)])
        assert said[last_success] == stamp(1, 5)
    said = told(tmp_path, nights=[night(2, code=10), night(1)])
    assert said["wsiproc_batch_last_run_exit_code"] == 10
    assert said["wsiproc_batch_last_run_timestamp_seconds"] == stamp(2, 5)


def test_a_slide_waits_since_the_night_that_first_saw_it(tmp_path: Path) -> None:
    oldest = "wsiproc_batch_oldest_waiting_timestamp_seconds"
    assert oldest not in told(tmp_path, [done("s1")])
    records = [
        waiting("s2", "2026-11-03T02:00:00+00:00"),
        waiting("s3", "2026-11-03T02:00:00+00:00"),
    ]
    assert told(tmp_path, records)[oldest] == stamp(3, 2)
    nights = [night(1, slides=("s1",)), night(2, slides=("s2",)), night(3, slides=("s3", "s2"))]
    assert told(tmp_path, records, nights)[oldest] == stamp(2, 1)


def test_retries_and_published_slides_are_added_up_over_nights(tmp_path: Path) -> None:
    nights = [
        night(1, done=3, retries={"resource": 2}),
        night(2, done=4, retries={"resource": 1, "bug": 1}),
    ]
    said = told(tmp_path, nights=nights)
    assert said['wsiproc_batch_retries_total{kind="resource"}'] == 3
    assert said['wsiproc_batch_retries_total{kind="bug"}'] == 1
    assert said['wsiproc_batch_retries_total{kind="infrastructure"}'] == 0
    assert said["wsiproc_batch_published_slides_total"] == 7


def test_how_long_slides_took_is_a_histogram(tmp_path: Path) -> None:
    said = told(tmp_path, [done("s1", seconds=9), done("s2", seconds=30), done("s3", seconds=1e4)])
    name = "wsiproc_batch_slide_duration_seconds"
    assert said[f'{name}_bucket{{le="10"}}'] == 1
    assert said[f'{name}_bucket{{le="30"}}'] == 2
    assert said[f'{name}_bucket{{le="7200"}}'] == 2
    assert said[f'{name}_bucket{{le="+Inf"}}'] == said[f"{name}_count"] == 3
    assert said[f"{name}_sum"] == pytest.approx(10039)


def test_a_night_runs_while_its_lease_is_held_and_not_after_it_was_killed(tmp_path: Path) -> None:
    tonight = night(2, code=None)
    write_night(tmp_path, tonight)
    assert told(tmp_path, nights=[tonight])["wsiproc_batch_running"] == 0
    with lease(lease_of_night(tmp_path, tonight)):
        nights = [night(1, code=None), tonight]
        assert told(tmp_path, nights=nights[1:])["wsiproc_batch_running"] == 1
    assert told(tmp_path, nights=nights)["wsiproc_batch_running"] == 0


def test_no_slide_is_named(tmp_path: Path) -> None:
    slide = "s0123456789abcdef0123"
    told(tmp_path, [done(slide), waiting("s2", "")], [night(1, slides=(slide,))])
    assert slide not in (tmp_path / "metrics.prom").read_text()


def test_a_model_may_be_called_anything(tmp_path: Path) -> None:
    name = 'a "b"\\c\nd'
    said = told(tmp_path, nights=[night(1, model=name)])
    assert any(name in key for key in said)


def test_a_disk_that_fills_up_leaves_the_old_metrics(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told(tmp_path, [done("s1")])
    before = (tmp_path / "metrics.prom").read_bytes()

    def full(_: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(disk, "sync", full)
    with pytest.raises(DiskFullError):
        metrics.write(tmp_path / "metrics.prom", [], [], tmp_path)
    assert (tmp_path / "metrics.prom").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.prom"]


def test_a_place_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="metrics"):
        metrics.write(tmp_path / "file" / "metrics.prom", [], [], tmp_path)
