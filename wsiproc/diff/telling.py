"""Two folders of results, slide by slide: which belong together, and all of them in numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from wsiproc.diff.difference import CHANGES, Difference
from wsiproc.diff.limits import Judged, Limits, judged
from wsiproc.diff.provenance import apart
from wsiproc.diff.tally import Tally, number
from wsiproc.errors import ConfigError
from wsiproc.results.stored import StoredResult


@dataclass(frozen=True, slots=True)
class Couples:
    """Results that belong together.

    Parameters
    ----------
    both
        A's and B's result of each slide that both have, by A's slide id.
    only_a, only_b
        Slide ids of those that one side has alone.
    """

    both: tuple[tuple[StoredResult, StoredResult], ...]
    only_a: tuple[str, ...]
    only_b: tuple[str, ...]

    @property
    def whole(self) -> bool:
        """Whether both sides have the same slides."""
        return not (self.only_a or self.only_b)

    @property
    def alone(self) -> bool:
        """Whether it is about one slide only."""
        return len(self.both) == 1 and self.whole


def coupled(a: Sequence[StoredResult], b: Sequence[StoredResult]) -> Couples:
    """Pair results by the slides' fingerprints, whatever they call them.

    Raises
    ------
    ConfigError
        If one side has two results of a slide, or no slide is on both sides.
    """
    one, other = _by_slide(a, "A"), _by_slide(b, "B")
    both = sorted(one.keys() & other.keys(), key=lambda sha: one[sha].slide_id)
    if not both:
        raise ConfigError(
            "these are results of different slides: only results of the very same file can be "
            "compared nucleus by nucleus"
        )
    return Couples(
        tuple((one[sha], other[sha]) for sha in both),
        tuple(sorted(one[sha].slide_id for sha in one.keys() - other.keys())),
        tuple(sorted(other[sha].slide_id for sha in other.keys() - one.keys())),
    )


def _by_slide(results: Sequence[StoredResult], side: str) -> dict[str, StoredResult]:
    found: dict[str, StoredResult] = {}
    for result in results:
        sha = result.manifest.slide.sha256
        if sha in found:
            raise ConfigError(
                f"{side} has two results of one slide, {found[sha].slide_id!r} and "
                f"{result.slide_id!r}: name the folder that is meant"
            )
        found[sha] = result
    return found


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether two results are the same.

    Parameters
    ----------
    same
        With limits, whether all are kept; without, whether every nucleus is matched.
    limits
        Each limit that was set.
    """

    same: bool
    limits: tuple[Judged, ...]


def verdict(tally: Tally, limits: Limits | None) -> Verdict:
    """Of a slide, or of all of them together."""
    if limits is None:
        return Verdict(tally.changed == 0, ())
    found = judged(limits, tally)
    return Verdict(all(each.kept for each in found), found)


def facts(
    difference: Difference, tally: Tally, found: Verdict, parts: list[dict[str, Any]]
) -> dict[str, Any]:
    """A difference as plain values, for JSON."""
    a, b = difference.a, difference.b
    return {
        "status": "same" if found.same else "different",
        "slide_id": a.slide_id,
        "slide_sha256": a.manifest.slide.sha256,
        "a": _side(a),
        "b": _side(b),
        "compared": "outlines" if difference.outlined else "centroids",
        "radius_um": difference.radius_um,
        "classes_compared": difference.classes_compared,
        **tally.to_dict(),
        "classes": classes(difference),
        "regions": parts,
        "made_with": {
            what: {"a": x, "b": y} for what, (x, y) in apart(a.manifest, b.manifest).items()
        },
        "limits": _limits(found),
    }


def region_facts(parts: Sequence[tuple[int, float, Tally]]) -> list[dict[str, Any]]:
    """Regions as plain values, for JSON."""
    return [
        {"region_id": region, "area_mm2": round(mm2, 6), **part.to_dict()}
        for region, mm2, part in parts
    ]


def together(
    couples: Couples, slides: list[dict[str, Any]], whole: Tally, found: Verdict, same: bool
) -> dict[str, Any]:
    """Many slides as plain values, for JSON."""
    return {
        "status": "same" if same else "different",
        "slides": slides,
        "together": whole.to_dict() | {"limits": _limits(found)},
        "only_a": list(couples.only_a),
        "only_b": list(couples.only_b),
    }


def _limits(found: Verdict) -> list[dict[str, Any]]:
    return [
        {"limit": each.limit, "wanted": each.wanted, "found": each.found, "kept": each.kept}
        for each in found.limits
    ]


def classes(difference: Difference) -> list[dict[str, Any]]:
    """Of each class, how many nuclei each result has, and what A's became in B."""
    table = difference.confusion()
    names = difference.classes
    found = []
    for index, name in enumerate(names):
        of_a, of_b = int(table[index].sum()), int(table[:, index].sum())
        both = int(table[index, index])
        became = {other: int(n) for other, n in zip(names, table[index], strict=False) if n}
        f1 = 2 * both / (of_a + of_b) if of_a + of_b else float("nan")
        found.append(
            {
                "name": name,
                "nuclei_a": of_a,
                "nuclei_b": of_b,
                "f1": number(f1),
                "became": became,
                CHANGES[-1]: int(table[index, -1]),
                CHANGES[-2]: int(table[-1, index]),
            }
        )
    return found


def _side(result: StoredResult) -> dict[str, Any]:
    return {
        "slide_id": result.slide_id,
        "model": result.model.name,
        "version": result.model.version,
        "model_sha256": result.model.sha256,
        "job_key": result.manifest.job_key,
        "finished": result.manifest.finished,
    }
