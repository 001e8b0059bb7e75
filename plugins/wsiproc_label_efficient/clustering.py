"""k-means, the best of several starts."""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.vq import kmeans2, vq

Features = NDArray[np.float32]
_ITERATIONS, _SAMPLE = 40, 8_000


def kmeans(
    features: Features, clusters: int, rng: np.random.Generator, *, starts: int
) -> tuple[Features, NDArray[np.int64]]:
    """Centres ``[k, d]`` and, of each row of `features` ``[n, d]``, its cluster ``[n]``.

    Centres are found on a sample of the rows, from the start (k-means++) with the least squared
    distances; then every row goes to its nearest, and centres become the means of their rows.
    Where rows are too alike for so many clusters, `k` is smaller than asked for; none is empty.

    Parameters
    ----------
    rng
        Of the sample and of the starts.
    starts
        How many are tried.
    """
    sample = features
    if len(sample) > _SAMPLE:
        sample = sample[rng.choice(len(sample), _SAMPLE, replace=False)]
    clusters = min(clusters, len(np.unique(sample, axis=0)))
    best, least = sample[:clusters], np.inf
    for _ in range(starts):
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "One of the clusters is empty")
            centres, _ = kmeans2(sample, clusters, iter=_ITERATIONS, minit="++", seed=rng)
        spread = float((vq(sample, centres)[1].astype(np.float64) ** 2).sum())
        if spread < least:
            best, least = centres, spread
    _, member = np.unique(vq(features, best)[0], return_inverse=True)
    count = np.bincount(member).astype(np.float64)
    total = np.zeros((len(count), features.shape[1]))
    np.add.at(total, member, features)
    return (total / count[:, None]).astype(np.float32), member.astype(np.int64)
