"""How much a laboratory lets two results differ, and whether they keep to it.

wsiproc ships no limits: what a change may do to nuclei depends on what is decided by them.
"""

from __future__ import annotations

import math
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationError

from wsiproc.diff.tally import Tally, number
from wsiproc.errors import ConfigError
from wsiproc.frozen import Frozen, faults

Share = Annotated[float, Field(ge=0, le=1)]


class Limits(Frozen):
    """Acceptance limits; those that are left out allow everything."""

    least_f1: Share | None = None
    """2 pairs / (A's nuclei + B's)."""
    least_overlap: Share | None = None
    """Area that pairs have in common over the area of all nuclei."""
    least_mean_iou: Share | None = None
    """Of the pairs whose outlines share more than half."""
    most_count_change: Annotated[float, Field(ge=0)] | None = None
    """Nuclei that B has more or fewer, as a share of A's."""
    most_gained: Share | None = None
    """Of B's nuclei."""
    most_lost: Share | None = None
    """Of A's nuclei."""
    most_moved: Share | None = None
    """Of the pairs."""
    most_reclassified: Share | None = None
    """Of the pairs."""
    most_area_change: Annotated[float, Field(ge=0)] | None = None
    """Mean change of area in pairs, up or down, as a share of A's mean."""
    note: str = ""
    """For people: who decided this, when, and why."""


@dataclass(frozen=True, slots=True)
class Judged:
    """A limit, what was found, and whether it is kept; what is not known keeps no limit."""

    limit: str
    wanted: float
    found: float | None
    kept: bool


def read_limits(file: Path) -> Limits:
    """Limits from a TOML file.

    Raises
    ------
    ConfigError
        If it cannot be read, or names a limit that there is not.
    """
    try:
        return Limits.model_validate(tomllib.loads(file.read_text("utf-8")))
    except OSError as error:
        raise ConfigError(f"cannot read the limits: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"the limits are not TOML: {error}") from None
    except ValidationError as error:
        raise ConfigError(f"limits not understood: {faults(error, 'limits')}") from None


def judged(limits: Limits, tally: Tally) -> tuple[Judged, ...]:
    """Every limit that is set, in the order of `Limits`."""
    pairs = tally.pairs
    found = {
        # Two results without any nucleus agree.
        "least_f1": 1.0 if tally.a == tally.b == 0 else tally.f1,
        "least_overlap": tally.overlap,
        "least_mean_iou": tally.mean_iou,
        "most_count_change": 0.0 if tally.a == tally.b else abs(tally.count_change),
        "most_gained": tally.gained / tally.b if tally.b else 0.0,
        "most_lost": tally.lost / tally.a if tally.a else 0.0,
        "most_moved": tally.moved / pairs if pairs else 0.0,
        "most_reclassified": tally.reclassified / pairs if pairs else 0.0,
        "most_area_change": abs(tally.area_um2.change),
    }
    kept = []
    for name, value in found.items():
        wanted = getattr(limits, name)
        if wanted is not None:
            # NaN is on neither side: what is not known does not keep a limit.
            keeps = value >= wanted if name.startswith("least") else value <= wanted
            # NaN even where A has no nucleus and B has some.
            kept.append(Judged(name, wanted, number(value), keeps and not math.isnan(value)))
    return tuple(kept)
