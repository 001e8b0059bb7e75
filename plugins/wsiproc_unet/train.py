"""How the U-Net learns: its rasters, its loss, what chooses it, and the card it is given."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from wsiproc import __version__
from wsiproc.card import Card, MaskPost, NucleusClass
from wsiproc.datasets import Sample
from wsiproc.methods import TrainingInputs, TrainingNote
from wsiproc.training import checkpoint
from wsiproc.training.augment import crops
from wsiproc.training.choose import judge
from wsiproc.training.curves import draw_curves
from wsiproc.training.deliver import deliver
from wsiproc.training.export import Deployed, Head
from wsiproc.training.labels import between, centre_map, foreground, odd_px
from wsiproc.training.loop import Batch, Stage, fit, masked_mean
from wsiproc.training.nets import ResidualUNet, aligned_margin, as_input, predict
from wsiproc.training.sets import Data, licence_of_weights, load, on_card
from wsiproc_unet.config import CHOICES, UNetConfig


def heads(config: UNetConfig) -> dict[str, Head]:
    """What the two channels become."""
    smooth = odd_px(config.smooth_um, config.mpp)
    return {"prob": Head((0, 1), "sigmoid"), "centre": Head((1, 2), "sigmoid", smooth)}


def train(config: UNetConfig, inputs: TrainingInputs) -> tuple[Path, ...]:
    """See `wsiproc.methods.Method.train`."""
    torch.set_num_threads(inputs.threads or torch.get_num_threads())
    path = inputs.out / "unet.onnx"
    if checkpoint.claim("unet", config, inputs) and path.is_file():
        inputs.listener(TrainingNote("export", "finished before; nothing is left to do"))
        return (path,)
    data = load(
        inputs,
        "instances",
        lambda sample, mpp: rasters(sample, mpp, config),
        to_mpp=config.mpp,
        scales=config.augmentation.scales,
        unscaled_share=config.unscaled_share,
    )
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
    draw_curves(fitted.history, inputs.out / "curves.png", fitted.step)
    deployed = Deployed(fitted.net, heads(config))
    card = carded(config, data, inputs.command)
    images = (
        (image.pixels[0], sample.mpp or config.mpp, sample.instances())
        for sample, image in data.check
    )
    tissue, by = data.check[0][1].pixels[0], ("aji", "f1")
    judged = judge(deployed, card, images)
    deliver(deployed, card, inputs, judged=judged, choices=CHOICES, by=by, tissue=tissue)
    return (path,)


def rasters(sample: Sample, mpp: float, config: UNetConfig) -> NDArray[np.float32]:
    """``[h, w, 3]``, what `loss_of` compares with: foreground, centre, touch."""
    drawn = sample.instances()
    return np.stack(
        [foreground(drawn), centre_map(drawn), between(drawn, config.touch_um / mpp)], -1
    )


def stage(config: UNetConfig, data: Data) -> Stage:
    """What `wsiproc.training.loop.fit` needs to know."""

    def batch(rng: np.random.Generator) -> Batch:
        schedule, augmentation = config.schedule, config.augmentation
        count, size = schedule.batch, schedule.crop_px
        image, target = crops(data.learn, rng, count=count, size=size, augmentation=augmentation)
        return {"image": image, "target": target}

    def loss(net: nn.Module, tensors: Mapping[str, Tensor]) -> Tensor:
        return loss_of(net(as_input(tensors["image"])), tensors["target"], config)

    def check(net: nn.Module) -> dict[str, float]:
        assert isinstance(net, ResidualUNet)
        losses, both, total = [], 0.0, 0.0
        for _, seen in data.check:
            image = torch.from_numpy(seen.pixels[0])
            logits = predict(lambda x: net(as_input(x)), image, step=net.step, margin=net.margin)
            target = torch.from_numpy(seen.targets[0]).float().permute(2, 0, 1)
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


def carded(config: UNetConfig, data: Data, command: str) -> Card:
    """What is known of the model before its post-processing is chosen."""
    return Card(
        name="unet",
        method="unet",
        kind="mask",
        mpp=config.mpp,
        step=2**config.poolings,
        windows=config.windows,
        margin=aligned_margin(config.poolings, heads(config)["centre"].smooth_px // 2),
        largest_nucleus_um=config.largest_nucleus_um,
        classes=(NucleusClass(name="nucleus", color=(0, 160, 80)),),
        post=MaskPost(threshold=0.5, levels=(0.6, 0.3), chosen_on=data.chosen_on),
        local=True,
        data=on_card(data.sets, ("train", "val"), data.assumed),
        licence=licence_of_weights(data.sets),
        code_version=f"wsiproc {__version__}, torch {torch.__version__}",
        command=command,
    )
