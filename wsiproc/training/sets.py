"""Data sets as a training sees them: at the network's resolution, and under which licences."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wsiproc.card import TrainingSet
from wsiproc.datasets import Dataset, LabelKind, Sample, read_dataset, wholly_annotated
from wsiproc.errors import ConfigError
from wsiproc.methods import TrainingInputs, TrainingNote
from wsiproc.training.augment import Pyramid, make_pyramid

FREE = ("CC0", "public domain")
"""Licences that ask nothing of what is made from the data."""


@dataclass(frozen=True, slots=True, eq=False)
class Data:
    """Images to learn from and to choose by, at the network's mpp.

    Parameters
    ----------
    sets
        Where they are from.
    assumed
        The mpp that was assumed of those sets that say none.
    learn
        The train split of each set, with the share of the crops that it is to give.
    check
        The val splits of the sets that say their mpp, at one scale.
    """

    sets: tuple[Dataset, ...]
    assumed: Mapping[str, float]
    learn: tuple[tuple[float, tuple[Pyramid, ...]], ...]
    check: tuple[tuple[Sample, Pyramid], ...]

    @property
    def chosen_on(self) -> str:
        """Names of what `check` is from, for the card."""
        return f"{names_of(self.sets, [sample for sample, _ in self.check])} val"


def load(
    inputs: TrainingInputs,
    kind: LabelKind,
    rasters: Callable[[Sample, float], NDArray[np.float32]],
    *,
    to_mpp: float,
    scales: Sequence[float],
    unscaled_share: float,
) -> Data:
    """Read all of ``inputs.data``.

    Parameters
    ----------
    kind
        The labels that the method needs.
    rasters
        ``[h, w, c]`` of a sample, at the sample's own mpp, which is given too.
    to_mpp, scales
        What images and rasters are resampled to (`wsiproc.training.augment.make_pyramid`).
    unscaled_share
        Part of the crops from sets that don't say their mpp.

    Raises
    ------
    ConfigError
        If a set has other labels, or there is nothing to learn from or to choose by.
    """
    sets = tuple(read_dataset(folder) for folder in inputs.data)
    for dataset in sets:
        if dataset.label_kind != kind:
            raise ConfigError(f"{kind} are needed; {dataset.name} has {dataset.label_kind}")
        wholly_annotated(dataset, "this method")
    assumed = assumed_mpp(sets)
    note_assumed(assumed, inputs)

    def pyramid(sample: Sample, mpp: float, at: Sequence[float]) -> Pyramid:
        return make_pyramid(
            sample.pixels(), rasters(sample, mpp), mpp=mpp, to_mpp=to_mpp, scales=at
        )

    learn: list[tuple[float, tuple[Pyramid, ...]]] = []
    check: list[tuple[Sample, Pyramid]] = []
    for dataset in sets:
        mpp = dataset.mpp or assumed[dataset.name]
        share = unscaled_share if dataset.name in assumed else 1 - unscaled_share
        if "train" in dataset.splits:
            images = (pyramid(sample, mpp, scales) for sample in dataset.split("train"))
            learn.append((share, tuple(images)))
        if "val" in dataset.splits and dataset.name not in assumed:
            check += [(sample, pyramid(sample, mpp, (1.0,))) for sample in dataset.split("val")]
    if not learn or not check:
        raise ConfigError("a train split is needed, and a val split with a known mpp to choose by")
    return Data(sets, assumed, tuple(learn), tuple(check))


def assumed_mpp(sets: Sequence[Dataset]) -> dict[str, float]:
    """For sets that don't say their mpp, that at which their median nucleus is as wide as others'.

    It is an assumption (nuclei differ between tissues) and belongs on the card as one.

    Raises
    ------
    ConfigError
        If no set has an mpp.
    """
    silent = [dataset for dataset in sets if dataset.mpp is None]
    if not silent:
        return {}
    widths = [d.mpp * median_width(d) for d in sets if d.mpp is not None]
    if not widths:
        raise ConfigError("none of the data sets says its mpp; put it into a dataset.toml")
    return {d.name: round(float(np.mean(widths)) / median_width(d), 3) for d in silent}


def note_assumed(assumed: Mapping[str, float], inputs: TrainingInputs) -> None:
    """Tell who watches the training which mpp were assumed."""
    for name, mpp in assumed.items():
        inputs.listener(TrainingNote("data", f"{name} has no mpp: {mpp:.3f} assumed"))


def names_of(sets: Sequence[Dataset], samples: Iterable[Sample]) -> str:
    """Names of the sets that any of these very samples is of."""
    there = {id(sample) for sample in samples}
    return "+".join(d.name for d in sets if any(id(s) in there for s in d.samples))


def labelled_first(inputs: TrainingInputs) -> list[tuple[Dataset, bool]]:
    """The sets of ``--data`` (True), then those of ``--unlabelled`` that are not among them."""
    given = [(read_dataset(folder), True) for folder in inputs.data]
    names = {dataset.name for dataset, _ in given}
    others = [read_dataset(folder) for folder in inputs.unlabelled]
    return given + [(dataset, False) for dataset in others if dataset.name not in names]


def median_width(dataset: Dataset) -> float:
    """Median diameter, in px, of circles with the areas of the instances."""
    counts = [np.bincount(np.maximum(s.instances(), 0).ravel())[1:] for s in dataset.samples]
    areas = np.concatenate(counts)
    if not areas.any():
        raise ConfigError(f"data set {dataset.name} has no instance at all")
    return float(2 * np.sqrt(np.median(areas[areas > 0]) / np.pi))


def on_card(
    sets: Sequence[Dataset], splits: Sequence[str], assumed: Mapping[str, float]
) -> tuple[TrainingSet, ...]:
    """What a card says of the data: each split that was seen, by whom, under which licence."""
    listed = []
    for dataset in sets:
        for split in (name for name in dataset.splits if name in splits):
            notes = [dataset.title]
            if dataset.name in assumed:
                notes.append(f"mpp {assumed[dataset.name]} assumed, since it does not say")
            if split == "val":
                notes.append("only to choose weights and thresholds by")
            listed.append(
                TrainingSet(
                    name=dataset.name,
                    split=split,
                    images=len(dataset.split(split)),
                    licence=dataset.licence,
                    source=dataset.source,
                    note="; ".join(note for note in notes if note),
                )
            )
    return tuple(listed)


def licence_of_weights(sets: Sequence[Dataset]) -> str:
    """The data's licences joined: weights are given on under all that was asked of the data."""
    asked = sorted({d.licence for d in sets if not d.licence.startswith(FREE)})
    return " AND ".join(asked) or "CC0-1.0"
