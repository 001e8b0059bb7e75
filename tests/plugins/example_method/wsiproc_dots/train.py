"""How ``dots`` learns: what it is shown, what it is told, and the card of what comes out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor, nn
from torch.nn import functional

from wsiproc import __version__
from wsiproc.card import Card, NucleusClass, PointsPost
from wsiproc.datasets import Sample
from wsiproc.evaluate import box_centres
from wsiproc.methods import TrainingInputs, TrainingNote
from wsiproc.training import checkpoint
from wsiproc.training.augment import crops
from wsiproc.training.choose import judge
from wsiproc.training.curves import draw_curves
from wsiproc.training.deliver import deliver
from wsiproc.training.export import Deployed, Head
from wsiproc.training.labels import discs
from wsiproc.training.loop import Batch, Stage, fit
from wsiproc.training.nets import ResidualUNet, aligned_margin, as_input, predict
from wsiproc.training.sets import Data, licence_of_weights, load, on_card
from wsiproc_dots.config import DotsConfig

HEADS = {"prob": Head((0, 1), "sigmoid")}
CHOICES = {"threshold": (0.2, 0.3, 0.4, 0.5, 0.6, 0.7), "radius_um": (2.0, 2.5, 3.0, 4.0)}


def train(config: DotsConfig, inputs: TrainingInputs) -> tuple[Path, ...]:
    """Train, or go on training; see `wsiproc.methods.Method.train`."""
    torch.set_num_threads(inputs.threads or torch.get_num_threads())
    path = inputs.out / "dots.onnx"
    if checkpoint.claim("dots", config, inputs) and path.is_file():
        inputs.listener(TrainingNote("export", "finished before; nothing is left to do"))
        return (path,)
    data = load(
        inputs,
        "instances",
        lambda sample, mpp: dots(sample, config.dot_um / mpp),
        to_mpp=config.mpp,
        scales=config.augmentation.scales,
        unscaled_share=0.3,
    )
    torch.manual_seed(inputs.seed)
    fitted = fit(
        ResidualUNet(config.width, config.poolings, outputs=1),
        stage(config, data),
        config.schedule,
        folder=inputs.out,
        seed=inputs.seed,
        listener=inputs.listener,
    )
    draw_curves(fitted.history, inputs.out / "curves.png", fitted.step)
    deployed, card = Deployed(fitted.net, HEADS), carded(config, data, inputs.command)
    images = (
        (image.pixels[0], sample.mpp or config.mpp, sample.instances())
        for sample, image in data.check
    )
    judged = judge(deployed, card, images)
    tissue = data.check[0][1].pixels[0]
    deliver(deployed, card, inputs, judged=judged, choices=CHOICES, by=("f1",), tissue=tissue)
    return (path,)


def dots(sample: Sample, sigma_px: float) -> NDArray[np.float32]:
    """``[h, w, 1]``: 1 at the centre of each nucleus' box, falling off as a Gaussian."""
    instances = sample.instances()
    far = discs(instances.shape, box_centres(instances), 0.5) == 0
    drawn = np.exp(-0.5 * (ndimage.distance_transform_edt(far) / sigma_px) ** 2)
    return np.where(far.all(), 0.0, drawn).astype(np.float32)[..., None]


def stage(config: DotsConfig, data: Data) -> Stage:
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
        losses = []
        for _, seen in data.check:
            image = torch.from_numpy(seen.pixels[0])
            logits = predict(lambda x: net(as_input(x)), image, step=net.step, margin=net.margin)
            target = torch.from_numpy(seen.targets[0]).float().permute(2, 0, 1)
            losses.append(float(loss_of(logits[None], target[None], config)))
        return {"val_loss": float(np.mean(losses))}

    return Stage("dots", batch, loss, check, better=("val_loss", False))


def loss_of(logits: Tensor, target: Tensor, config: DotsConfig) -> Tensor:
    """Cross-entropy ``[n, 1, h, w]``, with more weight on dots."""
    weight = 1 + config.dot_weight * target
    return functional.binary_cross_entropy_with_logits(
        logits, target.clamp(min=0), weight * (target >= 0)
    )


def carded(config: DotsConfig, data: Data, command: str) -> Card:
    """What is known of the model before its post-processing is chosen."""
    return Card(
        name="dots",
        method="dots",
        kind="points",
        mpp=config.mpp,
        step=2**config.poolings,
        windows=config.windows,
        margin=aligned_margin(config.poolings),
        largest_nucleus_um=25.0,
        classes=(NucleusClass(name="nucleus", color=(0, 160, 80)),),
        post=PointsPost(threshold=0.4, radius_um=2.5, chosen_on=data.chosen_on),
        local=True,
        data=on_card(data.sets, ("train", "val"), data.assumed),
        licence=licence_of_weights(data.sets),
        code_version=f"wsiproc-dots 1.0, wsiproc {__version__}, torch {torch.__version__}",
        command=command,
    )
