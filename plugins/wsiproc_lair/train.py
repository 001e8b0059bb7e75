"""The whole training: two stages, and the file that it ends in."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from wsiproc import __version__
from wsiproc.card import Card, NucleusClass, PointsPost, TrainingSet
from wsiproc.methods import TrainingInputs, TrainingNote
from wsiproc.training import checkpoint
from wsiproc.training.adversarial import fit_together
from wsiproc.training.choose import judge
from wsiproc.training.curves import draw_curves
from wsiproc.training.deliver import deliver
from wsiproc.training.export import Deployed, Head
from wsiproc.training.labels import odd_px
from wsiproc.training.loop import Fitted, fit
from wsiproc.training.nets import aligned_margin
from wsiproc.training.sets import licence_of_weights, on_card
from wsiproc_lair.config import CHOICES, LAIRConfig
from wsiproc_lair.images import Images, certain, see
from wsiproc_lair.networks import Detector, Reconstruction
from wsiproc_lair.pictures import draw_painted
from wsiproc_lair.stages import BETAS, checking, joining, pretraining, rate_of, rivals

_RADIUS_UM = 2.0
"""Of peaks while learning; chosen anew at the end.  Nuclei of crypts lie closer than 3 µm."""
_SHOWN = 4
"""Images on the picture of reconstructions."""


def train(config: LAIRConfig, inputs: TrainingInputs) -> tuple[Path, ...]:
    """See `wsiproc.methods.Method.train`."""
    torch.set_num_threads(inputs.threads or torch.get_num_threads())
    path = inputs.out / "lair.onnx"
    if checkpoint.claim("lair", config, inputs) and path.is_file():
        inputs.listener(TrainingNote("export", "finished before; nothing is left to do"))
        return (path,)
    images = see(config, inputs)
    card = carded(config, images, inputs.command)
    begun = pretrained(config, images, card, inputs)
    learnt = joined(begun, config, images, card, inputs)
    deployed = deploy(learnt.net, config)
    judged = judge(deployed, card, (field.annotated() for field in images.fields.check))
    tissue = images.fields.check[0].pixels
    deliver(deployed, card, inputs, judged=judged, choices=CHOICES, by=("f1",), tissue=tissue)
    return (path,)


def pretrained(config: LAIRConfig, images: Images, card: Card, inputs: TrainingInputs) -> Fitted:
    """The first stage; ``OUT/pretrain.png`` shows its curves."""
    torch.manual_seed(inputs.seed)
    fitted = fit(
        Detector(config.width, config.poolings),
        pretraining(config, images, checking(images, lambda net: deploy(net, config), card)),
        config.pretrain,
        folder=inputs.out,
        seed=inputs.seed,
        listener=inputs.listener,
        betas=BETAS,
        rate_of=rate_of(config, falling=False),
    )
    draw_curves(fitted.history, inputs.out / "pretrain.png", fitted.step)
    return fitted


def joined(
    begun: Fitted, config: LAIRConfig, images: Images, card: Card, inputs: TrainingInputs
) -> Fitted:
    """The second stage; ``OUT/curves.png`` and ``OUT/painted.png`` show what became of it."""
    beliefs: tuple[NDArray[np.uint8], ...] = ()
    if config.strategy == "self_training":
        beliefs = believe(begun.net, config, images, card)
    torch.manual_seed(inputs.seed + 1)
    beside = rivals(config)
    fitted = fit_together(
        copy.deepcopy(begun.net),
        joining(config, images, checking(images, lambda net: deploy(net, config), card), beliefs),
        beside,
        config.joint,
        folder=inputs.out,
        seed=inputs.seed + 1,
        listener=inputs.listener,
        rate_of=rate_of(config, falling=True),
    )
    draw_curves(fitted.history, inputs.out / "curves.png", fitted.step)
    partner = beside.partner.cpu() if isinstance(beside.partner, Reconstruction) else None
    shown = [images.unlabelled[0], *(field for field in images.fields.check[: _SHOWN - 1])]
    draw_painted(fitted.net, partner, shown, config, inputs.out / "painted.png")
    return fitted


def believe(
    net: nn.Module, config: LAIRConfig, images: Images, card: Card
) -> tuple[NDArray[np.uint8], ...]:
    """What the first stage is certain of in each image without points, pixel by pixel."""
    said = Deployed(net, {"prob": Head((0, 1), "sigmoid")}).eval()
    maps = (
        said.maps(field.pixels, step=card.step, margin=card.margin)["prob"][0]
        for field in images.unlabelled
    )
    with torch.inference_mode():
        return tuple(certain(prob, config.theta) for prob in maps)


def deploy(net: nn.Module, config: LAIRConfig) -> Deployed:
    """uint8 pixels in, averaged probabilities out."""
    smooth = odd_px(config.smooth_um, config.mpp)
    return Deployed(net, {"prob": Head((0, 1), "sigmoid", smooth)}).eval()


def carded(config: LAIRConfig, images: Images, command: str) -> Card:
    """What is known of the model before its post-processing is chosen."""
    fields = images.fields
    smooth = deploy(nn.Identity(), config).heads["prob"].smooth_px
    learnt = len(images.labelled)
    return Card(
        name="lair",
        method="lair",
        kind="points",
        mpp=config.mpp,
        step=2**config.poolings,
        windows=config.windows,
        margin=aligned_margin(config.poolings, smooth // 2),
        largest_nucleus_um=config.largest_nucleus_um,
        classes=(NucleusClass(name="nucleus", color=(0, 160, 80)),),
        post=PointsPost(threshold=0.5, radius_um=_RADIUS_UM, chosen_on=fields.chosen_on),
        local=True,
        data=tuple(
            _as_used(entry, images)
            for dataset in fields.sets
            if dataset.name in fields.seen
            for entry in on_card([dataset], fields.seen[dataset.name], fields.assumed)
        ),
        licence=licence_of_weights([d for d in fields.sets if d.name in fields.seen]),
        code_version=f"wsiproc {__version__}, torch {torch.__version__}",
        command=command,
        note=f"{config.strategy}: points of {learnt} of {len(fields.train)} images were learnt "
        "from; points of the val split chose weights and thresholds",
    )


def _as_used(entry: TrainingSet, images: Images) -> TrainingSet:
    """The entry of a train split, with how many of its images gave points."""
    if entry.split != "train":
        return entry
    names = {d.name: {id(s) for s in d.samples} for d in images.fields.sets}[entry.name]
    gave = sum(id(field.sample) in names for field in images.labelled)
    used = f"points of {gave} images"
    return entry.model_copy(update={"note": f"{entry.note}; {used}" if entry.note else used})
