"""Drawn nuclei, some of which touch, and the maps that a perfect network would give of them."""

from __future__ import annotations

import numpy as np
from scipy import ndimage


def nuclei(size: int, rng, *, spacing: int = 30, radius=(8.0, 13.0)) -> np.ndarray:
    """``[size, size]`` int32 label map of ellipses near the places of a lattice, each moved."""
    labels = np.zeros((size, size), np.int32)
    v, u = np.mgrid[:size, :size] + 0.5
    places = np.arange(spacing // 2, size - spacing // 4, spacing)
    for label, place in enumerate(((y, x) for y in places for x in places), 1):
        y, x = np.add(place, rng.uniform(-spacing / 5, spacing / 5, 2))
        a, b = rng.uniform(*radius, 2)
        turn = rng.uniform(0, np.pi)
        along = (u - x) * np.cos(turn) + (v - y) * np.sin(turn)
        across = (v - y) * np.cos(turn) - (u - x) * np.sin(turn)
        labels[((along / a) ** 2 + (across / b) ** 2 <= 1) & (labels == 0)] = label
    return labels


def distances(labels: np.ndarray) -> np.ndarray:
    """``[2, h, w]``: how far right and below of its nucleus' centre each pixel is, -1 to 1."""
    maps = np.zeros((2, *labels.shape), np.float32)
    for label, span in enumerate(ndimage.find_objects(labels), 1):
        if span is None:
            continue
        y, x = np.nonzero(labels[span] == label)
        for axis, at in enumerate((x, y)):
            off = at - at.mean()
            low, high = max(-off.min(), 1e-6), max(off.max(), 1e-6)
            maps[axis][span][y, x] = np.where(off < 0, off / low, off / high)
    return maps


def hover_maps(labels: np.ndarray, rng=None, *, blur: float = 0.0, noise: float = 0.0):
    """`np` and `hv` as a network gives them: the truth, blurred by `blur` px, and with noise."""
    true = {"np": (labels > 0).astype(np.float32)[None], "hv": distances(labels)}
    maps = {}
    for name, values in true.items():
        said = ndimage.gaussian_filter(values, (0, blur, blur)) if blur else values
        maps[name] = (said + rng.normal(0, noise, said.shape) if noise else said).astype(np.float32)
    maps["np"] = np.clip(maps["np"], 0, 1)
    return maps
