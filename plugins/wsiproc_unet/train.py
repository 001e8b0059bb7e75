"""How the U-Net learns: its rasters, its loss, and what it is measured by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from wsiproc.datasets import Dataset, Sample, read_dataset
from wsiproc.errors import ConfigError
from wsiproc.methods import TrainingInputs, TrainingNote
from wsiproc.training import checkpoint
from wsiproc.training.augment import Pyramid, crops, make_pyramid
from wsiproc.training.labels import between, centre_map, foreground
from wsiproc.training.loop import Batch, Stage, fit, masked_mean
from wsiproc.training.nets import ResidualUNet, as_input, predict
from wsiproc_unet.config import UNetConfig


def train(config: UNetConfig, inputs: TrainingInputs) -> tuple[Path, ...]:
    """See `wsiproc.methods.Method.train`."""
    torch.set_num_threads(inputs.threads or torch.get_num_threads())
    checkpoint.claim("unet", config, inputs)
    data = load(config, inputs)
    torch.manual_seed(inputs.seed)
    net = ResidualUNet(config.width, config.poolings, outputs=2)
    fitted = fit(
        net,
        stage(config, data),
        config.schedule,
        folder=inputs.out,
        seed=inputs.seed,
        listener=inputs.listener,
    )
    return ()


@dataclass(frozen=True, slots=True, eq=False)
class Data:
    """Images with their rasters: foreground, centre, touch."""

    learn: tuple[tuple[float, tuple[Pyramid, ...]], ...]
    check: tuple[tuple[NDArray[np.uint8], NDArray[np.float32]], ...]
    sets: tuple[Dataset, ...]
    assumed: Mapping[str, float]


def load(config: UNetConfig, inputs: TrainingInputs) -> Data:
    """Read the data sets; raises `ConfigError` where they cannot be learnt from."""
    sets = tuple(read_dataset(folder) for folder in inputs.data)
    for dataset in sets:
        if dataset.label_kind != "instances":
            raise ConfigError(
                f"unet learns from instances; {dataset.name} has {dataset.label_kind}"
            )
    assumed = assumed_mpp(sets)
    for name, mpp in assumed.items():
        inputs.listener(TrainingNote("data", f"{name} has no mpp: {mpp:.3f} assumed"))
    learn, check = [], []
    for dataset in sets:
        mpp = dataset.mpp or assumed[dataset.name]
        share = config.unscaled_share if dataset.mpp is None else 1 - config.unscaled_share
        scales = config.augmentation.scales
        if "train" in dataset.splits:
            images = (pyramid(s, mpp, config, scales) for s in dataset.split("train"))
            learn.append((share, tuple(images)))
        if "val" in dataset.splits and dataset.mpp is not None:
            for sample in dataset.split("val"):
                p = pyramid(sample, mpp, config, (1.0,))
                check.append((p.pixels[0], p.targets[0].astype(np.float32)))
    if not learn or not check:
        raise ConfigError("unet needs a train split, and a val split with a known mpp to choose by")
    return Data(tuple(learn), tuple(check), sets, assumed)


def pyramid(sample: Sample, mpp: float, config: UNetConfig, scales: tuple[float, ...]) -> Pyramid:
    """One image and its rasters at the network's mpp."""
    instances = sample.instances()
    rasters = [
        foreground(instances),
        centre_map(instances),
        between(instances, config.touch_um / mpp),
    ]
    return make_pyramid(
        sample.pixels(), np.stack(rasters, -1), mpp=mpp, to_mpp=config.mpp, scales=scales
    )


def assumed_mpp(sets: tuple[Dataset, ...]) -> dict[str, float]:
    """For sets without one, the mpp at which their median nucleus is as wide as the others'."""
    silent = [d for d in sets if d.mpp is None]
    if not silent:
        return {}
    widths = [d.mpp * median_width(d) for d in sets if d.mpp is not None]
    if not widths:
        raise ConfigError("no data set says its mpp; put it into a dataset.toml")
    return {d.name: round(float(np.mean(widths)) / median_width(d), 3) for d in silent}


def median_width(dataset: Dataset) -> float:
    """Median diameter in px of circles with the nuclei's areas."""
    counts = [np.bincount(sample.instances().ravel())[1:] for sample in dataset.samples]
    areas = np.concatenate(counts)
    return float(2 * np.sqrt(np.median(areas[areas > 0]) / np.pi))


def stage(config: UNetConfig, data: Data) -> Stage:
    """What `wsiproc.training.loop.fit` needs to know."""

    def batch(rng: np.random.Generator) -> Batch:
        s = config.schedule
        image, target = crops(
            data.learn, rng, count=s.batch, size=s.crop_px, augmentation=config.augmentation
        )
        return {"image": image, "target": target}

    def loss(net: nn.Module, tensors: Mapping[str, Tensor]) -> Tensor:
        return loss_of(net(as_input(tensors["image"])), tensors["target"], config)

    def check(net: nn.Module) -> dict[str, float]:
        losses, both, total = [], 0.0, 0.0
        for pixels, rasters in data.check:
            logits = predict(net, torch.from_numpy(pixels))
            target = torch.from_numpy(rasters).permute(2, 0, 1)
            losses.append(float(loss_of(logits[None], target[None], config)))
            found, true = logits[0] > 0, target[0] > 0.5
            both += float((found & true).sum())
            total += float(found.sum() + true.sum())
        return {"val_loss": float(np.mean(losses)), "dice": 2 * both / max(total, 1.0)}

    return Stage("unet", batch, loss, check, better=("val_loss", False))


def loss_of(logits: Tensor, target: Tensor, config: UNetConfig) -> Tensor:
    """Cross-entropy and Dice of the foreground, cross-entropy of the centre map.

    `logits` ``[n, 2, h, w]``; `target` ``[n, 3, h, w]``: foreground, centre, touch; a pixel with
    `IGNORE` is left out.
    """
    inside, centre, touch = target.unbind(1)
    known = inside >= 0
    inside, centre = inside.clamp(min=0), centre.clamp(min=0)
    weight = 1 + config.touch_weight * touch.clamp(min=0)
    entropy = functional.binary_cross_entropy_with_logits
    fg = masked_mean(weight * entropy(logits[:, 0], inside, reduction="none"), known)
    prob = torch.sigmoid(logits[:, 0]) * known
    dice = 1 - (2 * (prob * inside).sum() + 1) / (prob.sum() + inside.sum() + 1)
    mid = masked_mean(weight * entropy(logits[:, 1], centre, reduction="none"), known)
    return fg + dice + config.centre_weight * mid
