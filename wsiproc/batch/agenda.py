"""What is to be done next, of all slides of a batch: the cluster's source.  Knows no Dask.

A slide's way::

    looked at ──► ready ──► identified ──► a job ──► done
        │  ▲                    │             │
        └──┘ not ready          │             ├──► again, after a pause
                                │             └──► quarantined, or waiting for the next run
                                └──► done before · the same as another · known to be bad
"""

from __future__ import annotations

import heapq
import random
import time
from collections import deque
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from wsiproc.batch.identity import slide_id, unseen_id
from wsiproc.batch.ready import Look, is_ready
from wsiproc.batch.records import Kind, Trouble, drop_record, read_record
from wsiproc.batch.retry import (
    Policy,
    ends_the_batch,
    is_elsewhere,
    kind_of,
    pause_s,
    short_of_memory,
    trouble_of,
)
from wsiproc.batch.slides import Books, Site, Slide, Wish
from wsiproc.batch.sources import Candidate
from wsiproc.batch.standing import standing
from wsiproc.cluster import Begin, Done, Failed, Identified, Outcome
from wsiproc.errors import NotReadyError, StorageError
from wsiproc.plan import Job
from wsiproc.slide.arrival import Seen
from wsiproc.store.manifest import params_digest

ELSEWHERE_S, ELSEWHERE_LONGEST_S = 5.0, 60.0
"""First pause before looking again for what another batch is at work on; it doubles."""


class Agenda:
    """A batch's slides, in the order in which they can be done.

    Parameters
    ----------
    candidates
        All slides.
    site, wish, policy
        What holds for all of them.
    books
        Is told what becomes of each.
    look
        Looks at a slide's files.
    check
        Raises to end the batch.
    clock, chance
        Seconds of a monotonic clock, and random numbers in [0, 1).
    """

    def __init__(
        self,
        candidates: Sequence[Candidate],
        site: Site,
        wish: Wish,
        policy: Policy,
        *,
        books: Books,
        look: Callable[[Path], Look],
        check: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._site, self._wish, self._policy = site, wish, policy
        self._books, self._look, self._clock, self._chance = books, look, clock, chance
        self.check = check
        self._new = deque(Slide(c, unseen_id(site.key, c.path)) for c in candidates)
        self._jobs: deque[Slide] = deque()
        self._later: list[tuple[float, int, Slide]] = []
        self._idle: list[tuple[float, int, Slide]] = []
        self._numbered = 0
        self._at_work: dict[str, Slide] = {}
        self._taken: set[str] = set()
        self.matched = wish.only is None
        """Whether the slide that was asked for is among them."""

    def take(self) -> Begin | None:
        """The next slide to begin with; jobs before slides that are to be identified."""
        now = self._clock()
        for waiting in (self._later, self._idle):
            while waiting and waiting[0][0] <= now:
                slide = heapq.heappop(waiting)[2]
                (self._new if slide.seen is None else self._jobs).append(slide)
        while self._jobs:
            if (begin := self._job(self._jobs.popleft())) is not None:
                return begin
        while self._new:
            self.check()
            if (begin := self._first_steps(self._new.popleft())) is not None:
                return begin
        return None

    def exhausted(self) -> bool:
        """Whether nothing is left that the batch would wait for."""
        return not (self._new or self._jobs or self._later)

    def left(self) -> list[Slide]:
        """Slides that have not come to their end."""
        waiting = [slide for _, _, slide in self._later]
        for slide in self._new:
            # One that was not looked at is called what it was called the last time.
            slide.slide_id = self._site.names.id_of(slide.candidate.path) or slide.slide_id
        return [*self._at_work.values(), *self._jobs, *self._new, *waiting]

    def hear(self, outcome: Outcome) -> None:
        """Take in what became of a slide.

        Raises
        ------
        ConfigError, ModelError, AlreadyThereError
            If no slide could fare better.
        """
        slide = self._at_work.pop(outcome.job.slide_id)
        match outcome:
            case Identified(seen=seen):
                self._remember(slide, seen)
                if self._identified(slide, seen):
                    self._jobs.append(slide)
            case Done(finished=finished):
                self._books.published(slide, finished.summary)
            case Failed():
                self._failed(slide, outcome)

    def _first_steps(self, slide: Slide) -> Begin | None:
        """Look at a slide's files and, if it is ready, have it identified."""
        path = slide.candidate.path
        if not self._wanted(slide):
            return None
        if self._site.names.id_of(path) is None:
            self._site.names.remember(path, slide.slide_id)  # so that people can find it
        try:
            look = self._look(path)
        except (NotReadyError, StorageError) as error:
            self._failed(slide, Failed(self._prepared(slide), error))
            return None
        again = slide.first is not None
        if slide.first is None or slide.first.stamp != look.stamp:
            slide.first = look
        slide.look = look
        if not (is_ready(look, slide.first, self._policy.stable_for_s) or self._seen_before(slide)):
            self._not_ready(slide, again)
            return None
        known = self._site.names.fingerprint(path, look.stamp)
        if known is not None:
            wanted = self._identified(slide, Seen(known, look.stamp))
            return self._job(slide) if wanted else None
        self._at_work[slide.slide_id] = slide
        return Begin(self._prepared(slide), "identify")

    def _wanted(self, slide: Slide) -> bool:
        """Whether a slide may be the one asked for, as far as that is known."""
        only = self._wish.only
        if only is None:
            return True
        known = self._site.names.id_of(slide.candidate.path)
        self.matched |= only in (slide.slide_id, known)
        return only == slide.slide_id or known in (None, only)

    def _seen_before(self, slide: Slide) -> bool:
        """Whether an earlier run saw the same, long enough ago."""
        record = read_record(self._site.out, slide.slide_id)
        if record is None or slide.look is None or record.stamp != slide.look.stamp.digest:
            return False
        passed = datetime.now(UTC) - datetime.fromisoformat(record.changed)
        return passed >= timedelta(seconds=self._policy.stable_for_s)

    def _not_ready(self, slide: Slide, again: bool) -> None:
        """Look again after a while; the batch waits for the second look, and for no further one."""
        if again:
            what = "its files are still changing"
            trouble = Trouble(kind="not_ready", error="NotReadyError", message=what)
            self._books.settled(slide, "waiting", trouble)
        self._wait(slide, self._policy.stable_for_s, idle=again)

    def _remember(self, slide: Slide, seen: Seen) -> None:
        names, path = self._site.names, slide.candidate.path
        now, before = slide_id(self._site.key, seen.fingerprint), names.id_of(path)
        names.remember(path, now, seen)
        if before not in (None, now) and not (self._site.out / before).exists():
            # What the file was before, half a copy perhaps, there is no more.
            drop_record(self._site.out, before)

    def _identified(self, slide: Slide, seen: Seen) -> bool:
        """A slide's content is known: whether it is wanted, and not another's as well."""
        path_id, only = slide.slide_id, self._wish.only
        slide.seen, slide.slide_id = seen, slide_id(self._site.key, seen.fingerprint)
        self._books.renamed(path_id, slide)
        if only not in (None, path_id, slide.slide_id) or slide.slide_id in self._taken:
            return False
        self.matched = True
        self._taken.add(slide.slide_id)
        return True

    def _job(self, slide: Slide) -> Begin | None:
        """Have a slide run, if anything is left to do for it."""
        site, science = self._site, slide.candidate.science
        assert slide.seen is not None
        there = standing(
            site.out,
            slide.slide_id,
            fingerprint=slide.seen.fingerprint,
            model_sha256=site.model_sha256,
            science=science,
        )
        if isinstance(there, dict):
            self._books.published(slide, there)
            return None
        if not (slide.tries or slide.meetings) and (given_up := self._given_up(slide)) is not None:
            self._books.settled(slide, "quarantined", given_up)
            return None
        self._at_work[slide.slide_id] = slide
        self._books.begun(slide)
        return Begin(self._prepared(slide, replace_it=there == "damaged"))

    def _given_up(self, slide: Slide) -> Trouble | None:
        """Why a slide is in quarantine, if nothing has changed since."""
        record = read_record(self._site.out, slide.slide_id)
        if record is None or record.state != "quarantined" or self._wish.retry_failed:
            return None
        assert slide.seen is not None
        same = (
            record.stamp == slide.seen.stamp.digest
            and record.model_sha256 == self._site.model_sha256
            and record.settings == params_digest(slide.candidate.science)
            and record.software.get("wsiproc") == self._site.version
        )
        return record.trouble if same and self._wish.only is None else None

    def _failed(self, slide: Slide, failed: Failed) -> None:
        if is_elsewhere(failed):
            pause = min(ELSEWHERE_LONGEST_S, ELSEWHERE_S * 2.0**slide.meetings)
            slide.meetings += 1
            self._wait(slide, pause)
            return
        if ends_the_batch(failed):
            self._at_work[slide.slide_id] = slide
            raise failed.error
        kind = kind_of(failed, slide.look, self._policy)
        trouble = self.trouble(slide, failed, kind)
        if kind in ("input", "bug"):
            self._books.settled(slide, "quarantined", trouble)
        elif kind == "not_ready":
            if isinstance(failed.error, NotReadyError):
                self._forget_content(slide)
            self._books.settled(slide, "waiting", trouble)
        else:
            self._try_again(slide, failed, trouble)

    def _forget_content(self, slide: Slide) -> None:
        """The files are not those that were identified; look again if there is time."""
        if slide.seen is not None:
            old = slide.slide_id
            self._taken.discard(old)
            slide.seen = slide.first = slide.look = None
            slide.slide_id = unseen_id(self._site.key, slide.candidate.path)
            self._books.renamed(old, slide)
        self._wait(slide, self._policy.stable_for_s, idle=True)

    def _try_again(self, slide: Slide, failed: Failed, trouble: Trouble) -> None:
        slide.tries += 1
        if slide.tries >= self._policy.tries:
            self._books.settled(slide, "waiting", trouble)
            return
        if short_of_memory(failed.error):
            slide.batch = max(1, (slide.batch or failed.batch) // 2)
        self._books.retried(slide, trouble)
        self._wait(slide, pause_s(slide.tries, self._policy, self._chance()))

    def _wait(self, slide: Slide, seconds: float, *, idle: bool = False) -> None:
        self._numbered += 1
        due = self._clock() + seconds
        heapq.heappush(self._idle if idle else self._later, (due, self._numbered, slide))

    def trouble(self, slide: Slide, failed: Failed, kind: Kind) -> Trouble:
        """What stands in a slide's record, with the command that runs it alone."""
        again = f"wsiproc batch SLIDES --model {self._site.model} --out OUT --only {slide.slide_id}"
        return trouble_of(failed, kind, slide=slide.candidate.path, reproduce=again)

    def _prepared(self, slide: Slide, *, replace_it: bool = False) -> Job:
        site = self._site
        how = site.execution
        return Job(
            slide=slide.candidate.path,
            slide_id=slide.slide_id,
            model=site.model,
            out=site.out,
            science=slide.candidate.science,
            execution=how.model_copy(update={"batch": slide.batch}) if slide.batch else how,
            replace=replace_it,
            seen=slide.seen,
        )
