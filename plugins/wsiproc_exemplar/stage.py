"""How the network learns: its crops, its loss, what chooses it, and the paper's optimiser."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from wsiproc.card import Card
from wsiproc.training.choose import measure
from wsiproc.training.judging import JudgedWindows, judge
from wsiproc.training.loop import Batch, Stage
from wsiproc.training.mask_rcnn import targets_of
from wsiproc.training.mask_rcnn_windows import WindowDetector
from wsiproc.training.nets import as_input
from wsiproc.training.outlines import Outlined
from wsiproc.training.settings import Schedule
from wsiproc.training.turning import Crop, crop_field
from wsiproc_exemplar.config import ExemplarConfig
from wsiproc_exemplar.net import ExemplarNet

NAME = "exemplar"
TRIES = 8
"""Crops that are drawn of an image with partial outlines to find one with an outline."""


def stage(
    config: ExemplarConfig, images: Sequence[Outlined], check: Sequence[Outlined], card: Card
) -> Stage:
    """What `wsiproc.training.loop.fit` needs to know.

    `check` may be empty: then the last weights are kept.  `card` has the constants by which its
    images are decoded.
    """
    area = np.array([image.labels.size for image in images], np.float64)
    share = area / area.sum()

    def batch(rng: np.random.Generator) -> Batch:
        drawn = []
        for _ in range(config.schedule.batch):
            image = images[int(rng.choice(len(images), p=share))]
            drawn.append((crop_with_outlines(image, rng, config), image.complete))
        return {
            "image": np.stack([crop.pixels for crop, _ in drawn]),
            "labels": np.stack([crop.rasters[0] for crop, _ in drawn]),
            "complete": np.array([complete for _, complete in drawn]),
        }

    def loss(net: nn.Module, tensors: Mapping[str, Tensor]) -> Tensor:
        targets = targets_of(tensors["labels"], tensors["complete"])
        losses: Mapping[str, Tensor] = net(as_input(tensors["image"]), targets)
        return torch.stack(list(losses.values())).sum()

    def checked(net: nn.Module) -> dict[str, float]:
        assert isinstance(net, ExemplarNet)
        if not check:
            return {}
        scores = measure(card, judged(net, config, check))
        return {name: scores.get(name, 0.0) for name in ("aji", "f1")}

    return Stage(NAME, batch, loss, checked, better=("aji", True) if check else None)


def crop_with_outlines(image: Outlined, rng: np.random.Generator, config: ExemplarConfig) -> Crop:
    """A crop; of an image with partial outlines one that shows some, if there is one to be found.

    Of a crop without any nothing is known, and nothing would be learnt.
    """
    size, tries = config.schedule.crop_px, 1 if image.complete else TRIES
    for _ in range(tries):
        crop = crop_field(
            image.pixels,
            rng,
            size=size,
            augmentation=config.augmentation,
            rasters=(np.maximum(image.labels, 0),),
        )
        if (crop.rasters[0] > 0).any():
            break
    return crop


def judged(
    net: ExemplarNet, config: ExemplarConfig, images: Sequence[Outlined]
) -> list[JudgedWindows]:
    """What the network says of images, and their annotation as it was drawn."""
    detector = WindowDetector(net, config.window_px)
    return [
        judge(
            detector,
            image.pixels,
            margin=config.margin_px,
            mpp=image.mpp,
            true=image.sample.instances(),
        )
        for image in images
    ]


def steep(net: nn.Module, schedule: Schedule) -> torch.optim.SGD:
    """Stochastic gradient descent as the public code has it.

    Biases don't decay and go twice as fast.
    """
    named = [(n, p) for n, p in net.named_parameters() if p.requires_grad]
    weights = [p for n, p in named if not n.endswith("bias")]
    biases = [p for n, p in named if n.endswith("bias")]
    return torch.optim.SGD(
        [
            {"params": weights, "weight_decay": schedule.weight_decay, "faster": 1.0},
            {"params": biases, "weight_decay": 0.0, "faster": 2.0},
        ],
        lr=schedule.lr,
        momentum=0.9,
    )


def rate(step: int, schedule: Schedule) -> float:
    """A third of the rate at first, all of it after `warm_up` of the steps and from then on."""
    begun = min(1.0, step / max(1.0, schedule.warm_up * schedule.steps))
    return schedule.lr * (1 + 2 * begun) / 3
