"""Slides with flipped bytes, one after the other through one worker that outlives them all."""

from __future__ import annotations

import hashlib
import multiprocessing
import random
import shutil
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import openslide
import tifffile
from forked import forked
from numpy.typing import NDArray
from scene import Scene

from wsiproc import pipeline, plan
from wsiproc.errors import SlideError, SlideReadError
from wsiproc.geometry import Box
from wsiproc.slide import open_slide
from wsiproc.slide._drawn import draw_image
from wsiproc.workbench import Workbench

EDGE, TILE = 640, 64
ACROSS = EDGE // TILE
KINDS = ("jpeg", "j2k", "deflate")
TILES = (1, 10, 100)
HUNG_S = 300.0
"""For a whole slide: a header that was made to claim a large image costs a second a read."""
J2K = 33005
"""TIFF code of Aperio's JPEG 2000."""
ABOUT = f"Aperio Image Library v12\r\n{EDGE}x{EDGE} ({TILE}x{TILE}) J2K|AppMag = 20|MPP = 0.5"

Spot = tuple[int, int]
"""Where a tile's bytes begin, and how many they are."""


class Worker:
    """A process with one workbench that takes slide after slide."""

    def __init__(self, scene: Scene) -> None:
        fork = multiprocessing.get_context("fork")
        self._line, there = fork.Pipe()
        self._process = fork.Process(target=_serve, args=(there, scene), daemon=True)
        self._process.start()
        self.pid = self._process.pid

    def ask(self, slide: Path, boxes: list[tuple[int, int, int, int]]) -> dict[str, Any]:
        """What became of a slide, and of reads of `boxes` in it."""
        assert self._process.is_alive(), "the worker died"
        self._line.send((slide, boxes))
        assert self._line.poll(HUNG_S), "the worker hangs, or died"
        answer: dict[str, Any] = self._line.recv()
        return answer

    def end(self) -> None:
        """Let it go."""
        self._process.kill()
        self._process.join()


def _serve(line: Connection, scene: Scene) -> None:
    # So small a slide would have a picture of level 0, and planning would meet every bad tile.
    plan.PICTURE_PX = EDGE // 16
    bench = Workbench(1)
    while True:
        slide, boxes = line.recv()
        line.send(_through(scene, bench, slide, boxes))


def _through(
    scene: Scene, bench: Workbench, slide: Path, boxes: list[tuple[int, int, int, int]]
) -> dict[str, Any]:
    """A slide through planning and all tiles, and single reads; errors instead of ends."""
    out = scene.folder / "mutants"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    job = scene.job(slide, out, tissue=False)
    failed: list[tuple[str, int | None, tuple[int, int, int, int] | None]] = []
    unread: list[int] = []
    backend = ""
    try:
        opened = pipeline.plan_slide(job, bench)
    except SlideError as error:
        return {"refused": str(error), "failed": failed, "unread": unread, "backend": ""}
    for row, column in opened.waiting:
        try:
            pipeline.process_tile(job, opened, row, column, bench)
        except SlideReadError as error:
            failed.append((error.message, error.level, error.box))
    with bench.slide(job) as there:
        backend = there.facts.backend
    for number, box in enumerate(boxes):
        try:
            with open_slide(slide, backend=backend) as there:
                there.read(0, Box(*box))
        except SlideReadError:
            unread.append(number)
    found = hashlib.sha256()
    for fragment in sorted(out.glob(".wsiproc/*/*/*.frag")):
        found.update(fragment.read_bytes())
    return {
        "refused": "",
        "failed": failed,
        "unread": unread,
        "backend": backend,
        "digest": found.hexdigest(),
    }


def original(scene: Scene, kind: str) -> Path:
    """The undamaged slide of a kind: 10 x 10 tiles, and a level of a quarter."""
    path = scene.folder / f"{kind}.svs"
    if path.exists():
        return path
    pixels, _ = draw_image(EDGE, EDGE, seed=3, mpp=0.5)
    with tifffile.TiffWriter(path) as file:
        for level, shrink in enumerate((1, 4)):
            part = np.ascontiguousarray(pixels[::shrink, ::shrink])
            j2k = kind == "j2k"
            file.write(
                _j2k(part) if j2k else part,
                shape=part.shape,
                dtype=np.uint8,
                tile=(TILE, TILE),
                photometric="rgb",
                compression=J2K if j2k else kind,
                description=ABOUT if j2k and not level else None,
                resolution=(2e4, 2e4) if not level else None,
                resolutionunit="CENTIMETER",
                subfiletype=int(level > 0),
                metadata=None,
                software=False,
            )
    return path


def _j2k(pixels: NDArray[np.uint8]) -> Iterator[bytes]:
    """JPEG 2000 streams of the tiles, row by row."""
    height, width = (-(-edge // TILE) * TILE for edge in pixels.shape[:2])
    filled = np.zeros((height, width, 3), np.uint8)
    filled[: pixels.shape[0], : pixels.shape[1]] = pixels
    for y in range(0, height, TILE):
        for x in range(0, width, TILE):
            tile = np.ascontiguousarray(filled[y : y + TILE, x : x + TILE])
            yield bytes(imagecodecs.jpeg2k_encode(tile, codecformat="J2K"))


def mutate(slide: Path, into: Path, number: int) -> list[int]:
    """Flip 1 to 400 bytes in each of 1, 10 or 100 tiles; which tiles."""
    rng = random.Random(number)
    with tifffile.TiffFile(slide) as file:
        page = file.pages[0]
        spots: list[Spot] = list(zip(page.dataoffsets, page.databytecounts, strict=True))
    data = bytearray(slide.read_bytes())
    chosen = sorted(rng.sample(range(len(spots)), TILES[number // len(KINDS) % len(TILES)]))
    for tile in chosen:
        at, count = spots[tile]
        for _ in range(rng.randint(1, 400)):
            data[at + rng.randrange(count)] ^= rng.randint(1, 255)
    into.write_bytes(data)
    return chosen


def box_of(tile: int) -> tuple[int, int, int, int]:
    x, y = tile % ACROSS * TILE, tile // ACROSS * TILE
    return x, y, x + TILE, y + TILE


def refused_by_decoder(slide: Path, tiles: list[int], backend: str) -> list[int]:
    """Those of `tiles` that the decoder itself, asked alone, reports an error for."""
    at_once = forked(lambda: [_decodes(slide, tile, backend) for tile in tiles])
    if at_once.error or at_once.status:  # it takes its process down
        each = [forked(lambda t=t: _decodes(slide, t, backend)).told is True for t in tiles]
    else:
        each = at_once.told
    return [tile for tile, well in zip(tiles, each, strict=True) if not well]


def _decodes(slide: Path, tile: int, backend: str) -> bool:
    try:
        _decode(slide, tile, backend)
    except Exception:  # noqa: BLE001  whatever it is, the decoder has reported it
        return False
    return True


def _decode(slide: Path, tile: int, backend: str) -> None:
    if backend == "openslide":
        x, y, _, _ = box_of(tile)
        with openslide.OpenSlide(slide) as there:
            there.read_region((x, y), 0, (TILE, TILE))
        return
    with tifffile.TiffFile(slide) as file, slide.open("rb") as stored:
        page = file.pages[0]
        stored.seek(page.dataoffsets[tile])
        tables = {"jpegtables": page.jpegtables} if page.compression == 7 else {}
        page.decode(stored.read(page.databytecounts[tile]), tile, **tables)


def mutant(scene: Scene, number: int, worker: Worker, good: dict[str, str]) -> dict[str, Any]:
    """One mutant, and the good slide after it, through the worker that had all those before."""
    kind = KINDS[number % len(KINDS)]
    whole = original(scene, kind)
    if kind not in good:
        good[kind] = worker.ask(whole, [])["digest"]
    path = scene.folder / "mutant.svs"
    tiles = mutate(whole, path, number)
    answer = worker.ask(path, [box_of(tile) for tile in tiles])
    backend, failed = answer["backend"], answer["failed"]
    bad = refused_by_decoder(path, tiles, backend) if backend else []
    read = {tiles[n] for n in answer["unread"]}
    assert set(bad) <= read, f"tiles {set(bad) - read} are damaged, and were read without an error"
    assert bool(failed) == bool(read), f"{failed} in the run, and {read} in single reads"
    for _, level, box in failed:
        assert level == 0
        assert box is not None
        touched = [tile for tile in tiles if not (Box(*box_of(tile)) & Box(*box)).empty]
        assert touched, f"the error names {box}, where nothing was changed"
    assert worker.ask(whole, [])["digest"] == good[kind], "the next slide was spoiled"
    return {
        "kind_of_slide": kind,
        "tiles": len(tiles),
        "refused": bool(answer["refused"]),
        "backend": backend,
        "decoder_errors": len(bad),
        "raised": len(failed),
        "pid": worker.pid,
    }
