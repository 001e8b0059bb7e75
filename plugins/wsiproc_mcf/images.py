"""The images that both branches learn from, at their mpp, brought to one stain."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wsiproc.datasets import Dataset, Sample
from wsiproc.errors import ConfigError
from wsiproc.methods import TrainingInputs, TrainingNote
from wsiproc.stain import apply_stain, estimate_stain, stain_target
from wsiproc.training.labels import resample_pixels, resampled_size
from wsiproc.training.sets import labelled_first, names_of, note_assumed
from wsiproc_mcf.config import MCFConfig

ESTIMATED_AT_UM = 1.0
"""Resolution at which an image's own stain is estimated.  A field of view has too few pixels at
`wsiproc.stain.SAMPLE_UM`; source and target share this one."""
_GAIN = (0.35, 1.5)
"""No stain is weakened or strengthened by more: a field of view with few nuclei has little
haematoxylin, and must not be given much."""
_LEAST_COSINE = 0.96
"""Between a stain and what it is to become; further apart, the two were told apart wrongly."""


@dataclass(frozen=True, slots=True, eq=False)
class Field:
    """One image of a train split (a field of view).

    Parameters
    ----------
    sample
        Where it is from.  Its labels are looked at for templates only, see `templates.chosen`.
    mpp
        Of its file, said or assumed.
    raw
        ``[h, w, 3]`` uint8 at the network's mpp.
    normal
        The same, brought to the training's stain.
    labelled
        Whether it is of ``--data``, where templates may be chosen.
    """

    sample: Sample
    mpp: float
    raw: NDArray[np.uint8]
    normal: NDArray[np.uint8]
    labelled: bool


@dataclass(frozen=True, slots=True, eq=False)
class Images:
    """All that a training sees.

    Parameters
    ----------
    sets, seen
        The data sets, and the splits of each that were used, for the card.
    assumed
        mpp of those that don't say theirs.
    fields
        The train splits, less the unlabelled images whose stain cannot be brought to the others':
        filters see all of a purple image as nuclei.
    check
        Val images of ``--data``: sample and raw ``[h, w, 3]`` uint8 at the network's mpp.
    stain_target
        For the card: the stain that `Field.normal` has, as a slide's is estimated.
    """

    sets: tuple[Dataset, ...]
    seen: Mapping[str, tuple[str, ...]]
    assumed: Mapping[str, float]
    fields: tuple[Field, ...]
    check: tuple[tuple[Sample, NDArray[np.uint8]], ...]
    stain_target: tuple[tuple[float, float, float], ...]

    @property
    def chosen_on(self) -> str:
        """Names of what `check` is from, for the card."""
        return f"{names_of(self.sets, [sample for sample, _ in self.check])} val"


def look(config: MCFConfig, inputs: TrainingInputs) -> Images:
    """Read train splits of ``--data`` and ``--unlabelled``, and val splits of the former.

    Raises
    ------
    ConfigError
        If there is nothing to learn from, or nothing with instances and an mpp to choose by.
    """
    sets = labelled_first(inputs)
    assumed = {d.name: config.unscaled_mpp for d, _ in sets if d.mpp is None}
    note_assumed(assumed, inputs)
    read: list[tuple[Sample, float, NDArray[np.uint8], bool]] = []
    check: list[tuple[Sample, NDArray[np.uint8]]] = []
    seen: dict[str, tuple[str, ...]] = {}
    for dataset, labelled in sets:
        mpp = dataset.mpp or config.unscaled_mpp
        for sample in dataset.split("train") if "train" in dataset.splits else ():
            seen[dataset.name] = ("train",)
            read.append((sample, mpp, _at(sample, mpp, config.mpp), labelled))
        usable = labelled and dataset.mpp is not None and dataset.label_kind == "instances"
        if usable and "val" in dataset.splits:
            seen[dataset.name] = (*seen.get(dataset.name, ()), "val")
            check += [(s, _at(s, mpp, config.mpp)) for s in dataset.split("val")]
    if not any(labelled for *_, labelled in read) or not check:
        raise ConfigError(
            "--data needs a train split, and a val split with instances and a known mpp to choose "
            "thresholds by"
        )
    raw = [pixels for _, _, pixels, _ in read]
    own = [stain_of(pixels, config.mpp) for pixels in raw]
    told = [s for s, (*_, labelled) in zip(own, read, strict=True) if labelled and s is not None]
    if not told:
        raise ConfigError("haematoxylin and eosin cannot be told apart in the images of --data")
    aim = np.median(told, axis=0)
    fields = []
    for (sample, mpp, pixels, labelled), source in zip(read, own, strict=True):
        normal = brought_to(aim, source, pixels)
        if normal is not None or labelled:
            seen_as = pixels if normal is None else normal
            fields.append(Field(sample, mpp, pixels, seen_as, labelled))
    left_out = len(read) - len(fields)
    if left_out:
        said = f"{left_out} unlabelled images of {len(read)} in all have another stain: left out"
        inputs.listener(TrainingNote("data", said))
    kept = {id(field.sample) for field in fields}
    for dataset, _ in sets:
        if dataset.name in seen and not any(id(s) in kept for s in dataset.samples):
            del seen[dataset.name]
    return Images(
        sets=tuple(dataset for dataset, _ in sets),
        seen=seen,
        assumed=assumed,
        fields=tuple(fields),
        check=tuple(check),
        stain_target=stain_target([f.normal for f in fields if f.labelled], config.mpp),
    )


def _at(sample: Sample, mpp: float, to_mpp: float) -> NDArray[np.uint8]:
    pixels = sample.pixels()
    height, width = (resampled_size(n, mpp, to_mpp) for n in pixels.shape[:2])
    return resample_pixels(pixels, height, width)


def stain_of(image: NDArray[np.uint8], mpp: float) -> NDArray[np.float64] | None:
    """An image's stain vectors times the 99th percentile of each, ``[2, 3]``; None if untold."""
    height, width = (resampled_size(n, mpp, ESTIMATED_AT_UM) for n in image.shape[:2])
    try:
        vectors, c99 = estimate_stain(resample_pixels(image, height, width))
    except ConfigError:
        return None
    return vectors * c99[:, None]


def brought_to(
    aim: NDArray[np.float64], source: NDArray[np.float64] | None, image: NDArray[np.uint8]
) -> NDArray[np.uint8] | None:
    """`image` with the stain `aim` in place of `source`.

    None where the two are not alike: haematoxylin and eosin were told apart wrongly, or are
    something else.
    """
    if source is None:
        return None
    strong, wanted = np.linalg.norm(source, axis=1), np.linalg.norm(aim, axis=1)
    if strong.min() < 1e-3:
        return None
    unit = aim / wanted[:, None]
    if ((source / strong[:, None]) * unit).sum(axis=1).min() < _LEAST_COSINE:
        return None
    gain = np.clip(wanted / strong, *_GAIN)
    matrix = np.linalg.pinv(source) @ (unit * (gain * strong)[:, None])
    return (apply_stain(image, matrix.astype(np.float32)) + 0.5).astype(np.uint8)
