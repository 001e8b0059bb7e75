"""What `decode.hover` is compared with: its own rule as plain loops, and HoVer-Net's."""

from __future__ import annotations

import numpy as np
from scipy import ndimage
from skimage.segmentation import watershed

FOUR = ((-1, 0), (0, -1), (0, 1), (1, 0))
EIGHT = (*FOUR, (-1, -1), (-1, 1), (1, -1), (1, 1))


def hovernet(prob: np.ndarray, hv: np.ndarray, ksize: int = 21) -> np.ndarray:
    """Labels by HoVer-Net's own post-processing (Graham 2019, sec. 3.2), of a whole image."""
    inside = _without_small(ndimage.label(prob >= 0.5)[0], 10) > 0
    pascal = np.ones(1)
    for _ in range(ksize - 2):
        pascal = np.convolve(pascal, [1, 1])
    derivative, smooth = np.convolve(pascal, [-1, 1]), np.convolve(pascal, [1, 1])
    steep = []
    for axis, values in enumerate(hv.astype(float)):
        along = ndimage.correlate1d(_stretched(values), derivative, 1 - axis, mode="mirror")
        steep.append(1 - _stretched(ndimage.correlate1d(along, smooth, axis, mode="mirror")))
    border = np.clip(np.maximum(*steep) - ~inside, 0, None)
    height = -ndimage.gaussian_filter((1 - border) * inside, 0.8, truncate=1.25)
    marker = ndimage.binary_fill_holes(inside & (border < 0.4))
    ellipse = np.ones((5, 5), bool)
    ellipse[[0, 0, 0, 0, -1, -1, -1, -1], [0, 1, 3, 4, 0, 1, 3, 4]] = False
    marker = _without_small(ndimage.label(ndimage.binary_opening(marker, ellipse))[0], 10)
    return watershed(height, marker, mask=inside)


def _stretched(values: np.ndarray) -> np.ndarray:
    return (values - values.min()) / (values.max() - values.min())


def _without_small(labels: np.ndarray, least: int) -> np.ndarray:
    return np.where(np.bincount(labels.ravel())[labels] >= least, labels, 0)


def flooded(inside, inner, core, threshold: float, stages: int, steps, radius: int) -> np.ndarray:
    """Labels of nuclei grown from the pieces of `core`, a pixel at a time."""
    pieces, n = ndimage.label(core, np.ones((3, 3)))
    seeds = []
    for piece, (rows, columns) in enumerate(ndimage.find_objects(pieces), 1):
        y, x = np.nonzero(pieces == piece)
        middle_y, middle_x = rows.start + rows.stop - 1, columns.start + columns.stop - 1
        best = np.lexsort((x, y, (2 * y - middle_y) ** 2 + (2 * x - middle_x) ** 2))[0]
        seeds.append((y[best], x[best], piece))
    seeds.sort()
    labels = np.zeros(inside.shape, np.int32)
    for n, (y, x, piece) in enumerate(seeds, 1):
        v, u = np.nonzero(pieces == piece)
        near = (v - y) ** 2 + (u - x) ** 2 <= radius**2
        labels[v[near], u[near]] = n
    allowed = np.full(inside.shape, len(steps))
    for k in range(stages, 0, -1):
        allowed[inner > (1 - threshold) * (1 - (k - 1) / stages)] = k
    waiting = [tuple(p) for p in np.argwhere(labels)]
    clock = 0
    for stage, count in enumerate(steps, 1):
        later, front, finish = [], waiting, clock + count
        while clock < finish and front:
            clock += 1
            wanted: dict[tuple[int, int], int] = {}
            for y, x in front:
                blocked = False
                for dy, dx in FOUR if clock % 2 else EIGHT:
                    q = (y + dy, x + dx)
                    if not (0 <= q[0] < inside.shape[0] and 0 <= q[1] < inside.shape[1]):
                        continue
                    if labels[q] or not inside[q]:
                        continue
                    if allowed[q] > stage:
                        blocked = True
                        continue
                    label = labels[y, x]
                    if np.hypot(*np.subtract(q, seeds[label - 1][:2])) <= radius:
                        wanted[q] = min(wanted.get(q, label), label)
                if blocked:
                    later.append((y, x))
            for q, label in wanted.items():
                labels[q] = label
            front = list(wanted)
        clock = finish
        waiting = later + front
    return _mended(labels, seeds)


def _mended(labels: np.ndarray, seeds) -> np.ndarray:
    out = np.zeros_like(labels)
    for n, (y, x, _) in enumerate(seeds, 1):
        own = ndimage.label(labels == n)[0]
        own = ndimage.binary_fill_holes(own == own[y, x], np.ones((3, 3)))
        out[own & (out == 0)] = n
    return out


def pasted_slowly(box, mask, corner, size, threshold: float, grown) -> np.ndarray:
    """``[h, w]`` bool: a mask in its box, by SciPy's interpolation."""
    far = 60
    y, x = np.mgrid[-far : size[0] + far, -far : size[1] + far] + 0.5
    cells = len(mask)
    v = (y - corner[1] - box[1]) / (box[3] - box[1]) * cells - 0.5
    u = (x - corner[0] - box[0]) / (box[2] - box[0]) * cells - 0.5
    inside = (u >= -0.5) & (u < cells - 0.5) & (v >= -0.5) & (v < cells - 0.5)
    padded = np.pad(mask.astype(float), 1)
    found = inside & (ndimage.map_coordinates(padded, [v + 1, u + 1], order=1) > threshold)
    if len(grown):
        found = np.any([found, *(np.roll(found, tuple(step), (0, 1)) for step in grown)], axis=0)
    return found[far:-far, far:-far]
