"""Images with points for labels, at the network's resolution, and which of them are looked at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from wsiproc.datasets import Dataset, Sample, wholly_annotated
from wsiproc.errors import ConfigError
from wsiproc.evaluate import box_centres
from wsiproc.methods import TrainingInputs
from wsiproc.training.labels import resample_pixels, resampled_size
from wsiproc.training.sets import assumed_mpp, labelled_first, names_of, note_assumed

T = TypeVar("T")


@dataclass(frozen=True, slots=True, eq=False)
class Field:
    """One image (a field of view).

    Parameters
    ----------
    sample
        Where it is from.
    mpp
        Of its file, said or assumed.
    pixels
        ``[h, w, 3]`` uint8 at the network's mpp.
    points
        ``[n, 2]`` float64 (x, y), all nuclei, in px of `pixels` (pixel centres at +.5); None where
        labels are not to be looked at.
    """

    sample: Sample
    mpp: float
    pixels: NDArray[np.uint8]
    points: NDArray[np.float64] | None

    def truth(self) -> NDArray[np.int32] | NDArray[np.float64]:
        """Instances, or points ``[n, 2]``, in px of the file, as `choose.Judged` has them."""
        if self.sample.label_kind == "instances":
            return self.sample.instances()
        return self.sample.points().xy

    def annotated(self) -> tuple[NDArray[np.uint8], float, NDArray[np.int32] | NDArray[np.float64]]:
        """As `choose.judge` takes it."""
        return self.pixels, self.mpp, self.truth()


@dataclass(frozen=True, slots=True, eq=False)
class Fields:
    """All that a training from points sees.

    Parameters
    ----------
    sets, seen
        The data sets, and the splits of each that are used, for the card.
    assumed
        mpp of those that don't say theirs.
    train
        The train splits of ``--data``, with points.
    unlabelled
        The train splits of ``--unlabelled``, without.
    check
        The val splits of those sets of ``--data`` that say their mpp.
    """

    sets: tuple[Dataset, ...]
    seen: Mapping[str, tuple[str, ...]]
    assumed: Mapping[str, float]
    train: tuple[Field, ...]
    unlabelled: tuple[Field, ...]
    check: tuple[Field, ...]

    @property
    def chosen_on(self) -> str:
        """Names of what `check` is from, for the card."""
        return f"{names_of(self.sets, [field.sample for field in self.check])} val"


def look(inputs: TrainingInputs, *, to_mpp: float, unscaled_mpp: float = 0.5) -> Fields:
    """Read ``--data`` (train and val) and ``--unlabelled`` (train, images only).

    Points are those of the file, whatever their class, or the centres of the boxes of instances.

    Parameters
    ----------
    to_mpp
        What images are resampled to.
    unscaled_mpp
        Assumed of a set that does not say its mpp, where the width of its nuclei cannot tell
        (`wsiproc.training.sets.assumed_mpp`).

    Raises
    ------
    ConfigError
        If a set of ``--data`` has no labels, or there is nothing to learn from or to choose by.
    """
    given = labelled_first(inputs)
    assumed = _assumed([dataset for dataset, _ in given], unscaled_mpp)
    note_assumed(assumed, inputs)
    train: list[Field] = []
    unlabelled: list[Field] = []
    check: list[Field] = []
    seen: dict[str, tuple[str, ...]] = {}
    for dataset, labelled in given:
        if labelled and dataset.label_kind == "none":
            raise ConfigError(f"points or instances are needed; {dataset.name} has none")
        if labelled:
            wholly_annotated(dataset, "this method")
        mpp = dataset.mpp or assumed[dataset.name]
        if "train" in dataset.splits:
            seen[dataset.name] = ("train",)
            fields = [read_field(s, mpp, to_mpp, labelled) for s in dataset.split("train")]
            (train if labelled else unlabelled).extend(fields)
        if labelled and "val" in dataset.splits and dataset.mpp is not None:
            seen[dataset.name] = (*seen.get(dataset.name, ()), "val")
            check += [read_field(s, mpp, to_mpp, True) for s in dataset.split("val")]
    if not train or not check:
        raise ConfigError("a train split is needed, and a val split with a known mpp to choose by")
    sets = tuple(dataset for dataset, _ in given)
    return Fields(sets, seen, assumed, tuple(train), tuple(unlabelled), tuple(check))


def read_field(sample: Sample, mpp: float, to_mpp: float, labelled: bool) -> Field:
    """One image of `mpp` at `to_mpp`, and its points unless it is to be unlabelled."""
    whole = sample.pixels()
    height, width = (resampled_size(n, mpp, to_mpp) for n in whole.shape[:2])
    pixels = resample_pixels(whole, height, width)
    if not labelled:
        return Field(sample, mpp, pixels, None)
    of_instances = sample.label_kind == "instances"
    xy = box_centres(sample.instances()) if of_instances else sample.points().xy
    return Field(sample, mpp, pixels, xy * (width / whole.shape[1], height / whole.shape[0]))


def nested(items: Sequence[T], count: int, seed: int | Sequence[int]) -> tuple[T, ...]:
    """`count` of `items`, drawn so that a smaller draw of the same seed lies inside a larger one.

    They keep the order that they had.

    Raises
    ------
    ConfigError
        If there are fewer.
    """
    if count > len(items):
        raise ConfigError(f"{count} labelled ones are asked for; there are {len(items)}")
    order = np.random.default_rng(seed).permutation(len(items))
    return tuple(items[i] for i in sorted(order[:count]))


def _assumed(sets: Sequence[Dataset], unscaled_mpp: float) -> dict[str, float]:
    outlined = [dataset for dataset in sets if dataset.label_kind == "instances"]
    measured = assumed_mpp(outlined) if any(d.mpp for d in outlined) else {}
    return {d.name: measured.get(d.name, unscaled_mpp) for d in sets if d.mpp is None}
