"""What is shown: a result or two of one slide, and the slide's pixels where they are at hand."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from wsiproc.errors import ConfigError, WsiprocError
from wsiproc.results.stored import TISSUE, StoredResult, open_result
from wsiproc.slide import fingerprint, open_slide
from wsiproc.view.columns import columns_of
from wsiproc.view.outlines import CHUNK
from wsiproc.view.picture import overview_panel
from wsiproc.view.tiles import SlideTiles

KEYS: Final = ("a", "b")
"""What addresses call the results: the first, and the one that it is compared with."""
_LARGEST_UM: Final = 200.0
"""Of a nucleus, where a card does not say: no card allows more."""


@dataclass(frozen=True, slots=True, eq=False)
class Shown:
    """Everything that a page can ask for.

    Parameters
    ----------
    results
        One, or two of the same slide.
    tiles
        The slide's pixels, or None.
    picture
        The slide as it stands in the overview, PNG; white where there is none.
    same_slide
        Whether the slide's digest is the one of the result; known when the file has been read.
    """

    results: tuple[StoredResult, ...]
    tiles: SlideTiles | None
    picture: bytes
    same_slide: Future[bool]


def show(result: Path, slide: Path | None = None, against: Path | None = None) -> Shown:
    """Open what is to be shown.

    Parameters
    ----------
    result
        Folder of a published result.
    slide
        The file that it was made from.  Its size is compared at once; its digest, which takes a
        while, meanwhile.
    against
        Folder of another result of the same slide.

    Raises
    ------
    StoreError
        If a folder holds no whole result.
    ConfigError
        If the results, or the slide, do not belong together.
    SlideError
        If the slide cannot be read.
    """
    first = open_result(result)
    results = [first]
    if against is not None:
        second = open_result(against)
        if second.manifest.slide.sha256 != first.manifest.slide.sha256:
            raise ConfigError(
                "the two results are of different slides; --against takes another result of the "
                "same slide"
            )
        results.append(second)
    tiles = None if slide is None else _tiles(slide, first)
    same: Future[bool] = Future()
    if slide is not None:
        # A thread that nobody waits for: the digest of a slide on a network share takes minutes.
        threading.Thread(target=_compare, args=(slide, first, same), daemon=True).start()
    return Shown(tuple(results), tiles, overview_panel(first), same)


def facts(shown: Shown) -> dict[str, Any]:
    """What the page has to know before it asks for anything else; see ``static/main.js``."""
    first = shown.results[0]
    tiles = shown.tiles
    return {
        "slide": {
            "width_um": first.size_um[0],
            "height_um": first.size_um[1],
            "mpp": list(first.mpp),
            "objective": first.manifest.slide.objective,
            "tiles": None if tiles is None else tiles.facts(),
        },
        "results": [
            _result_facts(key, result)
            for key, result in zip(KEYS[: len(shown.results)], shown.results, strict=True)
        ],
    }


def _result_facts(key: str, result: StoredResult) -> dict[str, Any]:
    manifest = result.manifest
    return {
        "key": key,
        "slide_id": result.slide_id,
        "model": f"{result.model.name} {result.model.version}".strip(),
        "finished": manifest.finished,
        "nuclei": result.nuclei,
        "classes": [
            {"name": c.name, "color": list(c.color), "nuclei": manifest.classes.get(c.name, 0)}
            for c in result.classes
        ],
        "columns": [
            {"name": name, "unit": _told(field, b"unit"), "says": _told(field, b"description")}
            for name, field in columns_of(result).items()
        ],
        "outlined": result.outlined,
        "chunk_rows": CHUNK,
        "largest_um": result.model.card.get("largest_nucleus_um", _LARGEST_UM),
        "tissue": result.has(TISSUE),
        "warnings": list(manifest.warnings),
    }


def _told(field: pa.Field, what: bytes) -> str:
    return str((field.metadata or {}).get(what, b"").decode())


def _tiles(path: Path, result: StoredResult) -> SlideTiles:
    record = result.manifest.slide
    slide = open_slide(path, mpp=record.mpp[0] if record.mpp_source == "given" else None)
    size = slide.facts.width, slide.facts.height
    if size != result.size_px:
        slide.close()
        raise ConfigError(
            f"the slide has {size[0]:,} x {size[1]:,} px and the result is of one with "
            f"{result.size_px[0]:,} x {result.size_px[1]:,}: give the slide that it was made from"
        )
    return SlideTiles(slide)


def _compare(path: Path, result: StoredResult, same: Future[bool]) -> None:
    try:
        same.set_result(fingerprint(path) == result.manifest.slide.sha256)
    except WsiprocError as error:
        same.set_exception(error)
