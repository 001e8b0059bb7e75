"""A slide of a batch, and what holds for all of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from wsiproc.batch.identity import Names
from wsiproc.batch.ready import Look
from wsiproc.batch.records import State, Trouble
from wsiproc.batch.sources import Candidate
from wsiproc.config import Execution
from wsiproc.slide.arrival import Seen


class Books(Protocol):
    """Who writes down what becomes of slides."""

    def renamed(self, old: str, slide: Slide) -> None:
        """What was called `old` is known by another id from now on."""

    def begun(self, slide: Slide) -> None:
        """It goes to the workers."""

    def retried(self, slide: Slide, trouble: Trouble) -> None:
        """It will be begun again in this run."""

    def settled(self, slide: Slide, state: State, trouble: Trouble | None) -> None:
        """This is how it stands until something about it changes."""

    def published(self, slide: Slide, summary: dict[str, Any]) -> None:
        """It is done, by this run or before."""


@dataclass(slots=True, eq=False)
class Slide:
    """A slide of the batch and how far it is.

    Parameters
    ----------
    candidate
        Where it is, and its settings.
    slide_id
        What it is called; the id of its path until its content is known.
    look, first
        The last look at its files, and the earliest that saw the same.
    seen
        Its fingerprint, once known.
    tries
        Times in a row that it failed for want of resources or infrastructure.
    meetings
        Times that another batch was found at work on it.
    batch
        Windows the network takes at once, where that was halved; 0 otherwise.
    """

    candidate: Candidate
    slide_id: str
    look: Look | None = None
    first: Look | None = None
    seen: Seen | None = None
    tries: int = 0
    meetings: int = 0
    batch: int = 0


@dataclass(frozen=True, slots=True)
class Site:
    """What is the same for all slides of a batch.

    Parameters
    ----------
    out, model, model_sha256, execution
        Where results go, and what makes them.
    key, names
        The site's key, and its list of files.
    version
        Of wsiproc: what an older one has given up, a newer one tries again.
    """

    out: Path
    model: str
    model_sha256: str
    execution: Execution
    key: bytes = field(repr=False)
    names: Names
    version: str


@dataclass(frozen=True, slots=True)
class Wish:
    """What was asked of a batch beside its slides.

    Parameters
    ----------
    only
        Id of the one slide to run.
    retry_failed
        Whether slides in quarantine are tried again.
    """

    only: str | None = None
    retry_failed: bool = False
