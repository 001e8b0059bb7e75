"""A small network that learns from unlabelled images what tells tissue from tissue.

Two crops of nearly the same place, turned and stained otherwise, are to be described alike, while
descriptions vary over the pool and their numbers say different things (Bardes et al. 2022,
"VICReg", eqs. 1 to 6).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from wsiproc.methods import TrainingEvent
from wsiproc.training.augment import restain
from wsiproc.training.descent import device
from wsiproc.training.loop import Batch, Stage, fit
from wsiproc.training.nets import Residual, as_input
from wsiproc.training.settings import UNCHANGED, Augmentation, Schedule
from wsiproc_label_efficient.config import FeatureConfig

STAGE = "pool"
"""Of the training, and of its checkpoint."""
STEP = 8
"""Px between the places that are described."""
_INVARIANCE, _VARIANCE, _COVARIANCE = 25.0, 25.0, 1.0
_CHECKED = 64
# Stains vary less than for segmenters: how a patch is stained is part of what it stands for.
_STAINS = Augmentation(
    **{
        **UNCHANGED.model_dump(),
        "stain_gain": 0.15,
        "stain_turn": 0.03,
        "stain_shift": 0.03,
        "light": 0.05,
        "noise": 4.0,
        "blur_px": 0.7,
    }
)


class PoolNetwork(nn.Module):
    """``[n, h, w, 3]`` uint8 -> ``[n, embedding, h / 8, w / 8]``; edges are multiples of 8.

    Parameters
    ----------
    width
        Channels at the first level, which later ones double up to four times that.
    embedding
        Numbers a place is described by.
    """

    def __init__(self, width: int, embedding: int) -> None:
        super().__init__()
        widths = (width, 2 * width, 4 * width, embedding)
        layers: list[nn.Module] = [_conv(3, width, 1)]
        for i, to in enumerate(widths[1:]):
            layers += [_conv(widths[i], to, 2), Residual(to)]
        self.trunk = nn.Sequential(*layers)
        self.expand = nn.Sequential(
            nn.Linear(embedding, 4 * embedding),
            nn.BatchNorm1d(4 * embedding),
            nn.ReLU(),
            nn.Linear(4 * embedding, 4 * embedding),
        )

    def forward(self, image: Tensor) -> Tensor:
        """See the class."""
        described: Tensor = self.trunk(as_input(image))
        return described


def _conv(a: int, b: int, stride: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(a, b, 3, stride=stride, padding=1, bias=False), nn.BatchNorm2d(b), nn.ReLU()
    )


def learn_pool(
    images: Sequence[NDArray[np.uint8]],
    config: FeatureConfig,
    *,
    folder: Path,
    seed: int,
    listener: Callable[[TrainingEvent], None],
) -> PoolNetwork:
    """Learn from `images` ``[h, w, 3]`` at ``config.mpp``, or go on with what `folder` holds."""
    torch.manual_seed(seed)
    net = PoolNetwork(config.width, config.embedding)
    if config.steps == 0:
        return net.eval()
    crop = max(2 * STEP, round(config.crop_um / config.mpp / STEP) * STEP)

    def pairs(rng: np.random.Generator, count: int) -> Batch:
        views = [_views(images, crop, rng) for _ in range(count)]
        first, second = zip(*views, strict=True)
        return {"first": np.stack(first), "second": np.stack(second)}

    fixed = pairs(np.random.default_rng((seed, 7)), _CHECKED)

    def check(average: nn.Module) -> Mapping[str, float]:
        """How far descriptions vary (0: all places look the same to it), and how well the two
        views of a place find each other among all."""
        first, second = (
            average(torch.from_numpy(fixed[name]).to(device())).mean((2, 3))
            for name in ("first", "second")
        )
        nearest = torch.cdist(first, second).argmin(1)
        found = (nearest.cpu() == torch.arange(len(nearest))).float().mean()
        return {"spread": float(first.std(0).mean()), "found": float(found)}

    stage = Stage(
        name=STAGE,
        batch=lambda rng: pairs(rng, config.batch),
        loss=_loss,
        check=check,
        better=None,
    )
    schedule = Schedule(
        steps=config.steps,
        batch=config.batch,
        crop_px=crop,
        lr=config.lr,
        weight_decay=1e-4,
        clip=5.0,
        ema=0.9,
        check_every=max(1, config.steps // 3),
    )
    fitted = fit(net, stage, schedule, folder=folder, seed=seed, listener=listener)
    assert isinstance(fitted.net, PoolNetwork)
    return fitted.net


def _views(
    images: Sequence[NDArray[np.uint8]], crop: int, rng: np.random.Generator
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Two crops whose corners lie less than half a crop apart."""
    image = images[int(rng.integers(len(images)))]
    short = [max(0, crop - n) for n in image.shape[:2]]
    if any(short):
        image = np.pad(image, ((0, short[0]), (0, short[1]), (0, 0)), mode="symmetric")
    room = np.array(image.shape[:2]) - crop
    corner = rng.integers(0, room + 1)
    moved = np.clip(corner + rng.integers(-crop // 2, crop // 2 + 1, 2), 0, room)
    views = []
    for y, x in (corner, moved):
        view = np.rot90(image[y : y + crop, x : x + crop], int(rng.integers(4)))
        view = view[:, ::-1] if rng.integers(2) else view
        views.append(restain(view, rng, _STAINS))
    return views[0], views[1]


def _loss(net: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
    assert isinstance(net, PoolNetwork)
    count = len(batch["first"])
    both = net.expand(net(torch.cat([batch["first"], batch["second"]])).mean((2, 3))).float()
    first, second = both[:count], both[count:]
    loss = _INVARIANCE * functional.mse_loss(first, second)
    for view in (first, second):
        loss = loss + _VARIANCE / 2 * functional.relu(1 - (view.var(0) + 1e-4).sqrt()).mean()
        off = view - view.mean(0)
        covariance = off.T @ off / (count - 1)
        covariance = covariance - torch.diag(covariance.diagonal())
        loss = loss + _COVARIANCE / 2 * covariance.square().sum() / view.shape[1]
    return loss
