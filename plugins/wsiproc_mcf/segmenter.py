"""The segmentation branch: a U-Net that learns from what the detection is certain of."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from wsiproc.datasets import Sample
from wsiproc.training.augment import Pyramid, crops, make_pyramid, restain
from wsiproc.training.labels import IGNORE, resample_raster
from wsiproc.training.loop import Batch, Stage
from wsiproc.training.nets import ResidualUNet, as_input, predict
from wsiproc_mcf.config import MCFConfig
from wsiproc_mcf.images import Field, Images
from wsiproc_mcf.losses import confidence, cross_entropy, weighted
from wsiproc_mcf.masks import Masks
from wsiproc_mcf.synthesis import Material, compose, gather

T = TypeVar("T")


def learning(
    name: str,
    images: Images,
    masks: Sequence[Masks],
    config: MCFConfig,
    steps_batch: tuple[int, int],
) -> Stage:
    """The first stage of a round: pseudo masks, and synthetic samples beside them.

    Parameters
    ----------
    masks
        Of each of ``images.fields``.
    steps_batch
        Crops of a batch, and their edge in px.
    """
    batch, size = steps_batch
    synthetic = round(batch * config.synthesis.share)

    @functools.cache
    def groups() -> list[tuple[float, list[Pyramid]]]:
        rasters = [np.stack([m.label, m.response / np.float32(255)], -1) for m in masks]
        return grouped(images.fields, rasters, config)

    @functools.cache
    def material() -> list[tuple[float, list[Material]]]:
        found = [
            gather(field.normal, m.nuclei, m.background, config.synthesis, config.mpp)
            for field, m in zip(images.fields, masks, strict=True)
        ]
        return by_share(images.fields, found, config)

    def draw(rng: np.random.Generator) -> Batch:
        made = synthetic if any(part for _, part in material()) else 0
        image, target = crops(
            groups(), rng, count=batch - made, size=size, augmentation=config.augmentation
        )
        if made:
            samples = [_sample(material(), rng, size, config) for _ in range(made)]
            image = np.concatenate([image, np.stack([pixels for pixels, _ in samples])])
            target = np.concatenate([target, np.stack([raster for _, raster in samples])])
        exact = np.arange(batch) >= batch - made
        return {"image": image, "target": target, "exact": exact}

    def loss(net: nn.Module, tensors: Mapping[str, Tensor]) -> Tensor:
        logit = net(as_input(tensors["image"]))[:, 0]
        label, response = tensors["target"].unbind(1)
        real = ~tensors["exact"]
        total = _real_loss(logit[real], label[real], response[real], config)
        if not real.all():
            total = total + cross_entropy(logit[~real], label[~real])
        return total

    return Stage(name, draw, loss, checking(images.check), better=None)


def _real_loss(logit: Tensor, label: Tensor, response: Tensor, config: MCFConfig) -> Tensor:
    if config.loss == "cross_entropy":
        return cross_entropy(logit, label)
    if config.loss == "weighted":
        return weighted(logit, response, torch.ones_like(label, dtype=torch.bool))
    return confidence(logit, label, config.nucleus_weight)


def believing(
    name: str,
    images: Images,
    believed: Callable[[], Sequence[NDArray[np.float32]]],
    config: MCFConfig,
    batch: int,
    size: int,
) -> Stage:
    """The second stage: the confidence loss on what the network itself is certain of (eq. 6).

    Eq. 6 prints ``T(p0 < t3)`` for the background, which are nuclei; it has to be ``p1 < t3``.

    Parameters
    ----------
    believed
        Gives each field's probabilities ``[h, w]``; asked only if there is still to learn.
    """

    @functools.cache
    def groups() -> list[tuple[float, list[Pyramid]]]:
        rasters = [self_label(prob, config)[..., None] for prob in believed()]
        return grouped(images.fields, rasters, config)

    def draw(rng: np.random.Generator) -> Batch:
        image, target = crops(
            groups(), rng, count=batch, size=size, augmentation=config.augmentation
        )
        return {"image": image, "target": target}

    def loss(net: nn.Module, tensors: Mapping[str, Tensor]) -> Tensor:
        logit = net(as_input(tensors["image"]))[:, 0]
        return confidence(logit, tensors["target"][:, 0], config.nucleus_weight)

    return Stage(name, draw, loss, checking(images.check), better=None)


def self_label(prob: NDArray[np.float32], config: MCFConfig) -> NDArray[np.float32]:
    """1 where p1 > t2, 0 where p1 < t3, else `IGNORE`."""
    known = np.where(prob < config.self_background, 0.0, IGNORE)
    return np.where(prob > config.self_nucleus, 1.0, known).astype(np.float32)


def grouped(
    fields: Sequence[Field], rasters: Sequence[NDArray[np.float32]], config: MCFConfig
) -> list[tuple[float, list[Pyramid]]]:
    """What crops are cut from: each image both normalised, as slides arrive, and as it is, as
    small images do."""
    scales = config.augmentation.scales
    made = []
    for field, raster in zip(fields, rasters, strict=True):
        normal = make_pyramid(
            field.normal, raster, mpp=config.mpp, to_mpp=config.mpp, scales=scales
        )
        raw = make_pyramid(
            field.raw, raster[..., :0], mpp=config.mpp, to_mpp=config.mpp, scales=scales
        )
        made.append(Pyramid(normal.pixels + raw.pixels, normal.targets * 2))
    return by_share(fields, made, config)


def by_share(
    fields: Sequence[Field], values: Sequence[T | None], config: MCFConfig
) -> list[tuple[float, list[T]]]:
    """What belongs to ``--data`` and to ``--unlabelled``, with the share of each."""
    ours = [v for f, v in zip(fields, values, strict=True) if f.labelled and v is not None]
    others = [v for f, v in zip(fields, values, strict=True) if not f.labelled and v is not None]
    share = config.unlabelled_share
    parts = [(1 - share, ours), (share, others)]
    return [(part, some) for part, some in parts if some and part > 0]


def _sample(
    material: Sequence[tuple[float, Sequence[Material]]],
    rng: np.random.Generator,
    size: int,
    config: MCFConfig,
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    share = np.array([part for part, _ in material])
    some = material[int(rng.choice(len(material), p=share / share.sum()))][1]
    pixels, mask = compose(
        some[int(rng.integers(len(some)))], rng, size, config.synthesis, config.mpp
    )
    return restain(pixels, rng, config.augmentation), np.stack([mask, mask])


def checking(
    check: Sequence[tuple[Sample, NDArray[np.uint8]]],
) -> Callable[[nn.Module], Mapping[str, float]]:
    """Dice and pixel accuracy of p1 > .5 on the val images: watched, and nothing chosen by it."""

    @functools.cache
    def truth() -> list[NDArray[np.bool_]]:
        found = []
        for sample, pixels in check:
            inside = (sample.instances() > 0).astype(np.float32)[..., None]
            found.append(resample_raster(inside, *pixels.shape[:2])[..., 0] > 0.5)
        return found

    def measure(net: nn.Module) -> dict[str, float]:
        both = total = right = size = 0.0
        for (_, pixels), true in zip(check, truth(), strict=True):
            seen = probability(net, pixels) > 0.5
            both += float((seen & true).sum())
            total += float(seen.sum() + true.sum())
            right += float((seen == true).sum())
            size += true.size
        return {"dice": 2 * both / max(total, 1.0), "pa": right / max(size, 1.0)}

    return measure


def probability(
    net: nn.Module, pixels: NDArray[np.uint8], *, mirrored: bool = False
) -> NDArray[np.float32]:
    """p1 of an image of any size: ``[h, w, 3]`` uint8 -> ``[h, w]``.

    Past its edges an image is white, as a slide is; or its own mirror image, if `mirrored`: what
    the network makes of a white rim must not become its own teacher.
    """
    assert isinstance(net, ResidualUNet)
    height, width = pixels.shape[:2]
    rim = net.margin if mirrored else 0
    around = np.pad(pixels, ((rim, rim), (rim, rim), (0, 0)), mode="symmetric")
    logit = predict(
        lambda x: net(as_input(x)), torch.from_numpy(around), step=net.step, margin=net.margin
    )
    said: NDArray[np.float32] = torch.sigmoid(logit[0]).numpy()
    return said[rim : rim + height, rim : rim + width]
