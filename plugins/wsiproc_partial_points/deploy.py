"""The two files that a training ends in, and what separates nuclei that touch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from wsiproc.card import Card
from wsiproc.methods import TrainingInputs, TrainingNote
from wsiproc.training.choose import choose, judge
from wsiproc.training.deliver import deliver
from wsiproc.training.export import Deployed, Head
from wsiproc.training.fields import Fields
from wsiproc.training.labels import odd_px
from wsiproc_partial_points.config import (
    CHOICES,
    DETECTOR_CHOICES,
    UNSEEN,
    Centre,
    PartialPointsConfig,
)
from wsiproc_partial_points.images import looked_at, outlined
from wsiproc_partial_points.net import exact_margin


def deliver_detector(net: nn.Module, card: Card, fields: Fields, inputs: TrainingInputs) -> Path:
    """Choose the threshold on val by F1, and write and prove the file."""
    deployed = Deployed(net, {"prob": Head((0, 1), "sigmoid")}).eval()
    return deliver(
        deployed,
        card,
        inputs,
        judged=judge(deployed, card, (field.annotated() for field in fields.check)),
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
    by = ("aji", "f1") if outlined(fields.check) else ("f1",)
    way, card = best_way(net, card, fields, config, inputs, by)
    deployed, card = separated(net, card, way, config)
    return deliver(
        deployed,
        card,
        inputs,
        judged=judge(deployed, card, (field.annotated() for field in fields.check)),
        choices=tried(way, by),
        by=by,
        tissue=fields.check[0].pixels,
    )


def best_way(
    net: nn.Module,
    card: Card,
    fields: Fields,
    config: PartialPointsConfig,
    inputs: TrainingInputs,
    by: tuple[str, ...],
) -> tuple[Centre, Card]:
    """What separates nuclei best on some val images, and a card with constants to begin with."""
    if config.centre != "best":
        return config.centre, card
    found: list[tuple[float, Centre, Card]] = []
    for way in ("head", "mean", "none"):
        deployed, about = separated(net, card, way, config)
        some = looked_at(fields.check, config.checked)
        seen = judge(deployed, about, (field.annotated() for field in some))
        chosen, scores = choose(about, seen, tried(way, by), by=by, rounds=1)
        said = ", ".join(f"{name} {scores[name]:.3f}" for name in by)
        inputs.listener(TrainingNote("export", f"nuclei separated by {way}: {said}"))
        found.append((float(np.mean([scores[name] for name in by])), way, chosen))
    _, best, chosen = max(found, key=lambda each: each[0])
    return best, chosen


def tried(way: Centre, by: tuple[str, ...]) -> dict[str, tuple[Any, ...]]:
    """The constants to choose: not those that points can't tell, nor those that don't matter."""
    left = {
        *(() if "aji" in by else UNSEEN),
        *(("seed_threshold", "levels") if way == "none" else ()),
    }
    return {name: values for name, values in CHOICES.items() if name not in left}


def separated(
    net: nn.Module, card: Card, way: Centre, config: PartialPointsConfig
) -> tuple[Deployed, Card]:
    """The graph with one of the ways to separate nuclei, and its card."""
    heads, smooth = {"prob": Head((0, 1), "sigmoid")}, 1
    if way == "head":
        smooth = odd_px(config.centre_um, config.mpp)
        heads["centre"] = Head((1, 2), "sigmoid", smooth)
    elif way == "mean":
        smooth = odd_px(config.mean_um, config.mpp)
        heads["centre"] = Head((0, 1), "sigmoid", smooth)
    margin = exact_margin(config.blocks, config.stem_stride, smooth // 2)
    return Deployed(net, heads).eval(), card.model_copy(update={"margin": margin})
