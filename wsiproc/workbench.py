"""What a worker process keeps open between tiles: sessions, slides, plans.

One workbench a process.  A network session is dear to make and is shared; a slide's handle serves
one reader at a time, so that no backend has to be thread-safe.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from wsiproc.errors import BusyError
from wsiproc.model import Model, Session, load_model, open_session
from wsiproc.plan import Job, Planned, read_plan
from wsiproc.slide import Slide, open_slide

SLIDES_OPEN = 4
"""Idle slide handles kept: tiles of a few slides interleave, and each handle holds a cache."""

_SlideKey = tuple[Path, tuple[int, ...], float | None, str | None]


class Workbench:
    """Sessions, slides and plans of one process, made on first use.

    Parameters
    ----------
    threads
        Threads of inference for sessions whose job does not say.
    """

    def __init__(self, threads: int = 0) -> None:
        self._threads = threads
        self._lock = threading.Lock()
        self._sessions: dict[tuple[object, ...], tuple[Model, Session, threading.Lock]] = {}
        self._slides: OrderedDict[_SlideKey, list[Slide]] = OrderedDict()
        self._plans: OrderedDict[Path, Planned] = OrderedDict()
        self._busy_since: dict[int, tuple[float, float]] = {}

    def model(self, job: Job) -> Model:
        """The job's model, verified."""
        return self._session(job)[0]

    @contextmanager
    def session(self, job: Job) -> Iterator[Session]:
        """The job's session, for one thread at a time."""
        _, session, lock = self._session(job)
        with lock:
            yield session

    def _session(self, job: Job) -> tuple[Model, Session, threading.Lock]:
        how = job.execution
        threads = how.threads or self._threads
        key = (job.model, job.card, how.device, how.precision, how.window_px, how.batch, threads)
        with self._lock:
            if key not in self._sessions:
                model = load_model(job.model, card=job.card)
                session = open_session(
                    model,
                    device=how.device,
                    precision=how.precision,
                    window=how.window_px,
                    batch=how.batch,
                    threads=threads,
                )
                self._sessions[key] = (model, session, threading.Lock())
            return self._sessions[key]

    @contextmanager
    def slide(self, job: Job, backend: str | None = None) -> Iterator[Slide]:
        """A handle of the job's slide, nobody else's meanwhile; put back if reading went well.

        Give the `backend` that the plan names, so that one backend reads the whole slide.
        """
        # Workers outlive batches: another slide may stand at the same path by now.
        key = (job.slide, _stamp(job.slide), job.science.mpp, backend)
        with self._lock:
            idle = self._slides.get(key)
            slide = idle.pop() if idle else None
        if slide is None:
            slide = open_slide(job.slide, mpp=job.science.mpp, backend=backend)
        try:
            yield slide
        except BaseException:
            slide.close()
            raise
        surplus = []
        with self._lock:
            self._slides.setdefault(key, []).append(slide)
            self._slides.move_to_end(key)
            while sum(map(len, self._slides.values())) > SLIDES_OPEN:
                oldest = next(k for k, handles in self._slides.items() if handles)
                surplus.append(self._slides[oldest].pop())
                if not self._slides[oldest]:
                    del self._slides[oldest]
        for handle in surplus:
            handle.close()

    def plan(self, folder: Path, job: Job) -> Planned:
        """The stored plan in `folder`, read once."""
        with self._lock:
            if folder in self._plans:
                self._plans.move_to_end(folder)
                return self._plans[folder]
        planned = read_plan(folder, job.science)
        if planned is None:
            raise BusyError("another run has just finished this job: run again to see its result")
        with self._lock:
            self._plans[folder] = planned
            while len(self._plans) > SLIDES_OPEN:
                self._plans.popitem(last=False)
        return planned

    @contextmanager
    def watched(self, limit_s: float) -> Iterator[None]:
        """Mark this thread as working on something that takes `limit_s` seconds at most."""
        me = threading.get_ident()
        self._busy_since[me] = (time.monotonic(), limit_s)
        try:
            yield
        finally:
            self._busy_since.pop(me, None)

    def overdue(self) -> bool:
        """Whether any thread has been at its work for longer than it may."""
        now = time.monotonic()
        return any(now - since > limit for since, limit in list(self._busy_since.values()))

    def close(self) -> None:
        """Close everything."""
        with self._lock:
            for _, session, _ in self._sessions.values():
                session.close()
            for handles in self._slides.values():
                for slide in handles:
                    slide.close()
            self._sessions.clear()
            self._slides.clear()
            self._plans.clear()


def _stamp(path: Path) -> tuple[int, ...]:
    """What changes when another file takes a path, or the file there is written to."""
    try:
        facts = path.stat()
    except OSError:
        return ()  # opening it says what is wrong
    return facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns
