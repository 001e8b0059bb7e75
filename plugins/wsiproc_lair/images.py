"""Crops with points and without, and what is drawn around points."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wsiproc.methods import TrainingInputs, TrainingNote
from wsiproc.training.augment import restain
from wsiproc.training.fields import Field, Fields, look, nested
from wsiproc.training.labels import IGNORE, odd_px
from wsiproc.training.settings import FieldAugmentation, Schedule
from wsiproc.training.turning import Crop, crop_field
from wsiproc_lair.config import LAIRConfig

_DRAW = 31
"""Sets the draw of labelled images apart from all else that comes of the seed."""


@dataclass(frozen=True, slots=True, eq=False)
class Images:
    """What a training sees.

    Parameters
    ----------
    fields
        All that was read.
    labelled
        Those whose points are learnt from.
    unlabelled
        Those whose pixels alone are: all others, or where there are none the same ones.
    """

    fields: Fields
    labelled: tuple[Field, ...]
    unlabelled: tuple[Field, ...]


def see(config: LAIRConfig, inputs: TrainingInputs) -> Images:
    """Read the data and draw the labelled images.

    Raises
    ------
    ConfigError
        If there are fewer than ``config.labelled``, or nothing to choose by.
    """
    fields = look(inputs, to_mpp=config.mpp, unscaled_mpp=config.unscaled_mpp)
    wanted = len(fields.train) if config.labelled is None else config.labelled
    labelled = nested(fields.train, wanted, (inputs.seed, _DRAW))
    known = {id(field) for field in labelled}
    others = [field for field in fields.train if id(field) not in known]
    unlabelled = (*others, *fields.unlabelled) or labelled
    nuclei = sum(len(field.points) for field in labelled if field.points is not None)
    said = f"{nuclei} points on {len(labelled)} images, {len(unlabelled)} images without"
    inputs.listener(TrainingNote("data", said))
    return Images(fields, labelled, unlabelled)


def squares(
    points: NDArray[np.float64], seen: NDArray[np.bool_], edge_px: int
) -> NDArray[np.float32]:
    """``[h, w]``: 1 within a square around each point, else 0; `IGNORE` where nothing is seen.

    Parameters
    ----------
    points
        ``[n, 2]`` (x, y), pixel centres at +.5; those outside reach in with their squares.
    edge_px
        Odd.
    """
    out = np.zeros(seen.shape, np.float32)
    reach = edge_px // 2
    for x, y in np.floor(points).astype(np.int64):
        rows = slice(max(0, y - reach), max(0, y + reach + 1))
        out[rows, max(0, x - reach) : max(0, x + reach + 1)] = 1.0
    out[~seen] = IGNORE
    return out


def with_points(
    fields: Sequence[Field], rng: np.random.Generator, schedule: Schedule, config: LAIRConfig
) -> dict[str, NDArray[np.generic]]:
    """``image`` ``[n, s, s, 3]`` uint8 and ``target`` ``[n, s, s]`` float32 (`squares`)."""
    edge = odd_px(config.label_um, config.mpp)
    images, targets = [], []
    for _ in range(schedule.batch):
        field = _any(fields, rng)
        crop = _crop(field, rng, schedule, config.augmentation)
        images.append(crop.pixels)
        targets.append(squares(crop.points, crop.seen, edge))
    return {"image": np.stack(images), "target": np.stack(targets)}


def without_points(
    fields: Sequence[Field],
    rng: np.random.Generator,
    schedule: Schedule,
    config: LAIRConfig,
    stains: Sequence[str],
) -> dict[str, NDArray[np.generic]]:
    """The same crops ``[n, s, s, 3]`` uint8 several times over.

    ``plain`` as they are, and restained, each time in another way, under the names of `stains`.
    """
    plain = config.augmentation.model_copy(update=_UNSTAINED)
    crops = [_crop(_any(fields, rng), rng, schedule, plain).pixels for _ in range(schedule.batch)]
    seen_as = {
        name: np.stack([restain(crop, rng, config.augmentation) for crop in crops])
        for name in stains
    }
    return {"plain": np.stack(crops), **seen_as}


def certain(prob: NDArray[np.float32], theta: float) -> NDArray[np.uint8]:
    """What is believed of a map ``[h, w]``: 2 nucleus, 1 background, 0 unknown."""
    return np.where(prob > theta, 2, prob < 1 - theta).astype(np.uint8)


def believed(
    fields: Sequence[Field],
    beliefs: Sequence[NDArray[np.uint8]],
    rng: np.random.Generator,
    schedule: Schedule,
    config: LAIRConfig,
) -> dict[str, NDArray[np.generic]]:
    """Crops without points, and what is believed there (`certain`).

    Returns
    -------
    ``unlabelled`` and ``believed``: as ``image`` and ``target`` of `with_points`.
    """
    images, targets = [], []
    for _ in range(schedule.batch):
        index = _index(fields, rng)
        crop = _crop(fields[index], rng, schedule, config.augmentation, beliefs[index])
        images.append(crop.pixels)
        # Where nothing is seen the raster is 0: unknown, as it should be.
        targets.append(crop.rasters[0].astype(np.float32) - 1.0)
    return {"unlabelled": np.stack(images), "believed": np.stack(targets)}


_UNSTAINED = {
    "stain_gain": 0.0,
    "stain_depth": 0.0,
    "stain_turn": 0.0,
    "stain_shift": 0.0,
    "light": 0.0,
    "blur_px": 0.0,
    "noise": 0.0,
    "jpeg": False,
}


def _index(fields: Sequence[Field], rng: np.random.Generator) -> int:
    area = np.array([np.prod(field.pixels.shape[:2]) for field in fields], np.float64)
    return int(rng.choice(len(fields), p=area / area.sum()))


def _any(fields: Sequence[Field], rng: np.random.Generator) -> Field:
    return fields[_index(fields, rng)]


def _crop(
    field: Field,
    rng: np.random.Generator,
    schedule: Schedule,
    augmentation: FieldAugmentation,
    *rasters: NDArray[np.uint8],
) -> Crop:
    return crop_field(
        field.pixels,
        rng,
        size=schedule.crop_px,
        augmentation=augmentation,
        points=field.points,
        rasters=rasters,
    )
