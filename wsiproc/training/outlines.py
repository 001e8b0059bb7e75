"""Images with outlined nuclei, at the network's resolution; some of them outlined only in part."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wsiproc.datasets import Dataset, Sample, read_dataset
from wsiproc.errors import ConfigError
from wsiproc.methods import TrainingInputs
from wsiproc.training.labels import resample_labels, resample_pixels, resampled_size
from wsiproc.training.sets import assumed_mpp, names_of, note_assumed


@dataclass(frozen=True, slots=True, eq=False)
class Outlined:
    """One image.

    Parameters
    ----------
    sample
        Where it is from.
    mpp
        Of its file, said or assumed.
    pixels
        ``[h, w, 3]`` uint8 at the network's mpp.
    labels
        ``[h, w]`` int32, a nucleus each from 1; what is not positive is background if `complete`,
        else unknown.
    complete
        Whether every nucleus is outlined.
    """

    sample: Sample
    mpp: float
    pixels: NDArray[np.uint8]
    labels: NDArray[np.int32]
    complete: bool


@dataclass(frozen=True, slots=True, eq=False)
class Outlines:
    """All that a training from outlines sees.

    Parameters
    ----------
    sets
        The data sets.
    assumed
        mpp of those that don't say theirs.
    train
        The train splits.
    check
        Val splits of completely annotated sets with a known mpp; may be empty.
    """

    sets: tuple[Dataset, ...]
    assumed: Mapping[str, float]
    train: tuple[Outlined, ...]
    check: tuple[Outlined, ...]

    @property
    def chosen_on(self) -> str:
        """Names of what `check` is from, for the card."""
        names = names_of(self.sets, [image.sample for image in self.check])
        return f"{names} val" if names else "nothing"


def read_outlines(inputs: TrainingInputs, *, to_mpp: float) -> Outlines:
    """Read all of ``inputs.data``; sets with partial labels are welcome.

    Raises
    ------
    ConfigError
        If a set has no outlines, or there is no train split.
    """
    sets = tuple(read_dataset(folder) for folder in inputs.data)
    for dataset in sets:
        if dataset.label_kind != "instances":
            raise ConfigError(f"instances are needed; {dataset.name} has {dataset.label_kind}")
    assumed = assumed_mpp(sets)
    note_assumed(assumed, inputs)
    train: list[Outlined] = []
    check: list[Outlined] = []
    for dataset in sets:
        mpp = dataset.mpp or assumed[dataset.name]
        if "train" in dataset.splits:
            train += [read_outlined(s, mpp, to_mpp) for s in dataset.split("train")]
        if "val" in dataset.splits and dataset.mpp is not None and dataset.complete:
            check += [read_outlined(s, mpp, to_mpp) for s in dataset.split("val")]
    if not train:
        raise ConfigError("none of the data sets has a train split")
    return Outlines(sets, assumed, tuple(train), tuple(check))


def read_outlined(sample: Sample, mpp: float, to_mpp: float) -> Outlined:
    """One image of `mpp` at `to_mpp`; a pixel belongs to the nucleus that its centre lies in."""
    whole, drawn = sample.pixels(), sample.instances()
    height, width = (resampled_size(n, mpp, to_mpp) for n in whole.shape[:2])
    pixels, labels = resample_pixels(whole, height, width), resample_labels(drawn, height, width)
    return Outlined(sample, mpp, pixels, labels, sample.complete)
