"""Consistency-based patch selection (Lou et al. 2022, sec. III-A): which windows stand for all.

Arrays in, numbers out: where features come from is the matter of `features`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from wsiproc.errors import ConfigError
from wsiproc_label_efficient.clustering import Features, kmeans
from wsiproc_label_efficient.config import SelectConfig

Numbers = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Pool:
    """All windows that may be chosen.

    Parameters
    ----------
    image, row, column
        ``[n]`` int64: where each lies, image and place on the lattice of strides.
    edge
        Of a window, in strides; even.
    """

    image: Numbers
    row: Numbers
    column: Numbers
    edge: int

    def __len__(self) -> int:
        return len(self.image)

    def overlap(self, window: int) -> NDArray[np.float64]:
        """``[n]``: intersection over union of each with one of them."""
        high = np.maximum(0, self.edge - abs(self.row - self.row[window]))
        wide = np.maximum(0, self.edge - abs(self.column - self.column[window]))
        both = np.where(self.image == self.image[window], high * wide, 0)
        union = 2 * self.edge**2 - both
        ratio: NDArray[np.float64] = both / union
        return ratio


@dataclass(frozen=True, slots=True, eq=False)
class Looked:
    """What the windows of a pool look like.

    Parameters
    ----------
    windows
        ``[n, d]``.
    quarters
        ``[m, d]``: of every place on the lattice where half a window fits.
    parts
        ``[n, 4]``: the rows of `quarters` that make up a window.
    """

    windows: Features
    quarters: Features
    parts: Numbers


def choose(
    pool: Pool, config: SelectConfig, seed: int, look: Callable[[], Looked]
) -> tuple[int, ...]:
    """The windows to annotate, ``config.k`` rows of `pool`, no two on the same pixels.

    Parameters
    ----------
    look
        Gives the features; not called by ways that compare nothing.

    Raises
    ------
    ConfigError
        If there is no room for so many, or, for ``centre``, fewer images.
    """
    rng = np.random.default_rng(seed)
    match config.method:
        case "random":
            return _apart(pool, [rng.permutation(len(pool))] * config.k, config)
        case "centre":
            return _middles(pool, config, rng)
        case "kmeans" | "cps":
            return _apart(pool, ranked(look(), config, rng), config)


def ranked(looked: Looked, config: SelectConfig, rng: np.random.Generator) -> list[Numbers]:
    """Of each cluster, the largest first, its windows by eq. 1, the lowest first.

    ``kmeans`` knows the first of its three terms alone.
    """
    centres, member = kmeans(looked.windows, config.k, rng, starts=config.starts)
    order = np.argsort(-np.bincount(member), kind="stable")
    ranks = []
    for cluster in order:
        inside = np.flatnonzero(member == cluster)
        score = _length(looked.windows[inside] - centres[cluster])
        if config.method == "cps":
            parts = looked.quarters[looked.parts[inside]]
            if config.second:
                score = score + _length(parts - _typical(parts, config, rng)).mean(1)
            if config.third:
                score = score + disagreement(parts)
        ranks.append(inside[np.argsort(score, kind="stable")])
    return ranks


def disagreement(parts: Features) -> NDArray[np.float64]:
    """``[n]``: the largest distance between two of the four of ``[n, 4, d]``."""
    pairs = [_length(parts[:, i] - parts[:, j]) for i, j in combinations(range(4), 2)]
    furthest: NDArray[np.float64] = np.max(pairs, axis=0)
    return furthest


def _typical(parts: Features, config: SelectConfig, rng: np.random.Generator) -> Features:
    """``[d]``: the centre of the largest of the clusters of all quarters, c* of algorithm 1."""
    centres, member = kmeans(
        parts.reshape(-1, parts.shape[-1]), config.k2, rng, starts=config.starts
    )
    typical: Features = centres[np.bincount(member).argmax()]
    return typical


def _length(vectors: Features) -> NDArray[np.float64]:
    length: NDArray[np.float64] = np.linalg.norm(vectors.astype(np.float64), axis=-1)
    return length


def _apart(pool: Pool, ranks: list[Numbers], config: SelectConfig) -> tuple[int, ...]:
    """The first of each list that no one chosen before lies on; lists are gone round again if
    one has none, or if there are fewer than ``config.k``."""
    chosen: list[int] = []
    free = np.ones(len(pool), bool)
    while len(chosen) < config.k:
        before = len(chosen)
        for rank in ranks[: config.k - len(chosen)]:
            left = rank[free[rank]]
            if len(left):
                chosen.append(int(left[0]))
                free &= pool.overlap(int(left[0])) <= config.most_overlap
                free[left[0]] = False
        if len(chosen) == before:
            raise ConfigError(
                f"beside the {before} patches chosen there is no room for another of "
                f"{config.size_um:g} µm: ask for fewer (--k), for smaller ones "
                "(select.size_um), let them overlap (select.most_overlap), or give more images"
            )
    return tuple(chosen)


def _middles(pool: Pool, config: SelectConfig, rng: np.random.Generator) -> tuple[int, ...]:
    images = np.unique(pool.image)
    if len(images) < config.k:
        raise ConfigError(
            f"{config.k} middles are wanted of {len(images)} images that are large enough: ask for "
            "fewer (--k), in another --out"
        )
    chosen = []
    for image in rng.permutation(images)[: config.k]:
        inside = np.flatnonzero(pool.image == image)
        row, column = pool.row[inside], pool.column[inside]
        off = abs(row * 2 - row.max()) + abs(column * 2 - column.max())
        chosen.append(int(inside[off.argmin()]))
    return tuple(chosen)
