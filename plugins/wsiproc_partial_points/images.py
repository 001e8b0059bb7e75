"""What a training is given: images, some of their points, and crops of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from torch import nn

from wsiproc.training.fields import Field, Fields, nested
from wsiproc.training.nets import as_input, predict
from wsiproc.training.settings import FieldAugmentation, Schedule
from wsiproc.training.turning import Crop, crop_field
from wsiproc_partial_points.net import ResUNet

Points = NDArray[np.float64]
Bytes = NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class Images:
    """The train split with the points that are given.

    Parameters
    ----------
    fields
        Images at the networks' mpp.
    given
        ``[n, 2]`` of each: the points that may be learnt from.
    share
        Of each image in the crops; every data set has the same, and within one it goes by area.
    """

    fields: tuple[Field, ...]
    given: tuple[Points, ...]
    share: NDArray[np.float64]


def given(fields: Fields, fraction: float, seed: int) -> Images:
    """Draw ceil(fraction n) points of each image, without replacement.

    The paper's code draws with replacement, so that its 50 % are 39.
    """
    points = []
    for number, field in enumerate(fields.train):
        assert field.points is not None
        count = math.ceil(round(fraction * len(field.points), 6))
        drawn = nested(range(len(field.points)), count, (seed, number))
        points.append(field.points[list(drawn)])
    home = [
        next(i for i, d in enumerate(fields.sets) if any(s is f.sample for s in d.samples))
        for f in fields.train
    ]
    area = np.array([math.prod(f.pixels.shape[:2]) for f in fields.train], np.float64)
    share = area / np.bincount(home, area)[home]
    return Images(fields.train, tuple(points), share / share.sum())


def draw_crops(
    images: Images,
    points: Sequence[Points],
    rasters: Sequence[tuple[Bytes, ...]],
    rng: np.random.Generator,
    schedule: Schedule,
    augmentation: FieldAugmentation,
) -> list[Crop]:
    """The crops of a batch, with the `points` and `rasters` of each image turned as it is."""
    crops = []
    for _ in range(schedule.batch):
        i = int(rng.choice(len(images.fields), p=images.share))
        crops.append(
            crop_field(
                images.fields[i].pixels,
                rng,
                size=schedule.crop_px,
                augmentation=augmentation,
                points=points[i],
                rasters=rasters[i],
            )
        )
    return crops


def joined(given: Points, detected: Points, apart: float) -> Points:
    """The given points, and those detected ones that are further than `apart` px from all."""
    if not len(given) or not len(detected):
        return np.concatenate([given, detected])
    away, _ = cKDTree(given).query(detected)
    return np.concatenate([given, detected[away > apart]])


@torch.inference_mode()
def said(net: nn.Module, pixels: Bytes, *, mirrored: bool = False) -> NDArray[np.float32]:
    """Probabilities ``[outputs, h, w]`` of an image ``[h, w, 3]`` of any size.

    Past its edges an image is white, as a slide is; or its own mirror image, if `mirrored`: what a
    network makes of a white rim must not become its own teacher.
    """
    assert isinstance(net, ResUNet)
    height, width = pixels.shape[:2]
    rim = net.margin if mirrored else 0
    around = np.pad(pixels, ((rim, rim), (rim, rim), (0, 0)), mode="symmetric")
    image = torch.from_numpy(around).to(net.mean.device)
    logits = predict(lambda x: net(as_input(x)), image, step=net.step, margin=net.margin)
    prob: NDArray[np.float32] = torch.sigmoid(logits).cpu().numpy()
    return np.ascontiguousarray(prob[:, rim : rim + height, rim : rim + width])


def stacked(crops: Sequence[Crop]) -> NDArray[np.uint8]:
    """``[n, size, size, 3]`` pixels."""
    return np.stack([crop.pixels for crop in crops])


def spread(items: Sequence[Field], count: int) -> list[int]:
    """Indices of at most `count` of them, evenly."""
    count = min(count, len(items))
    return [round(i) for i in np.linspace(0, len(items) - 1, count)]
