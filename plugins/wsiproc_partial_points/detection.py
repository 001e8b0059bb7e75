"""Stage 1: a detector from some of the points, which learns the background by itself (sec. III)."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor, nn

from wsiproc.card import Card, PointsPost
from wsiproc.decode.points import decode_points
from wsiproc.geometry import Box
from wsiproc.methods import TrainingInputs, TrainingNote
from wsiproc.training import checkpoint
from wsiproc.training.choose import Judged, measure, with_post
from wsiproc.training.curves import draw_curves
from wsiproc.training.fields import Field, Fields
from wsiproc.training.labels import IGNORE
from wsiproc.training.loop import Batch, Stage, fit
from wsiproc.training.nets import as_input
from wsiproc.training.pictures import write_picture
from wsiproc.training.settings import Schedule
from wsiproc_partial_points.config import PartialPointsConfig
from wsiproc_partial_points.images import (
    Bytes,
    Images,
    Points,
    draw_crops,
    joined,
    looked_at,
    said,
    stacked,
)
from wsiproc_partial_points.losses import weighted_squares
from wsiproc_partial_points.masks import background, gaussian_mask, weighty
from wsiproc_partial_points.pictures import background_picture

_LEVELS = (0.2, 0.35, 0.5, 0.65)
"""Thresholds that are tried to see how good a detector is while it learns."""


def learn_detector(
    fresh: nn.Module,
    images: Images,
    fields: Fields,
    card: Card,
    config: PartialPointsConfig,
    inputs: TrainingInputs,
) -> nn.Module:
    """The detector after the initial training and all rounds of self-training.

    A round's labels are on disk before it begins, and read back from there.

    Parameters
    ----------
    fresh
        A network that has learnt nothing.
    card
        Of the detector, to measure it with.
    """
    check = checking(fields.check, card, config)
    everything = config.strategy in ("gaussian", "full")
    full = np.zeros if everything else np.ones
    unknown = [full(f.pixels.shape[:2], np.uint8) for f in images.fields]
    points, before = images.given, copy.deepcopy(fresh)
    for number in range(config.repeats + 1):
        folder = inputs.out / f"detect-{number}"
        folder.mkdir(parents=True, exist_ok=True)
        if number:
            if config.strategy == "self_training":
                unknown = propagated(before, images, config, inputs, folder)
            else:
                points = with_detected(before, images, config, inputs, folder)
            if config.restart:
                before = copy.deepcopy(fresh)
        stage = detecting(f"detect-{number}", images, points, unknown, config, check)
        schedule = schedule_of(config)
        seed = inputs.seed * 1000 + number
        fitted = fit(before, stage, schedule, folder=folder, seed=seed, listener=inputs.listener)
        draw_curves(fitted.history, folder / "curves.png", fitted.step)
        before = fitted.net
    return before


def schedule_of(config: PartialPointsConfig) -> Schedule:
    """Of the initial training and of a round; strategies without rounds have all steps at once."""
    if config.repeats or config.restart:
        return config.detect
    return config.detect.model_copy(update={"steps": config.detect.steps * (1 + config.rounds)})


def detecting(
    name: str,
    images: Images,
    points: Sequence[Points],
    unknown: Sequence[Bytes],
    config: PartialPointsConfig,
    check: Callable[[nn.Module], Mapping[str, float]],
) -> Stage:
    """What a round learns.

    Parameters
    ----------
    points
        ``[n, 2]`` of each image: nuclei.
    unknown
        ``[h, w]`` of each image: 1 where nothing is known unless a point is near, else background.
    """
    schedule, radius = config.detect, config.radius_um / config.mpp
    rasters = [(raster,) for raster in unknown]

    def batch(rng: np.random.Generator) -> Batch:
        crops = draw_crops(images, points, rasters, rng, schedule, config.augmentation)
        masks, heavy = [], []
        for crop in crops:
            mask = gaussian_mask(crop.points, crop.seen.shape, radius)
            mask = np.where((mask == IGNORE) & (crop.rasters[0] == 0), 0, mask)
            masks.append(np.where(crop.seen, mask, IGNORE).astype(np.float32))
            heavy.append(weighty(mask))
        return {"image": stacked(crops), "mask": np.stack(masks), "heavy": np.stack(heavy)}

    def loss(net: nn.Module, tensors: Mapping[str, Tensor]) -> Tensor:
        logit = net(as_input(tensors["image"]))[:, 0]
        mask, heavy = tensors["mask"], tensors["heavy"]
        return weighted_squares(logit, mask, mask != IGNORE, heavy, config.nucleus_weight)

    return Stage(name, batch, loss, check, better=("f1", True))


def checking(
    check: Sequence[Field], card: Card, config: PartialPointsConfig
) -> Callable[[nn.Module], dict[str, float]]:
    """Detection on some val images, at the best of a few thresholds."""
    cards = [with_post(card, {"threshold": level}) for level in _LEVELS]

    def best(net: nn.Module) -> dict[str, float]:
        seen = [
            Judged({"prob": said(net, field.pixels)[:1]}, field.mpp, field.truth())
            for field in looked_at(check, config.checked)
        ]
        return max((measure(each, seen) for each in cards), key=lambda scores: scores["f1"])

    return best


def propagated(
    net: nn.Module,
    images: Images,
    config: PartialPointsConfig,
    inputs: TrainingInputs,
    folder: Path,
) -> list[Bytes]:
    """What is still unknown after the detector has told background (eq. 3), and a picture of it."""
    path = folder / "unknown.npz"
    kept = checkpoint.kept(path)
    if kept is not None:
        return kept
    probs = [said(net, field.pixels, mirrored=True)[0] for field in images.fields]
    unknown = [
        1
        - background(
            prob,
            config.radius_um / config.mpp,
            below=config.background_below,
            above=config.background_above,
        ).astype(np.uint8)
        for prob in probs
    ]
    picture = background_picture(images, probs, unknown, config.radius_um / config.mpp)
    write_picture(folder / "background.png", picture)
    share = 1 - sum(int(u.sum()) for u in unknown) / sum(u.size for u in unknown)
    note = f"{share:.0%} of the area is taken for background"
    inputs.listener(TrainingNote(folder.name, note))
    checkpoint.keep(path, unknown)
    return unknown


def with_detected(
    net: nn.Module,
    images: Images,
    config: PartialPointsConfig,
    inputs: TrainingInputs,
    folder: Path,
) -> tuple[Points, ...]:
    """The given points and those that the detector finds beside them ("ST-nu" of Table I)."""
    path = folder / "points.npz"
    kept = checkpoint.kept(path)
    if kept is not None:
        return tuple(kept)
    found = [
        joined(given, detected(said(net, f.pixels, mirrored=True)[0], None, config), radius)
        for f, given in zip(images.fields, images.given, strict=True)
        for radius in (config.radius_um / config.mpp,)
    ]
    more = sum(map(len, found)) - sum(map(len, images.given))
    inputs.listener(TrainingNote(folder.name, f"{more} detections are taken for nuclei"))
    checkpoint.keep(path, found)
    return tuple(found)


def detected(
    prob: NDArray[np.float32], post: PointsPost | None, config: PartialPointsConfig
) -> Points:
    """Nuclei ``[n, 2]`` (x, y) in a detector's map ``[h, w]``, in px.

    Parameters
    ----------
    post
        For peaks: constants, or None before any were chosen.
    """
    if config.detected_by == "peaks":
        plain = PointsPost(threshold=config.detected_above, radius_um=2.0, chosen_on="nothing")
        box = Box.of_size(0, 0, prob.shape[1], prob.shape[0])
        found = decode_points(post or plain, config.mpp, prob[None], (0, 0), box)
        return np.column_stack([found.x, found.y])
    parts, count = ndimage.label(prob > config.detected_above, np.ones((3, 3)))
    area = np.bincount(parts.ravel(), minlength=count + 1)[1:] * config.mpp**2
    least, most = config.detected_um2
    kept = 1 + np.flatnonzero((area > least) & (area <= most))
    middle = ndimage.center_of_mass(parts > 0, parts, kept)
    return np.array(middle, np.float64).reshape(-1, 2)[:, ::-1] + 0.5


@torch.inference_mode()
def all_points(
    net: nn.Module, post: PointsPost, images: Images, config: PartialPointsConfig
) -> list[Points]:
    """What the segmenter learns from: the given points, and the detections away from them.

    Where all nuclei were given, nothing is added.
    """
    if config.strategy == "full":
        return list(images.given)
    radius = config.radius_um / config.mpp
    return [
        joined(given, detected(said(net, field.pixels, mirrored=True)[0], post, config), radius)
        for field, given in zip(images.fields, images.given, strict=True)
    ]
