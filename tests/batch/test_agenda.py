"""What a batch does next, by a clock that the tests turn."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from wsiproc.batch.agenda import Agenda
from wsiproc.batch.identity import Names, slide_id, unseen_id
from wsiproc.batch.ready import Look
from wsiproc.batch.records import Record, State, Trouble, write_record
from wsiproc.batch.retry import Policy
from wsiproc.batch.slides import Site, Slide, Wish
from wsiproc.batch.sources import Candidate
from wsiproc.cluster import Done, Failed, Identified
from wsiproc.config import Execution, Science
from wsiproc.errors import (
    BusyError,
    ConfigError,
    DiskFullError,
    NotReadyError,
    SlideFormatError,
    SlideReadError,
    TimeLimitError,
)
from wsiproc.finish import Finished
from wsiproc.slide.arrival import Seen, Stamp
from wsiproc.store.manifest import params_digest

KEY = b"key"
POLICY = Policy(stable_for_s=100, pause_s=10)


@dataclass
class Book:
    """Keeps what it is told."""

    told: list[tuple[str, str]] = field(default_factory=list)
    states: dict[str, State] = field(default_factory=dict)
    troubles: dict[str, Trouble | None] = field(default_factory=dict)

    def renamed(self, old: str, slide: Slide) -> None:
        self.states.pop(old, None)

    def begun(self, slide: Slide) -> None:
        self.told.append(("begun", slide.slide_id))

    def retried(self, slide: Slide, trouble: Trouble) -> None:
        self.told.append(("retried", trouble.kind))

    def settled(self, slide: Slide, state: State, trouble: Trouble | None) -> None:
        self.told.append((state, slide.slide_id))
        self.states[slide.slide_id], self.troubles[slide.slide_id] = state, trouble

    def published(self, slide: Slide, summary: dict[str, Any]) -> None:
        self.told.append(("published", slide.slide_id))
        self.states[slide.slide_id] = "done"


@dataclass
class World:
    """File system, clock and cluster of a test."""

    home: Path
    now: float = 0.0
    stamps: dict[str, Stamp] = field(default_factory=dict)
    quiet: dict[str, float] = field(default_factory=dict)
    book: Book = field(default_factory=Book)
    check: Callable[[], None] = lambda: None

    def look(self, path: Path) -> Look:
        if path.name not in self.stamps:
            raise NotReadyError("not there")
        quiet_s = self.quiet.get(path.name, 1e6)
        return Look(self.stamps[path.name], self.now, quiet_s, announced=False)

    def agenda(self, *slides: str, wish: Wish | None = None, policy: Policy = POLICY) -> Agenda:
        for name in slides:
            self.stamps.setdefault(name, stamp(name))
        return Agenda(
            [Candidate(self.home / name, Science()) for name in slides],
            Site(
                out=self.home / "out",
                model="m",
                model_sha256="m256",
                execution=Execution(),
                key=KEY,
                names=Names(self.home / "site.key"),
                version="1",
            ),
            wish or Wish(),
            policy,
            books=self.book,
            look=self.look,
            check=self.check,
            clock=lambda: self.now,
            chance=lambda: 0.0,
        )

    def run(self, agenda: Agenda) -> list[str]:
        """Let every slide that can be begun succeed; the ids of those that were run."""
        ran = []
        while (begin := agenda.take()) is not None:
            if begin.what == "identify":
                name = begin.job.slide.name
                agenda.hear(Identified(begin.job, Seen(f"print of {name}", self.stamps[name])))
            else:
                ran.append(begin.job.slide_id)
                agenda.hear(Done(begin.job, Finished({"status": "done"})))
        return ran


def stamp(name: str) -> Stamp:
    return Stamp(1, 9, 0.0, f"stamp of {name}")


def id_of(name: str) -> str:
    return slide_id(KEY, f"print of {name}")


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def begin_of(agenda: Agenda, world: World) -> Any:
    """The one slide's job, identified."""
    first = agenda.take()
    assert first is not None
    if first.what == "plan":
        return first.job
    name = first.job.slide.name
    agenda.hear(Identified(first.job, Seen(f"print of {name}", world.stamps[name])))
    second = agenda.take()
    assert second is not None
    return second.job


def test_slides_are_identified_run_and_called_by_their_content(world: World) -> None:
    agenda = world.agenda("a.svs", "b.svs")
    assert world.run(agenda) == [id_of("a.svs"), id_of("b.svs")]
    assert agenda.exhausted()
    assert not agenda.left()
    assert set(world.book.states.values()) == {"done"}


def test_a_job_knows_the_fingerprint_and_the_files_it_was_taken_of(world: World) -> None:
    job = begin_of(world.agenda("a.svs"), world)
    assert job.seen == Seen("print of a.svs", stamp("a.svs"))


def test_what_was_identified_once_is_not_read_again(world: World) -> None:
    world.run(world.agenda("a.svs"))
    begin = world.agenda("a.svs").take()
    assert begin is not None
    assert begin.what == "plan"


def test_one_content_under_two_names_is_one_slide(world: World) -> None:
    agenda = world.agenda("a.svs", "copy.svs")
    ran = []
    while (begin := agenda.take()) is not None:
        if begin.what == "identify":
            agenda.hear(Identified(begin.job, Seen("same", world.stamps[begin.job.slide.name])))
        else:
            ran.append(begin.job.slide_id)
    assert ran == [slide_id(KEY, "same")]


def test_jobs_go_before_slides_that_are_to_be_identified(world: World) -> None:
    agenda = world.agenda("a.svs", "b.svs")
    job = begin_of(agenda, world)
    assert job.slide.name == "a.svs"


def test_a_fresh_slide_is_waited_for_and_taken_while_others_work(world: World) -> None:
    agenda = world.agenda("a.svs", "b.svs")
    world.quiet["a.svs"] = 0.0
    assert world.run(agenda) == [id_of("b.svs")]
    assert not agenda.exhausted()
    world.now = 100.0
    assert world.run(agenda) == [id_of("a.svs")]
    assert agenda.exhausted()


def test_a_slide_that_keeps_growing_is_left_to_the_next_run(world: World) -> None:
    agenda = world.agenda("a.svs")
    world.quiet["a.svs"] = 0.0
    assert agenda.take() is None
    world.now, world.stamps["a.svs"] = 100.0, replace(stamp("a.svs"), digest="grown")
    assert agenda.take() is None
    assert agenda.exhausted()
    (trouble,) = world.book.troubles.values()
    assert trouble is not None
    assert trouble.kind == "not_ready"


def test_a_slide_that_stops_growing_while_others_work_is_run_once(world: World) -> None:
    agenda = world.agenda("a.svs")
    world.quiet["a.svs"] = 0.0
    for hour in range(1, 4):
        assert agenda.take() is None
        world.stamps["a.svs"] = replace(stamp("a.svs"), digest=f"grown {hour}")
        world.now += 100.0
    assert world.run(agenda) == []
    world.now += 100.0
    assert world.run(agenda) == [id_of("a.svs")]
    assert world.book.states == {id_of("a.svs"): "done"}


def test_what_an_earlier_run_saw_the_same_is_ready(world: World) -> None:
    waiting = unseen_id(KEY, world.home / "a.svs")
    seen = Record(
        slide_id=waiting,
        state="waiting",
        stamp=stamp("a.svs").digest,
        changed="2020-01-01T00:00:00+00:00",
    )
    (world.home / "out").mkdir()
    write_record(world.home / "out", seen)
    world.quiet["a.svs"] = -3600.0
    assert world.run(world.agenda("a.svs")) == [id_of("a.svs")]


def test_a_listed_slide_that_has_not_come_waits(world: World) -> None:
    agenda = world.agenda("a.svs")
    world.stamps.clear()
    assert agenda.take() is None
    assert agenda.exhausted()
    assert list(world.book.states.values()) == ["waiting"]


def test_files_that_change_after_they_were_read_are_looked_at_again(world: World) -> None:
    agenda = world.agenda("a.svs")
    job = begin_of(agenda, world)
    agenda.hear(Failed(job, NotReadyError("changed")))
    assert world.book.states == {unseen_id(KEY, world.home / "a.svs"): "waiting"}
    world.stamps["a.svs"] = replace(stamp("a.svs"), digest="whole")
    world.now = 100.0
    assert world.run(agenda) == [id_of("a.svs")]


def test_a_bad_slide_goes_to_quarantine_with_a_command_to_run_it_alone(world: World) -> None:
    agenda = world.agenda("a.svs")
    agenda.hear(Failed(begin_of(agenda, world), SlideReadError("unreadable"), (1, 2), 4))
    assert world.book.states == {id_of("a.svs"): "quarantined"}
    trouble = world.book.troubles[id_of("a.svs")]
    assert trouble is not None
    assert (trouble.kind, trouble.tile) == ("input", (1, 2))
    assert f"--only {id_of('a.svs')}" in trouble.reproduce
    assert "a.svs" not in trouble.model_dump_json()


def test_a_slide_that_lacks_memory_is_tried_three_times_with_ever_smaller_batches(
    world: World,
) -> None:
    agenda = world.agenda("a.svs")
    job, batches = begin_of(agenda, world), []
    for pause in (5.0, 10.0):
        agenda.hear(Failed(job, MemoryError(), (0, 0), batch=8))
        assert agenda.take() is None
        assert not agenda.exhausted()
        world.now += pause
        job = begin_of(agenda, world)
        batches.append(job.execution.batch)
    agenda.hear(Failed(job, MemoryError(), (0, 0), batch=2))
    assert batches == [4, 2]
    assert world.book.states == {id_of("a.svs"): "waiting"}
    assert agenda.exhausted()


def test_a_full_disk_is_tried_again_with_the_batch_as_it_was(world: World) -> None:
    agenda = world.agenda("a.svs")
    agenda.hear(Failed(begin_of(agenda, world), DiskFullError("full"), None, 8))
    world.now = 5.0
    assert begin_of(agenda, world).execution == Execution()


def test_a_slide_another_batch_is_at_work_on_is_waited_for(world: World) -> None:
    agenda = world.agenda("a.svs")
    for _ in range(9):
        agenda.hear(Failed(begin_of(agenda, world), BusyError("elsewhere")))
        assert agenda.take() is None
        assert not agenda.exhausted()
        world.now += 60.0
    assert world.run(agenda) == [id_of("a.svs")]


def test_a_bug_in_one_slide_is_not_tried_again_and_leaves_the_others(world: World) -> None:
    agenda = world.agenda("a.svs", "b.svs")
    agenda.hear(Failed(begin_of(agenda, world), KeyError("bug")))
    assert world.book.states == {id_of("a.svs"): "quarantined"}
    assert world.run(agenda) == [id_of("b.svs")]


def test_a_setting_that_suits_no_slide_ends_the_batch(world: World) -> None:
    agenda = world.agenda("a.svs")
    job = begin_of(agenda, world)
    with pytest.raises(ConfigError):
        agenda.hear(Failed(job, ConfigError("no such window")))
    assert [slide.slide_id for slide in agenda.left()] == [id_of("a.svs")]


def quarantine(world: World, **changed: Any) -> None:
    facts: dict[str, Any] = {
        "slide_id": id_of("a.svs"),
        "state": "quarantined",
        "trouble": Trouble(kind="input", error="SlideReadError", message="unreadable"),
        "model_sha256": "m256",
        "software": {"wsiproc": "1"},
        "stamp": stamp("a.svs").digest,
        "settings": params_digest(Science()),
    }
    write_record(world.home / "out", Record(**(facts | changed)))


@pytest.fixture
def known(world: World) -> World:
    (world.home / "out").mkdir()
    Names(world.home / "site.key").remember(
        world.home / "a.svs", id_of("a.svs"), Seen("print of a.svs", stamp("a.svs"))
    )
    return world


def test_a_slide_in_quarantine_rests_there(known: World) -> None:
    quarantine(known)
    assert known.run(known.agenda("a.svs")) == []
    assert known.book.states == {id_of("a.svs"): "quarantined"}


@pytest.mark.parametrize(
    "changed",
    [
        {"model_sha256": "other"},
        {"settings": "other"},
        {"software": {"wsiproc": "0"}},
        {"stamp": "other"},
    ],
)
def test_a_slide_in_quarantine_is_tried_again_when_anything_is_new(
    known: World, changed: dict[str, Any]
) -> None:
    quarantine(known, **changed)
    assert known.run(known.agenda("a.svs")) == [id_of("a.svs")]


@pytest.mark.parametrize("wish", [Wish(retry_failed=True), Wish(only=id_of("a.svs"))])
def test_a_slide_in_quarantine_is_tried_again_when_asked(known: World, wish: Wish) -> None:
    quarantine(known)
    assert known.run(known.agenda("a.svs", wish=wish)) == [id_of("a.svs")]


def test_only_the_slide_asked_for_is_run(known: World) -> None:
    agenda = known.agenda("a.svs", "b.svs", wish=Wish(only=id_of("b.svs")))
    assert known.run(agenda) == [id_of("b.svs")]
    assert agenda.matched
    nobody = known.agenda("a.svs", "b.svs", wish=Wish(only="s0"))
    assert known.run(nobody) == []
    assert not nobody.matched


def test_the_end_of_time_leaves_slides_under_the_names_they_had(known: World) -> None:
    def over() -> None:
        raise TimeLimitError("over")

    known.check = over
    agenda = known.agenda("a.svs", "b.svs")
    with pytest.raises(TimeLimitError):
        agenda.take()
    left = [slide.slide_id for slide in agenda.left()]
    assert left == [id_of("a.svs"), unseen_id(KEY, known.home / "b.svs")]


def test_a_half_copy_leaves_no_record_once_the_whole_has_come(world: World) -> None:
    agenda = world.agenda("a.svs")
    world.quiet["a.svs"] = 500.0
    job = begin_of(agenda, world)
    agenda.hear(Failed(job, SlideFormatError("cut short")))
    assert world.book.states == {id_of("a.svs"): "waiting"}
    write_record(world.home / "out", Record(slide_id=id_of("a.svs"), state="waiting"))
    world.stamps["a.svs"] = replace(stamp("a.svs"), digest="whole")
    later = world.agenda("a.svs")
    begin = later.take()
    assert begin is not None
    later.hear(Identified(begin.job, Seen("whole", world.stamps["a.svs"])))
    records = [p.stem for p in (world.home / "out").rglob("records/*.json")]
    assert id_of("a.svs") not in records
