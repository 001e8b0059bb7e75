"""Stage 2: a segmenter from points, by two coarse labels and the dense-CRF loss (sec. IV)."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor, nn
from torch.nn import functional

from wsiproc.card import Card
from wsiproc.methods import TrainingInputs, TrainingNote
from wsiproc.training import checkpoint
from wsiproc.training.choose import Judged, measure, with_post
from wsiproc.training.curves import draw_curves
from wsiproc.training.fields import Field, Fields
from wsiproc.training.labels import odd_px
from wsiproc.training.loop import Batch, Stage, fit, masked_mean
from wsiproc.training.nets import as_input
from wsiproc.training.pictures import write_picture
from wsiproc.training.settings import Schedule
from wsiproc_partial_points.config import PartialPointsConfig
from wsiproc_partial_points.crf import pairwise_loss
from wsiproc_partial_points.images import (
    Bytes,
    Images,
    Points,
    draw_crops,
    looked_at,
    outlined,
    said,
    spread,
    stacked,
)
from wsiproc_partial_points.losses import cross_entropy
from wsiproc_partial_points.masks import distance_to
from wsiproc_partial_points.pictures import labels_picture, maps_picture
from wsiproc_partial_points.weak import UNKNOWN, cells, cluster_label, voronoi_label

_LEVELS = (0.25, 0.4)
_THEIR_MPP = 0.25
"""Of the pixels that the weight of the CRF loss was chosen for."""


@dataclass(frozen=True, slots=True, eq=False)
class Check:
    """Measures a segmenter on some val images, with constants that were not chosen yet.

    Parameters
    ----------
    seen
        The images.
    by
        Scores that choose: AJI and F1, or F1 alone where no image has outlines.
    card
        Of the segmenter.
    smooth_px
        Edge of the square over which the map that seeds are taken from is averaged.
    """

    seen: tuple[Field, ...]
    by: tuple[str, ...]
    card: Card
    smooth_px: int

    def __call__(self, net: nn.Module) -> dict[str, float]:
        """AJI, Dice and F1 at the better of two thresholds; F1 alone of points.

        What lies between the labels is unknown, so where the border falls moves while it learns.
        """
        judged = []
        for field in self.seen:
            maps = said(net, field.pixels)
            centre = ndimage.uniform_filter(maps[-1], self.smooth_px, mode="constant")
            judged.append(
                Judged({"prob": maps[:1], "centre": centre[None]}, field.mpp, field.truth())
            )
        tried = (measure(with_post(self.card, {"threshold": t}), judged) for t in _LEVELS)
        scores = max(tried, key=lambda scores: float(np.nan_to_num(scores[self.by[0]])))
        return {name: scores[name] for name in ("aji", "dice", "f1") if name in scores}


def checking(fields: Fields, card: Card, config: PartialPointsConfig) -> Check:
    """Of at most ``config.checked`` val images."""
    seen = tuple(looked_at(fields.check, config.checked))
    edge = config.centre_um if outputs(config) > 1 else config.mean_um
    by = ("aji", "f1") if outlined(seen) else ("f1",)
    return Check(seen, by, card, odd_px(edge, config.mpp))


def learn_segmenter(
    net: nn.Module,
    images: Images,
    points: Sequence[Points],
    fields: Fields,
    card: Card,
    config: PartialPointsConfig,
    inputs: TrainingInputs,
) -> nn.Module:
    """The segmenter after both labels and, unless that is off, the dense-CRF loss.

    Parameters
    ----------
    net
        A network that has learnt nothing, with as many outputs as `outputs` says.
    points
        ``[n, 2]`` of each image: given and detected nuclei.
    card
        Of the segmenter, to measure it with.
    """
    labels = weak_labels(images, points, config, inputs)
    check = checking(fields, card, config)
    folder = inputs.out / "segment"
    stage = segmenting("segment", images, points, labels, config, config.segment, check)
    fitted = fit(
        net, stage, config.segment, folder=folder, seed=inputs.seed, listener=inputs.listener
    )
    history = list(fitted.history)
    if config.crf.on:
        stage = segmenting(
            "refine", images, points, labels, config, config.refine, check, with_crf=True
        )
        fitted = fit(
            copy.deepcopy(fitted.net),
            stage,
            config.refine,
            folder=folder,
            seed=inputs.seed + 1,
            listener=inputs.listener,
        )
        later = ({**row, "step": row["step"] + config.segment.steps} for row in fitted.history)
        history += later
    draw_curves(history, folder / "curves.png", int(history[-1]["step"]))
    shown = spread(range(len(images.fields)), 5)
    maps = [said(fitted.net, images.fields[i].pixels, mirrored=True) for i in shown]
    write_picture(folder / "segmented.png", maps_picture(images, maps, shown))
    return fitted.net


def outputs(config: PartialPointsConfig) -> int:
    """Channels of the segmenter: the probability, and the centres where they are learnt."""
    return 2 if config.centre in ("best", "head") else 1


def weak_labels(
    images: Images, points: Sequence[Points], config: PartialPointsConfig, inputs: TrainingInputs
) -> list[tuple[Bytes, Bytes]]:
    """The Voronoi and the cluster label of each image, and a picture of some."""
    folder = inputs.out / "segment"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "labels.npz"
    kept = checkpoint.kept(path)
    if kept is not None:
        return list(zip(kept[::2], kept[1::2], strict=True))
    made = []
    for number, (field, xy) in enumerate(zip(images.fields, points, strict=True)):
        cell = cells(xy, (field.pixels.shape[0], field.pixels.shape[1]))
        voronoi = voronoi_label(cell, config.labels, config.mpp)
        seed = inputs.seed * 100_003 + number
        made.append((voronoi, cluster_label(field.pixels, cell, config.labels, config.mpp, seed)))
    write_picture(folder / "labels.png", labels_picture(images, points, made))
    area = sum(voronoi.size for voronoi, _ in made)
    known = [sum(int((pair[i] != UNKNOWN).sum()) for pair in made) / area for i in (0, 1)]
    nuclei = sum(map(len, points))
    note = (
        f"{nuclei} points: the Voronoi label knows {known[0]:.0%}, the cluster label {known[1]:.0%}"
    )
    inputs.listener(TrainingNote("segment", note))
    checkpoint.keep(path, [label for pair in made for label in pair])
    return made


def segmenting(
    name: str,
    images: Images,
    points: Sequence[Points],
    labels: Sequence[tuple[Bytes, Bytes]],
    config: PartialPointsConfig,
    schedule: Schedule,
    check: Check,
    *,
    with_crf: bool = False,
) -> Stage:
    """What the segmenter learns: eq. 6, or eq. 10 `with_crf`, and centres beside it."""
    sigma = config.centre_sigma_um / config.mpp

    def batch(rng: np.random.Generator) -> Batch:
        crops = draw_crops(images, points, labels, rng, schedule, config.augmentation)
        shape = crops[0].seen.shape
        away = np.stack([distance_to(crop.points, shape, 4 * sigma) for crop in crops])
        return {
            "image": stacked(crops),
            "voronoi": np.stack([np.where(c.seen, c.rasters[0], UNKNOWN) for c in crops]),
            "cluster": np.stack([np.where(c.seen, c.rasters[1], UNKNOWN) for c in crops]),
            "centre": np.exp(-(away**2) / (2 * sigma**2)).astype(np.float32),
            "seen": np.stack([crop.seen for crop in crops]),
        }

    def loss(net: nn.Module, tensors: Mapping[str, Tensor]) -> Tensor:
        logits = net(as_input(tensors["image"]))
        total = label_loss(logits[:, 0], tensors["voronoi"], tensors["cluster"], config.alpha)
        if logits.shape[1] > 1:
            entropy = functional.binary_cross_entropy_with_logits
            wrong = entropy(logits[:, 1].float(), tensors["centre"], reduction="none")
            total = total + config.centre_weight * masked_mean(wrong, tensors["seen"])
        if with_crf:
            total = total + crf_loss(logits[:, 0], tensors["image"], tensors["seen"], config)
        return total

    return Stage(name, batch, loss, check, better=(check.by[0], True))


def label_loss(logit: Tensor, voronoi: Tensor, cluster: Tensor, alpha: float) -> Tensor:
    """alpha L_vor + (1 - alpha) L_cluster (eq. 6); ``[n, h, w]`` each."""
    total = logit.new_zeros((), dtype=torch.float32)
    if alpha > 0:
        total = total + alpha * cross_entropy(logit, voronoi, voronoi != UNKNOWN)
    if alpha < 1:
        total = total + (1 - alpha) * cross_entropy(logit, cluster, cluster != UNKNOWN)
    return total


def crf_loss(logit: Tensor, image: Tensor, seen: Tensor, config: PartialPointsConfig) -> Tensor:
    """beta L_pair of eq. 10, at the network's mpp.

    A pixel has fewer neighbours where pixels are larger; each stands for the area that it covers.
    """
    position = config.crf.position_um / config.mpp
    pair = pairwise_loss(
        torch.sigmoid(logit.float()),
        image.permute(0, 3, 1, 2).float() / 255,
        position=position,
        colour=config.crf.colour,
        reach=math.ceil(config.crf.reach * position),
        seen=seen,
    )
    return config.crf.weight * (config.mpp / _THEIR_MPP) ** 2 * pair
