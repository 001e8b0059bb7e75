"""Labels that a segmenter gives to what was not annotated, as far as they are certain.

Sec. III-D of the paper, which takes every prediction for the truth.  Here nuclei of low scores, and
pixels that are neither surely nuclear nor surely not, are unknown; and what was annotated is never
predicted.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import nn

from wsiproc.card import Card
from wsiproc.methods import TrainingInputs, TrainingNote
from wsiproc.training import checkpoint
from wsiproc.training.fields import Field
from wsiproc_label_efficient.config import LabelEfficientConfig
from wsiproc_label_efficient.images import UNKNOWN, Image, Labels, cells, labelled
from wsiproc_label_efficient.outlines import SHOWN, outlined, write_sheet
from wsiproc_label_efficient.segmenter_config import RoundsConfig
from wsiproc_label_efficient.segmenting import Said, Segmenter

_LEAST_UNLABELLED = 0.5
"""Of a patch, to be worth predicting."""


@dataclass(frozen=True, slots=True, eq=False)
class Pool:
    """An image of the train split, and where it is annotated.

    Parameters
    ----------
    field
        The image.
    annotated
        ``[h, w]`` bool, px of the field.
    """

    field: Field
    annotated: NDArray[np.bool_]


def pool_of(field: Field, patches: Sequence[tuple[slice, slice]]) -> Pool:
    """A field of which `patches`, rows and columns of its file, are annotated."""
    annotated = np.zeros((field.pixels.shape[0], field.pixels.shape[1]), bool)
    if patches:
        height, width = field.sample.pixels().shape[:2]
        for rows, columns in patches:
            a = _scaled(rows, annotated.shape[0] / height)
            annotated[a, _scaled(columns, annotated.shape[1] / width)] = True
    return Pool(field, annotated)


def _scaled(part: slice, scale: float) -> slice:
    return slice(math.floor(part.start * scale), math.ceil(part.stop * scale))


def pseudo_labels(
    segmenter: Segmenter,
    net: nn.Module,
    card: Card,
    pool: Sequence[Pool],
    config: LabelEfficientConfig,
    inputs: TrainingInputs,
    folder: Path,
    number: int,
) -> tuple[Image, ...]:
    """Patches of the pool with what is certain of them, as `folder` has them or anew."""
    about = config.rounds
    drawn = drawn_patches(pool, config, np.random.default_rng((inputs.seed, number)))
    path = folder / "pseudo.npz"
    kept = checkpoint.kept(path)
    if kept is None:
        kept = []
        for each in pool:
            inside = [patch for home, patch in drawn if home is each]
            if inside:
                said = segmenter.said(net, card, each.field.pixels)
                labels = certain(said, each, about)
                kept += [labels[patch] for patch in inside]
        checkpoint.keep(path, kept)
    images = tuple(
        labelled(home.field.pixels[patch], labels)
        for (home, patch), labels in zip(drawn, kept, strict=True)
    )
    known = sum(image.known for image in images) / max(1, sum(i.instances.size for i in images))
    nuclei = sum(len(image.centres) for image in images)
    note = f"{len(images)} unlabelled patches: {nuclei} nuclei are kept, {known:.0%} is known"
    inputs.listener(TrainingNote(folder.name, note))
    shown = images[:: max(1, len(images) // SHOWN)][:SHOWN]
    sheet = [outlined(image.pixels, image.instances) for image in shown]
    write_sheet(folder / "pseudo.png", sheet, across=4)
    return tuple(image for image in images if image.known)


def drawn_patches(
    pool: Sequence[Pool], config: LabelEfficientConfig, rng: np.random.Generator
) -> list[tuple[Pool, tuple[slice, slice]]]:
    """Where a round predicts: patches that are mostly unlabelled, in the order of the pool."""
    every = [
        (each, patch)
        for each in pool
        for patch in cells(each.annotated.shape, config.select.size_um / mpp_of(each))
        if each.annotated[patch].mean() <= 1 - _LEAST_UNLABELLED
    ]
    count = min(config.rounds.patches, len(every))
    return [every[i] for i in sorted(rng.permutation(len(every))[:count].tolist())]


def mpp_of(pool: Pool) -> float:
    """µm per px of a field's pixels."""
    return pool.field.mpp * len(pool.field.sample.pixels()) / len(pool.annotated)


def certain(said: Said, pool: Pool, config: RoundsConfig) -> Labels:
    """The label map of a prediction, `UNKNOWN` wherever that is not sure or not asked for.

    Unknown are nuclei with a low score, pixels outside of nuclei that may be nuclear all the same,
    and all that is annotated already.
    """
    labels = said.labels(pool.annotated.shape)
    doubtful = np.concatenate([[False], said.nuclei.score <= config.keep_above])
    unknown = doubtful[labels] | pool.annotated
    if said.prob is not None:
        unknown |= (labels == 0) & (said.prob > config.background_below)
    return np.where(unknown, UNKNOWN, labels).astype(np.int32)
