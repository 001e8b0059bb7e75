"""k-means, fitted to a sample of the rows and the best of several starts."""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.vq import kmeans2, vq

Features = NDArray[np.float64]
_STARTS, _ITERATIONS, _SAMPLE = 5, 40, 12_000


def kmeans(
    features: Features, clusters: int, seed: int, *, fitted: NDArray[np.bool_] | None = None
) -> NDArray[np.int64]:
    """The cluster ``[n]`` of each row of `features` ``[n, d]``.

    Centres are those of a sample of the rows, of the start (k-means++) with the least distances;
    then every row goes to its nearest centre.  A cluster may stay empty where rows are too alike.

    Parameters
    ----------
    seed
        Of the sample and of the starts.
    fitted
        ``[n]``: the rows that the sample is drawn from; None: all.
    """
    rng = np.random.default_rng(seed)
    sample = features if fitted is None else features[fitted]
    if len(sample) > _SAMPLE:
        sample = sample[rng.choice(len(sample), _SAMPLE, replace=False)]
    if len(np.unique(sample, axis=0)) < clusters:
        return np.zeros(len(features), np.int64)
    best, least = sample[:clusters], np.inf
    for _ in range(_STARTS):
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "One of the clusters is empty")
            centres, _ = kmeans2(sample, clusters, iter=_ITERATIONS, minit="++", seed=rng)
        spread = float((vq(sample, centres)[1] ** 2).sum())
        if spread < least:
            best, least = centres, spread
    member: NDArray[np.int64] = vq(features, best)[0].astype(np.int64)
    return member
