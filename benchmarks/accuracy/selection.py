"""How well the patches that are chosen stand for all of a pool, by what they are chosen by.

``python -m selection DATA --k 6`` for each source of features and each way; from this folder.
Three distances between the patches and the whole train split, each an earth mover's distance in
standard deviations of the split: of the stains (which asks no labels), of the nuclei's areas and
stain, and of the number of nuclei a window.  Beside each stands the part of random draws that are
further off.  Outlines are used to measure, never to choose.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from scipy.stats import wasserstein_distance

from wsiproc.datasets import Sample, read_dataset
from wsiproc.training.augment import HED
from wsiproc_label_efficient import features
from wsiproc_label_efficient.config import FeatureConfig, SelectConfig
from wsiproc_label_efficient.consistency import Looked, Pool, choose

SOURCES = {
    "untrained": FeatureConfig(source="self", steps=0),
    "self": FeatureConfig(source="self"),
    "unet": FeatureConfig(source="model", model="unet"),
    "partial_points": FeatureConfig(source="model", model="partial_points"),
    "lair": FeatureConfig(source="model", model="lair"),
}
WAYS = {
    "cps": {},
    "without 2nd": {"second": False},
    "without 3rd": {"third": False},
    "kmeans": {"method": "kmeans"},
}
Numbers = NDArray[np.float64]
_DRAWS, _SEEDS, _THINNED = 100, 5, 4


class Truth:
    """The whole pool, and how far a choice is from it."""

    def __init__(self, samples: tuple[Sample, ...], pool: Pool, config: SelectConfig) -> None:
        mpp = features.mpp_of(samples[0])
        self.step = config.stride_um / mpp
        self.size = round(pool.edge * self.step)
        self.pool = pool
        unmix = np.linalg.inv(HED)
        self.stains: list[Numbers] = []
        self.nuclei: list[Numbers] = []
        for sample in samples:
            density = -np.log((sample.pixels().astype(np.float64) + 1) / 256) @ unmix
            self.stains.append(density[..., :2])
            labels = sample.instances()
            ids = np.unique(labels[labels > 0])
            centre = np.reshape(ndimage.center_of_mass(labels > 0, labels, ids), (-1, 2))
            area = np.bincount(labels.ravel())[ids] * mpp**2
            stain = ndimage.mean(density[..., 0], labels, ids)
            self.nuclei.append(np.column_stack([centre, area, stain]))
        self.all_stains = np.concatenate([self.thin(stain) for stain in self.stains])
        self.all_nuclei = np.concatenate(self.nuclei)[:, 2:]
        self.count = np.array([len(self.inside(i)) for i in range(len(pool))])

    def thin(self, stain: Numbers) -> Numbers:
        """Every fourth pixel along each axis."""
        return stain[::_THINNED, ::_THINNED].reshape(-1, 2)

    def corner(self, window: int) -> tuple[int, int]:
        """Row and column, px."""
        pool = self.pool
        return round(pool.row[window] * self.step), round(pool.column[window] * self.step)

    def inside(self, window: int) -> Numbers:
        """The nuclei whose centres lie in a window."""
        y, x = self.corner(window)
        nuclei = self.nuclei[self.pool.image[window]]
        off = nuclei[:, :2] - (y, x)
        return nuclei[((off >= 0) & (off < self.size)).all(1), 2:]

    def distances(self, chosen: tuple[int, ...]) -> Numbers:
        """``[3]``: of stains, of nuclei, of their number."""
        boxes = [(self.pool.image[i], *self.corner(i)) for i in chosen]
        stains = [self.stains[i][y : y + self.size, x : x + self.size] for i, y, x in boxes]
        seen = np.concatenate([self.thin(stain) for stain in stains])
        nuclei = np.concatenate([self.inside(i) for i in chosen])
        return np.array(
            [
                _apart(seen, self.all_stains),
                _apart(nuclei, self.all_nuclei),
                _apart(self.count[list(chosen), None], self.count[:, None]),
            ]
        )


def _apart(some: Numbers, every: Numbers) -> float:
    far = [wasserstein_distance(a, b) / b.std() for a, b in zip(some.T, every.T, strict=True)]
    return float(np.mean(far))


def main() -> None:
    """Measure, and print a line a way."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--k", type=int, default=6)
    parser.add_argument("--sources", nargs="+", choices=list(SOURCES), default=list(SOURCES))
    asked = parser.parse_args()
    torch.set_num_threads(1)
    samples = read_dataset(asked.data).split("train")
    config = SelectConfig(k=asked.k)
    pool = features.make_pool(config, samples)
    truth = Truth(samples, pool, config)

    def measured(config: SelectConfig, draws: int, looked: Looked | None) -> Numbers:
        def look() -> Looked:
            assert looked is not None
            return looked

        return np.array([truth.distances(choose(pool, config, s, look)) for s in range(draws)])

    drawn = measured(config.model_copy(update={"method": "random"}), _DRAWS, None)
    sys.stdout.write(f"random: {drawn.mean(0).round(3)}\n")
    for source in asked.sources:
        with tempfile.TemporaryDirectory() as folder:
            by = config.model_copy(update={"features": SOURCES[source]})
            looked = features.look(
                by, samples, pool, folder=Path(folder), seed=0, listener=lambda _event: None
            )
        for way, change in WAYS.items():
            mean = measured(by.model_copy(update=change), _SEEDS, looked).mean(0)
            better = (drawn > mean).mean(0)
            sys.stdout.write(f"{source}, {way}: {mean.round(3)}, better than {better.round(2)}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
