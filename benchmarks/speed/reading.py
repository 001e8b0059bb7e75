"""How fast slides are read, and what a native tile saves over OpenSlide.

    python benchmarks/speed/reading.py SLIDE [SLIDE ...] [--mpp .5] [--repeat 5]

Every way to read is timed in turns within one call, so that the machine's mood cancels; printed
are megapixels a second of the best turn, and ratios. Slides are opened anew for each turn: nothing
is read from the cache of an earlier one.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from wsiproc.errors import SlideError
from wsiproc.geometry import Box
from wsiproc.slide import Slide, open_slide, read_view, thumbnail, view_at
from wsiproc.slide.resample import resample

LARGEST = 4096
"""Edge of what is read at once, in px; about a tile of a run."""


def best(ways: dict[str, Callable[[], int]], repeat: int) -> dict[str, float]:
    """Megapixels a second of each way, which returns how many pixels it made."""
    seconds = {name: float("inf") for name in ways}
    pixels: dict[str, int] = {}
    for _ in range(repeat):
        for name, way in ways.items():
            begun = time.perf_counter()
            pixels[name] = way()
            seconds[name] = min(seconds[name], time.perf_counter() - begun)
    return {name: pixels[name] / seconds[name] / 1e6 for name in ways}


def level_0(opened: Callable[[], Slide]) -> int:
    with opened() as slide:
        box = slide.facts.levels[0].box & Box(0, 0, LARGEST, LARGEST)
        slide.read(0, box)
    return box.area


def seen_at(opened: Callable[[], Slide], times: float) -> int:
    with opened() as slide:
        view = view_at(slide.facts, slide.facts.mpp[0] * times)
        box = view.frame.box & Box(0, 0, LARGEST, LARGEST)
        read_view(slide, view, box)
    return box.area


def of_slide(path: Path, mpp: float | None, repeat: int) -> dict[str, float]:
    with open_slide(path, mpp=mpp) as slide:
        chosen = slide.facts.backend
        width, height = slide.facts.width, slide.facts.height
    ways: dict[str, Callable[[], int]] = {}
    for backend in dict.fromkeys((chosen, "openslide")):
        try:
            open_slide(path, mpp=mpp, backend=backend).close()
        except SlideError:
            continue

        def opened(backend: str = backend) -> Slide:
            return open_slide(path, mpp=mpp, backend=backend)

        ways[f"{backend}: level 0"] = lambda opened=opened: level_0(opened)
        ways[f"{backend}: resampled by 1.98"] = lambda opened=opened: seen_at(opened, 1.98)

    def small() -> int:
        with open_slide(path, mpp=mpp, backend=chosen) as slide:
            thumbnail(slide, slide.facts.mpp[0] * 16)
        return width * height

    ways["thumbnail, level-0 px"] = small
    result = best(ways, repeat)
    if chosen != "openslide" and "openslide: level 0" in result:
        result["native over OpenSlide, times"] = (
            result[f"{chosen}: level 0"] / result["openslide: level 0"]
        )
    return result


def of_resampling(repeat: int) -> dict[str, float]:
    """Output megapixels a second from pixels in memory, whole pictures of 4 Mpx of input."""
    pixels = np.random.default_rng(0).integers(0, 256, (4096, 4096, 3), dtype=np.uint8)

    def read(box: Box) -> np.ndarray:
        # Boxes reach a little past the picture; that part is not what is timed.
        y, x = max(0, box.y0), max(0, box.x0)
        y, x = min(y, 4096 - box.height), min(x, 4096 - box.width)
        return pixels[y : y + box.height, x : x + box.width]

    def by(ratio: float) -> int:
        edge = int(2040 / ratio)
        box = Box(2, 2, edge, edge)
        resample(read, (ratio, ratio), box)
        return box.area

    ways = {f"by {r}": (lambda r=r: by(r)) for r in (0.6, 1.02, 1.98, 2.0, 4.0, 40.0)}
    return best(ways, repeat)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("slides", nargs="*", type=Path)
    parser.add_argument("--mpp", type=float, default=None)
    parser.add_argument("--repeat", type=int, default=5)
    given = parser.parse_args()
    results = {path.name: of_slide(path, given.mpp, given.repeat) for path in given.slides}
    results["resampling from memory, Mpx out"] = of_resampling(given.repeat)
    for name, numbers in results.items():
        print(name)
        for what, number in numbers.items():
            print(f"  {what:34} {number:8.1f}")
    print(json.dumps(results))


if __name__ == "__main__":
    main()
