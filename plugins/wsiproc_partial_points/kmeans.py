"""k-means by Lloyd's iterations, from several starts by k-means++ (Arthur, Vassilvitskii 2007)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Features = NDArray[np.float64]
_STARTS, _ITERATIONS, _SAMPLE = 5, 60, 12_000


def kmeans(features: Features, clusters: int, seed: int) -> NDArray[np.int64]:
    """The cluster ``[n]`` of each row of `features` ``[n, d]``.

    Centres are those of a sample of the rows, of the start with the least sum of squares; then
    every row goes to its nearest centre.  A cluster may stay empty where rows are too much alike.

    Parameters
    ----------
    seed
        Of the sample and of the starts.
    """
    rng = np.random.default_rng(seed)
    sample = features
    if len(features) > _SAMPLE:
        sample = features[rng.choice(len(features), _SAMPLE, replace=False)]
    best, least = sample[:clusters], np.inf
    for _ in range(_STARTS):
        centres, spread = _lloyd(sample, _spread_out(sample, clusters, rng))
        if spread < least:
            best, least = centres, spread
    member: NDArray[np.int64] = _squares(features, best).argmin(1)
    return member


def _spread_out(rows: Features, clusters: int, rng: np.random.Generator) -> Features:
    """Centres to begin with: each as likely as it is far, squared, from those chosen before."""
    centres: Features = rows[rng.integers(len(rows))][None]
    while len(centres) < clusters:
        away = _squares(rows, centres).min(1)
        total = away.sum()
        chosen = rng.choice(len(rows), p=away / total) if total > 0 else rng.integers(len(rows))
        centres = np.concatenate([centres, rows[chosen][None]])
    return centres


def _lloyd(rows: Features, centres: Features) -> tuple[Features, float]:
    """Centres that no longer move, and the sum of squares around them."""
    count = len(centres)
    for _ in range(_ITERATIONS):
        member = _squares(rows, centres).argmin(1)
        size = np.bincount(member, minlength=count)[:, None]
        sums = np.stack([np.bincount(member, column, minlength=count) for column in rows.T], 1)
        means: Features = np.where(size > 0, sums / np.maximum(size, 1), centres)
        if np.allclose(means, centres, rtol=0, atol=1e-3):
            break
        centres = means
    return centres, float(_squares(rows, centres).min(1).sum())


def _squares(rows: Features, centres: Features) -> Features:
    """``[n, k]`` squared distances."""
    cross = rows @ centres.T
    squares: Features = (rows**2).sum(1)[:, None] - 2 * cross + (centres**2).sum(1)
    return np.maximum(squares, 0.0)
