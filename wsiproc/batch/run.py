"""A batch from its first look at the slides to its exit code."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

from wsiproc.batch import metrics, page
from wsiproc.batch.agenda import Agenda
from wsiproc.batch.identity import Names, site_key
from wsiproc.batch.ledger import Ledger, Told
from wsiproc.batch.nights import lease_of_night
from wsiproc.batch.ready import Look, clock_skew_s, look_at
from wsiproc.batch.records import Night, Record, State, Trouble, read_nights, read_records
from wsiproc.batch.retry import Policy
from wsiproc.batch.slides import Site, Wish
from wsiproc.batch.sources import Candidate, find_slides
from wsiproc.cluster import run_slides
from wsiproc.config import RunConfig
from wsiproc.errors import (
    ConfigError,
    InterruptedRunError,
    ModelError,
    StoreError,
    TimeLimitError,
    WsiprocError,
)
from wsiproc.model import Model, load_model
from wsiproc.progress import Listener, unheard
from wsiproc.store.lease import lease

SKEW_EVERY_S = 300.0
"""The file server's clock is asked again after so long."""


@dataclass(frozen=True, slots=True)
class Batch:
    """What is asked for.

    Parameters
    ----------
    given
        Slides, folders of slides, lists of slides.
    model
        Name of a registered model.
    out
        Folder of results.
    settings, policy
        What is computed and where, and how patiently.
    wish
        Which of the slides.
    time_limit_s
        After so many seconds progress is saved and the batch ends; None for no limit.
    key_file
        The site key; None for the user's.
    metrics
        Text file for Prometheus; None for ``out/metrics.prom``.
    """

    given: tuple[Path, ...]
    model: str
    out: Path
    settings: RunConfig = field(default_factory=RunConfig)
    policy: Policy = field(default_factory=Policy)
    wish: Wish = field(default_factory=Wish)
    time_limit_s: float | None = None
    key_file: Path | None = None
    metrics: Path | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """How a batch ended.

    Parameters
    ----------
    night
        Counts, and the exit code.
    states, troubles
        How each slide stands, by id, and why it is not done.
    stopped
        What ended the batch early, if something did.
    """

    night: Night
    states: dict[str, State]
    troubles: dict[str, Trouble]
    stopped: str = ""


def run_batch(
    batch: Batch,
    listen: Listener = unheard,
    *,
    found: Callable[[int], None] = lambda _slides: None,
    tell: Callable[[Told], None] = lambda _told: None,
) -> Report:
    """Bring every slide of a batch to its end, as far as that can be done now.

    Parameters
    ----------
    listen
        Is told what happens to slides at work.
    found
        Is told how many slides there are, not counting that some may be the same.
    tell
        Is told of every slide that settles.

    Raises
    ------
    ConfigError, ModelError
        If what is asked for cannot be done.
    StoreError
        If results or books cannot be written; `BusyError` if the scheduler is lost.
    """
    began = time.monotonic()
    model = registered_model(batch.model)
    out = batch.out.absolute()
    candidates = find_slides(batch.given, batch.settings.science, out=out)
    found(len(candidates))
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"the output folder cannot be made: {error.strerror}") from None
    ledger = Ledger(out, model.name, model.sha256, tell)
    site = Site(
        out=out,
        model=batch.model,
        model_sha256=model.sha256,
        execution=batch.settings.execution,
        key=site_key(batch.key_file),
        names=Names(batch.key_file),
        version=version("wsiproc"),
    )
    agenda = Agenda(
        candidates,
        site,
        batch.wish,
        batch.policy,
        books=ledger,
        look=_looking(out),
        check=_deadline(began, batch.time_limit_s),
    )
    with lease(lease_of_night(out, ledger.night)):
        ledger.open()
        _measure(batch, out)
        stopped = ""
        try:
            with _books_closed_on_error(ledger, agenda, batch, out):
                for outcome in run_slides(agenda, batch.settings.execution, listen, confirm=True):
                    agenda.hear(outcome)
                if not agenda.matched:
                    raise ConfigError("none of the slides has the id that --only names")
                _forget_removed(ledger, site.names, out)
            code = exit_code(
                ledger.states, ledger.troubles, one_named=_one_named(batch, candidates)
            )
        except InterruptedRunError as error:
            code, stopped = error.code, str(error)
        night = _close(ledger, agenda, batch, out, code)
    return Report(night, ledger.states, ledger.troubles, stopped)


def _forget_removed(ledger: Ledger, names: Names, out: Path) -> None:
    """Drop records of slides that wait for nothing: somebody has taken their files away.

    A file counts as removed if its folder is there, so that a disk that is not mounted tonight
    takes nobody's record along.
    """
    files = names.all()
    for record in read_records(out):
        file = files.get(record.slide_id)
        if record.state == "done" or record.slide_id in ledger.states or file is None:
            continue
        if file.parent.is_dir() and not file.exists():
            ledger.gone(record.slide_id)


def registered_model(name: str) -> Model:
    """The registered model of this name, verified.

    Raises
    ------
    ModelError
        If there is none, or `name` is a file.
    """
    add = "register it with `wsiproc models add FILE.onnx`"
    if name.lower().endswith(".onnx") or Path(name).name != name:
        raise ModelError(f"a batch takes registered models by their names, not a file: {add}")
    try:
        model = load_model(name)
    except ModelError as error:
        raise ModelError(f"{error}; a batch takes registered models only: {add}") from None
    if model.source == "file":
        raise ModelError(f"a batch takes registered models only: {add}")
    return model


def exit_code(
    states: dict[str, State], troubles: dict[str, Trouble], *, one_named: bool = False
) -> int:
    """What a batch's slides say to whoever started it; see `docs/hospital.md`.

    ====  =============================================================================
    0     all done, by this run or another
    75    some wait for memory, disk, a network or another run: try again soon
    10    some are in quarantine; 65 if it is the only one, and was given by its name
    20    some are not ready, and nothing else is the matter
    ====  =============================================================================
    """
    waiting = [slide for slide, state in states.items() if state == "waiting"]
    coming = [s for s in waiting if s in troubles and troubles[s].kind == "not_ready"]
    if len(waiting) > len(coming):
        return 75
    if "quarantined" in states.values():
        return 65 if one_named else 10
    return 20 if waiting else 0


def _one_named(batch: Batch, candidates: Sequence[Candidate]) -> bool:
    """Whether it is about a single slide that was named."""
    return len(batch.given) == len(candidates) == 1 and batch.given[0].is_file()


@contextmanager
def _books_closed_on_error(
    ledger: Ledger, agenda: Agenda, batch: Batch, out: Path
) -> Iterator[None]:
    try:
        yield
    except InterruptedRunError:
        raise
    except WsiprocError as error:
        # The books may be what cannot be written.
        with suppress(WsiprocError):
            _close(ledger, agenda, batch, out, error.exit_code)
        raise


def _close(ledger: Ledger, agenda: Agenda, batch: Batch, out: Path, code: int) -> Night:
    for slide in agenda.left():
        ledger.left(slide)
    night = ledger.close(code)
    records: list[Record] = list(read_records(out))
    page.write(out, night, records)
    _measure(batch, out)
    return night


def _measure(batch: Batch, out: Path) -> None:
    """Tell Prometheus how the batch stands: when it begins, and when it ends."""
    metrics.write(batch.metrics or out / "metrics.prom", read_records(out), read_nights(out), out)


def _looking(out: Path) -> Callable[[Path], Look]:
    """Looks at slides by the clock of the file server."""
    asked_at, skew = float("-inf"), 0.0

    def look(slide: Path) -> Look:
        nonlocal asked_at, skew
        if time.monotonic() - asked_at >= SKEW_EVERY_S:
            asked_at, skew = time.monotonic(), clock_skew_s(out)
        return look_at(slide, skew)

    return look


def _deadline(began: float, limit_s: float | None) -> Callable[[], None]:
    def check() -> None:
        if limit_s is not None and time.monotonic() - began >= limit_s:
            raise TimeLimitError(
                "the time given is over; finished tiles are kept, and the same command goes on "
                "from there"
            )

    return check
