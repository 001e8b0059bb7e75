"""Seconds that decoding takes for a million nuclei, and whether it grows with their number alone.

The kinds `hover` and `instances` are also compared, in the same run, with HoVer-Net's own
post-processing written with scikit-image, and with a loop over detections in NumPy.

Draws maps of about one nucleus of 25 px in 46 x 46 px, as in dense tissue at 0.25 µm/px, and
decodes them from two boxes, the second four times the first.  One core.

    python benchmarks/speed/decoding.py [--edge 4096] [--classes 5]
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.measure import find_contours

from wsiproc.card import Card
from wsiproc.decode import Said, Views, concat_views, decode, views_of
from wsiproc.geometry import Box
from wsiproc.tiling import Window

# The nuclei, and what hover is compared with, are those of the decoder's tests.
sys.path.insert(0, str(Path(__file__).parents[2] / "tests" / "decode"))

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
            "margin": 80 if kind == "instances" else 0,
            "largest_nucleus_um": 20,
            "classes": [{"name": f"class {i}", "color": (0, 0, 0)} for i in range(classes)],
            "local": kind != "instances",
            "post": {"kind": kind, "chosen_on": "drawn maps", **post},
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


def hover_maps(edge: int, seed: int = 0) -> dict[str, NDArray[np.float32]]:
    """`np` and `hv` of such nuclei, as sharp as a good network's."""
    from drawn_maps import hover_maps, nuclei

    rng = np.random.default_rng(seed)
    tile = hover_maps(
        nuclei(min(edge, 1024), rng, spacing=SPACING, radius=(9.0, 16.0)), rng, blur=1.5, noise=0.02
    )
    times = -(-edge // tile["np"].shape[1])
    return {name: np.tile(m, (1, times, times))[:, :edge, :edge] for name, m in tile.items()}


def views(edge: int, seed: int = 0) -> Views:
    """What windows of 512 px say of such nuclei: boxes with round masks."""
    model = card("instances", 1)
    rng = np.random.default_rng(seed)
    at = np.arange(SPACING // 2, edge, SPACING)
    centre = np.stack(np.meshgrid(at, at), axis=-1).reshape(-1, 2)
    centre = centre + rng.uniform(-SPACING / 5, SPACING / 5, centre.shape)
    half = rng.uniform(9, 17, centre.shape)
    score = rng.uniform(0.4, 1, len(centre)).astype(np.float32)
    cells = (np.arange(28) + 0.5) / 14 - 1
    mask = np.clip(1.5 - np.hypot(*np.meshgrid(cells, cells)), 0, 1).astype(np.float32)
    parts = []
    for y in range(0, edge, 352):
        for x in range(0, edge, 352):
            valid = Box.of_size(x, y, 352, 352)
            window = Window(valid.grown(80), valid)
            near = np.flatnonzero((np.abs(centre - (x + 176, y + 176)) < 250).all(axis=1))
            said = {
                "boxes": np.concatenate(
                    [
                        centre[near] - half[near] - (x - 80, y - 80),
                        centre[near] + half[near] - (x - 80, y - 80),
                    ],
                    axis=1,
                ).astype(np.float32),
                "scores": score[near],
                "labels": np.zeros(len(near), np.float32),
                "tile": np.zeros(len(near), np.float32),
                "masks": np.repeat(mask[None, None], len(near), axis=0),
            }
            parts.append(views_of(model, said, [window]))
    return concat_views(parts)


def plain_loop(said: Views, edge: int) -> int:
    """Masks pasted one after the other by descending score, as Mask R-CNN's users do."""
    owner = np.zeros((edge, edge), np.int32)
    for n in np.argsort(-said.score, kind="stable"):
        box = said.box[n].astype(float) + np.tile(said.read[n, :2], 2)
        x0, y0 = np.maximum(np.ceil(box[:2] - 0.5).astype(int), 0)
        x1, y1 = np.minimum(np.ceil(box[2:] - 0.5).astype(int), edge)
        if x1 <= x0 or y1 <= y0:
            continue
        v = (np.arange(y0, y1) + 0.5 - box[1]) / (box[3] - box[1]) * 28 - 0.5
        u = (np.arange(x0, x1) + 0.5 - box[0]) / (box[2] - box[0]) * 28 - 0.5
        grid = np.meshgrid(v, u, indexing="ij")
        inside = ndimage.map_coordinates(said.mask[n], grid, order=1) > 0.5
        part = owner[y0:y1, x0:x1]
        if (inside & (part > 0)).sum() <= 0.5 * inside.sum():
            part[inside & (part == 0)] = n + 1
    found = 0
    for label, span in enumerate(ndimage.find_objects(owner), 1):
        if span is None:
            continue
        own = ndimage.binary_fill_holes(np.pad(owner[span] == label, 1))
        found += len(find_contours(own.astype(np.float32), 0.5)) > 0
    return found


def scikit_image(maps: dict[str, NDArray[np.float32]]) -> int:
    """HoVer-Net's post-processing, and the outlines of what it finds."""
    from slow_decoders import hovernet

    labels = hovernet(maps["np"][0], maps["hv"])
    found = 0
    for label, span in enumerate(ndimage.find_objects(labels), 1):
        if span is not None:
            own = np.pad(labels[span] == label, 1).astype(np.float32)
            found += len(find_contours(own, 0.5)) > 0
    return found


def compare(name: str, ours: Callable[[], int], theirs: Callable[[], int]) -> None:
    """Both twice, in turn; the faster time of each, a nucleus."""
    times: dict[str, list[float]] = {"ours": [], "theirs": []}
    for _ in range(2):
        for who, work in (("ours", ours), ("theirs", theirs)):
            start = time.process_time()
            found = work()
            times[who].append((time.process_time() - start) / found * 1e6)
    a, b = min(times["ours"]), min(times["theirs"])
    print(f"{name:24} {a:.1f} s per million against {b:.1f}: {b / a:.1f} times as fast")


def part_of(said: Said, box: Box) -> Said:
    """What is said of a box at the origin."""
    if not isinstance(said, Views):
        return {
            key: np.ascontiguousarray(value[:, : box.y1, : box.x1]) for key, value in said.items()
        }
    corner = said.read[:, :2] + 80
    return said.take((corner < (box.x1, box.y1)).all(axis=1))


def measure(name: str, model: Card, maps: Said, edge: int) -> None:
    slide = Box(0, 0, edge, edge)
    rates = []
    for size in (edge // 2, edge):
        box = Box(0, 0, size, size)
        cut = part_of(maps, box)
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
    edge, half = args.edge, {"threshold": 0.5}
    measure("mask, centre", card("mask", 1, **half, **levels), both, edge)
    measure(
        f"mask, centre, {args.classes} classes",
        card("mask", args.classes, **half, **levels),
        maps,
        edge,
    )
    measure("mask alone", card("mask", 1, **half), {"prob": maps["prob"]}, edge)
    measure("points", card("points", 1, **half, radius_um=3), {"prob": maps["prob"]}, edge)
    distances, seen = hover_maps(edge), views(edge)
    measure("hover", card("hover", 1), distances, edge)
    measure("instances", card("instances", 1), seen, edge)
    small = Box(0, 0, min(edge, 2048), min(edge, 2048))
    few, few_seen = part_of(distances, small), part_of(seen, small)
    assert not isinstance(few, Views)
    assert isinstance(few_seen, Views)
    cards = card("hover", 1), card("instances", 1)
    compare(
        "hover, scikit-image",
        lambda: len(decode(cards[0], few, small, small)),
        lambda: scikit_image(dict(few)),
    )
    compare(
        "instances, plain loop",
        lambda: len(decode(cards[1], few_seen, small, small)),
        lambda: plain_loop(few_seen, small.x1),
    )


if __name__ == "__main__":
    main()
