"""Seconds that decoding takes for a million nuclei, and whether it grows with their number alone.

Draws maps of about one nucleus of 25 px in 46 x 46 px, as in dense tissue at 0.25 µm/px, and
decodes them from two boxes, the second four times the first.  One core.

    python benchmarks/speed/decoding.py [--edge 4096] [--classes 5]
"""

from __future__ import annotations

import argparse
import time

import numpy as np
from numpy.typing import NDArray

from wsiproc.card import Card
from wsiproc.decode import decode
from wsiproc.geometry import Box

SPACING = 46
"""px between the places of nuclei, each moved by up to a fifth of it: some touch."""


def card(kind: str, classes: int, **post: object) -> Card:
    return Card.model_validate(
        {
            "name": "drawn",
            "method": "foreign",
            "kind": kind,
            "mpp": 0.25,
            "step": 8,
            "windows": (512,),
            "margin": 0,
            "largest_nucleus_um": 20,
            "classes": [{"name": f"class {i}", "color": (0, 0, 0)} for i in range(classes)],
            "local": True,
            "post": {"kind": kind, "threshold": 0.5, "chosen_on": "drawn maps", **post},
        }
    )


def drawn(edge: int, classes: int, seed: int = 0) -> dict[str, NDArray[np.float32]]:
    """Ellipses whose `prob` and `centre` fall off from the middle, with a network's noise."""
    rng = np.random.default_rng(seed)
    height = np.zeros((edge, edge), np.float32)
    for cy in range(SPACING // 2, edge, SPACING):
        for cx in range(SPACING // 2, edge, SPACING):
            y, x = np.add((cy, cx), rng.uniform(-SPACING / 5, SPACING / 5, 2))
            a, b, turn = rng.uniform(10, 17), rng.uniform(8, 14), rng.uniform(0, np.pi)
            y0, x0 = max(0, int(y) - 24), max(0, int(x) - 24)
            v, u = np.mgrid[y0 : min(edge, y0 + 49), x0 : min(edge, x0 + 49)] + 0.5
            v, u = v - y, u - x
            r = np.hypot(
                (u * np.cos(turn) + v * np.sin(turn)) / a, (v * np.cos(turn) - u * np.sin(turn)) / b
            )
            part = height[y0 : y0 + 49, x0 : x0 + 49]
            np.maximum(part, np.maximum(0, 1 - r / 2).astype(np.float32), out=part)
    noise = rng.normal(0, 0.01, height.shape).astype(np.float32)
    prob = np.clip(height + noise, 0, 1)
    centre = np.clip(2 * height - 1 + noise, 0, 1)
    kinds = rng.random((classes, edge, edge), np.float32) if classes > 1 else None
    maps = {"prob": prob[None], "centre": centre[None]}
    return maps if kinds is None else {**maps, "class": kinds}


def measure(name: str, model: Card, maps: dict[str, NDArray[np.float32]]) -> None:
    edge = maps["prob"].shape[1]
    slide = Box(0, 0, edge, edge)
    rates = []
    for size in (edge // 2, edge):
        box = Box(0, 0, size, size)
        cut = {key: np.ascontiguousarray(value[:, :size, :size]) for key, value in maps.items()}
        decode(model, cut, box, slide)
        seconds = []
        for _ in range(3):
            start = time.process_time()
            found = decode(model, cut, box, slide)
            seconds.append(time.process_time() - start)
        rates.append(min(seconds) / len(found) * 1e6)
        print(
            f"{name:24} {size:5} px  {len(found):6} nuclei  {min(seconds):7.3f} s  "
            f"{rates[-1]:6.1f} s per million"
        )
    print(f"{name:24} four times the area costs {rates[1] / rates[0]:.2f} times a nucleus")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--edge", type=int, default=4096)
    parser.add_argument("--classes", type=int, default=5)
    args = parser.parse_args()
    maps = drawn(args.edge, args.classes)
    both = {"prob": maps["prob"], "centre": maps["centre"]}
    levels = {"levels": (0.75, 0.5, 0.25), "seed_threshold": 0.4}
    measure("mask, centre", card("mask", 1, **levels), both)
    measure(f"mask, centre, {args.classes} classes", card("mask", args.classes, **levels), maps)
    measure("mask alone", card("mask", 1), {"prob": maps["prob"]})
    measure("points", card("points", 1, radius_um=3), {"prob": maps["prob"]})


if __name__ == "__main__":
    main()
