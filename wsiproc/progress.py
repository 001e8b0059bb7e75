"""What a run says while it works.  Who shows it, and how, is another's matter."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class StageStarted:
    """A stage of a slide begins: ``plan``, ``tiles`` or ``finish``.

    `total` is how many steps it has (tiles, for ``tiles``), `reused` how many of them were found
    finished by an earlier run.
    """

    slide_id: str
    stage: str
    total: int = 0
    reused: int = 0


@dataclass(frozen=True, slots=True)
class TileDone:
    """One more tile has its fragment; `nuclei` is how many nuclei its core owns."""

    slide_id: str
    nuclei: int


@dataclass(frozen=True, slots=True)
class StageDone:
    """A stage of a slide ended after `seconds`."""

    slide_id: str
    stage: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Warned:
    """Something that people should know and that does not stop the run."""

    slide_id: str
    message: str


Event = StageStarted | TileDone | StageDone | Warned
Listener = Callable[[Event], None]


def unheard(event: Event) -> None:
    """The listener of a run that nobody watches."""
