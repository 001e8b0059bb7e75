"""The whole training: what is given, the network, its constants, and the file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from wsiproc import __version__
from wsiproc.card import Card, InstancesPost, NucleusClass
from wsiproc.errors import ConfigError
from wsiproc.evaluate import rasterised
from wsiproc.methods import TrainingInputs, TrainingNote
from wsiproc.training import checkpoint
from wsiproc.training.choose import polygons
from wsiproc.training.curves import draw_curves
from wsiproc.training.deliver import scored, tell
from wsiproc.training.descent import device
from wsiproc.training.export_instances import export_instances
from wsiproc.training.judging import JudgedWindows
from wsiproc.training.loop import Alone, Fitted, drive, fit
from wsiproc.training.mask_rcnn_windows import WindowDetector
from wsiproc.training.outlines import Outlined, Outlines, read_outlines
from wsiproc.training.pictures import write_picture
from wsiproc.training.sets import licence_of_weights, on_card
from wsiproc_exemplar.config import CHOICES, ExemplarConfig
from wsiproc_exemplar.given import given, sizes
from wsiproc_exemplar.net import ExemplarNet
from wsiproc_exemplar.pictures import predictions_picture, targets_picture
from wsiproc_exemplar.stage import NAME, judged, rate, stage, steep

_SHOWN = 4


def train(config: ExemplarConfig, inputs: TrainingInputs) -> tuple[Path, ...]:
    """See `wsiproc.methods.Method.train`."""
    torch.set_num_threads(inputs.threads or torch.get_num_threads())
    path = inputs.out / f"{NAME}.onnx"
    if checkpoint.claim(NAME, config, inputs) and path.is_file():
        inputs.listener(TrainingNote("export", "finished before; nothing is left to do"))
        return (path,)
    outlines = read_outlines(inputs, to_mpp=config.mpp)
    images = given(outlines.train, config, inputs.seed)
    extent = sizes(images)
    if not len(extent):
        raise ConfigError("there is no outline to learn from in any train split")
    note = f"{len(extent)} outlines of {len(sizes(outlines.train))} in {len(images)} images"
    inputs.listener(TrainingNote("data", f"{note}; {_knowledge(images)}"))
    card = carded(config, outlines, f"learnt from {note}", inputs.command)
    torch.manual_seed(inputs.seed)
    net = ExemplarNet(config, centre_anchor(config, extent))
    fitted = learnt(net, config, images, outlines, card, inputs)
    assert isinstance(fitted.net, ExemplarNet)
    draw_curves(fitted.history, inputs.out / "curves.png", fitted.step)
    shown = outlines.check or images[:_SHOWN]
    said = judged(fitted.net, config, shown)
    card, metrics = scored(card, said if outlines.check else (), CHOICES, ("aji", "f1"))
    draw_predictions(shown[:_SHOWN], said[:_SHOWN], card, inputs.out)
    detector = WindowDetector(fitted.net, config.window_px)
    tell(export_instances(detector, card, path, shown[0].pixels), metrics, inputs)
    return (path,)


def learnt(
    net: ExemplarNet,
    config: ExemplarConfig,
    images: Sequence[Outlined],
    outlines: Outlines,
    card: Card,
    inputs: TrainingInputs,
) -> Fitted:
    """The network at its best on val, or at its end where there is no val split."""
    course = stage(config, images, outlines.check, card)
    first = course.batch(np.random.default_rng((inputs.seed, 0)))
    write_picture(inputs.out / "targets.png", targets_picture(first, config))
    if config.optimiser == "adamw":
        return fit(
            net,
            course,
            config.schedule,
            folder=inputs.out,
            seed=inputs.seed,
            listener=inputs.listener,
        )
    net = net.to(device())
    return drive(
        Alone(net, course, config.schedule, steep(net, config.schedule), rate),
        course,
        config.schedule,
        folder=inputs.out,
        seed=inputs.seed,
        listener=inputs.listener,
    )


def centre_anchor(config: ExemplarConfig, extent: np.ndarray) -> tuple[float, float]:
    """Width and height that centres' boxes are relative to, px: the median box, or what is set."""
    if config.centre_anchor_um is not None:
        edge = config.centre_anchor_um / config.mpp
        return edge, edge
    width, height = np.median(extent, axis=0)
    return float(width), float(height)


def draw_predictions(
    images: Sequence[Outlined], judgements: Sequence[JudgedWindows], card: Card, out: Path
) -> None:
    """``predictions.png``: images as they are outlined, and as the network outlines them."""
    rows = []
    for image, said in zip(images, judgements, strict=True):
        found = said.nuclei(card)
        shape = image.labels.shape[0], image.labels.shape[1]
        rows.append(
            (image.pixels, image.labels, rasterised(polygons(found, 1), found.score, shape))
        )
    write_picture(out / "predictions.png", predictions_picture(rows))


def carded(config: ExemplarConfig, outlines: Outlines, note: str, command: str) -> Card:
    """What is known of the model before its post-processing is chosen."""
    splits = ("train", "val") if outlines.check else ("train",)
    weights = config.net.weights
    if weights is not None:
        command = command.replace(str(weights), weights.name)
    return Card(
        name=NAME,
        method=NAME,
        kind="instances",
        mpp=config.mpp,
        step=config.net.strides[-1],
        windows=(config.window_px,),
        margin=config.margin_px,
        largest_nucleus_um=config.largest_nucleus_um,
        classes=(NucleusClass(name="nucleus", color=(0, 160, 80)),),
        # A second stage that is taught many more backgrounds than nuclei is seldom certain.
        post=InstancesPost(score_threshold=0.3, chosen_on=outlines.chosen_on),
        local=False,
        data=on_card(outlines.sets, splits, outlines.assumed),
        licence=licence_of_weights(outlines.sets),
        code_version=f"wsiproc {__version__}, torch {torch.__version__}",
        command=command,
        note=note,
    )


def _knowledge(images: Sequence[Outlined]) -> str:
    partial = sum(not image.complete for image in images)
    return f"in {partial} of them what is not outlined is unknown" if partial else "all complete"
