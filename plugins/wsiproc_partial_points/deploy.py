"""The two files that a training ends in, and what separates nuclei that touch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from torch import nn

from wsiproc.card import Card
from wsiproc.methods import TrainingInputs, TrainingNote
from wsiproc.training.choose import Judged, choose
from wsiproc.training.deliver import deliver
from wsiproc.training.export import Deployed, Head
from wsiproc.training.fields import Fields
from wsiproc_partial_points.config import (
    CHOICES,
    DETECTOR_CHOICES,
    UNSEEN,
    Centre,
    PartialPointsConfig,
)
from wsiproc_partial_points.net import exact_margin
from wsiproc_partial_points.segmentation import odd


def deliver_detector(net: nn.Module, card: Card, fields: Fields, inputs: TrainingInputs) -> Path:
    """Choose the threshold on val by F1, and write and prove the file."""
    deployed = Deployed(net, {"prob": Head((0, 1), "sigmoid")}).eval()
    return deliver(
        deployed,
        card,
        inputs,
        judged=judged(deployed, card, fields),
        choices=DETECTOR_CHOICES,
        by=("f1",),
        tissue=fields.check[0].pixels,
    )


def deliver_segmenter(
    net: nn.Module, card: Card, fields: Fields, config: PartialPointsConfig, inputs: TrainingInputs
) -> Path:
    """Choose what separates nuclei, and all constants, on val; write and prove the file.

    By the mean of AJI and F1 where val has outlines; else by F1, and what points can't tell stays.
    """
    has_outlines = any(field.sample.label_kind == "instances" for field in fields.check)
    by = ("aji", "f1") if has_outlines else ("f1",)
    choices = {k: v for k, v in CHOICES.items() if has_outlines or k not in UNSEEN}
    ways: tuple[Centre, ...] = ("head", "mean", "none")
    if config.centre != "best":
        ways = (config.centre,)
    found = []
    for way in ways:
        deployed, about = separated(net, card, way, config)
        seen = judged(deployed, about, fields)
        tried = dict(choices)
        if way == "none":
            tried = {k: v for k, v in tried.items() if k not in ("seed_threshold", "levels")}
        chosen, scores = choose(about, seen, tried, by=by)
        mean = float(np.mean([scores[name] for name in by]))
        said = ", ".join(f"{name} {scores[name]:.3f}" for name in by)
        inputs.listener(TrainingNote("export", f"nuclei separated by {way}: {said}"))
        found.append((mean, deployed, chosen, seen))
    _, deployed, chosen, seen = max(found, key=lambda each: each[0])
    tissue = fields.check[0].pixels
    return deliver(deployed, chosen, inputs, judged=seen, choices={}, by=by, tissue=tissue)


def separated(
    net: nn.Module, card: Card, way: Centre, config: PartialPointsConfig
) -> tuple[Deployed, Card]:
    """The graph with one of the ways to separate nuclei, and its card."""
    heads, smooth = {"prob": Head((0, 1), "sigmoid")}, 1
    if way == "head":
        smooth = odd(config.centre_um / config.mpp)
        heads["centre"] = Head((1, 2), "sigmoid", smooth)
    elif way == "mean":
        smooth = odd(config.mean_um / config.mpp)
        heads["centre"] = Head((0, 1), "sigmoid", smooth)
    margin = exact_margin(config.blocks, config.stem_stride, smooth // 2)
    return Deployed(net, heads).eval(), card.model_copy(update={"margin": margin})


def judged(deployed: Deployed, card: Card, fields: Fields) -> list[Judged]:
    """What a graph says of all val images."""
    return [
        Judged(
            deployed.maps(field.pixels, step=card.step, margin=card.margin),
            field.mpp,
            field.truth(),
        )
        for field in fields.check
    ]
