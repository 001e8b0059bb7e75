"""Rounds: predict what is not annotated, learn from what is certain of it, predict again.

Sec. III-D of the paper, which takes every prediction for the truth.  Here nuclei of low scores, and
pixels that are neither surely nuclear nor surely not, are unknown; and what was annotated is never
predicted.
"""

from __future__ import annotations

import copy
import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import nn

from wsiproc.card import Card
from wsiproc.errors import StoreError
from wsiproc.methods import TrainingInputs, TrainingNote
from wsiproc.training import checkpoint
from wsiproc.training.choose import with_post
from wsiproc.training.curves import draw_curves
from wsiproc.training.fields import Field
from wsiproc.training.loop import fit
from wsiproc.training.settings import Schedule
from wsiproc_label_efficient.config import LabelEfficientConfig
from wsiproc_label_efficient.images import UNKNOWN, Image, Labels, cells, labelled, mixed
from wsiproc_label_efficient.outlines import outlined, write_sheet
from wsiproc_label_efficient.segmenter_config import RoundsConfig
from wsiproc_label_efficient.segmenting import BY, Said, Segmenter

_SHOWN = 12
_LEAST_UNLABELLED = 0.5
"""Of a patch, to be worth predicting."""


@dataclass(frozen=True, slots=True, eq=False)
class Pool:
    """An image of the train split, and where it is annotated.

    Parameters
    ----------
    field
        The image.
    annotated
        ``[h, w]`` bool, px of the field.
    """

    field: Field
    annotated: NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Round:
    """What a round ended with: weights, constants chosen on val, and their scores."""

    number: int
    net: nn.Module
    card: Card
    scores: Mapping[str, float]

    @property
    def value(self) -> float:
        """By which rounds are compared."""
        return float(np.nan_to_num(np.mean([self.scores[name] for name in BY]), nan=-1.0))


def pool_of(field: Field, patches: Sequence[tuple[slice, slice]]) -> Pool:
    """A field of which `patches`, rows and columns of its file, are annotated."""
    annotated = np.zeros((field.pixels.shape[0], field.pixels.shape[1]), bool)
    if patches:
        height, width = field.sample.pixels().shape[:2]
        for rows, columns in patches:
            a = _scaled(rows, annotated.shape[0] / height)
            annotated[a, _scaled(columns, annotated.shape[1] / width)] = True
    return Pool(field, annotated)


def _scaled(part: slice, scale: float) -> slice:
    return slice(math.floor(part.start * scale), math.ceil(part.stop * scale))


def learn_rounds(
    segmenter: Segmenter,
    net: nn.Module,
    card: Card,
    real: Sequence[Image],
    synthetic: Sequence[Image],
    pool: Sequence[Pool],
    check: Sequence[Field],
    config: LabelEfficientConfig,
    inputs: TrainingInputs,
) -> Round:
    """Learn from annotated patches and pairs, then in rounds from the rest; the round to export.

    Parameters
    ----------
    net
        That has learnt nothing.
    card
        Of the segmenter, with constants to begin with.
    pool
        Images of which something is not annotated; without any there are no rounds.
    check
        The val split.
    """
    rounds: list[Round] = []
    metrics = dict(card.metrics)
    split = card.post.chosen_on.replace(" ", "/")
    for number in range(1 + (config.rounds.rounds if pool else 0)):
        folder = inputs.out / f"round-{number}"
        folder.mkdir(exist_ok=True)
        pseudo: tuple[Image, ...] = ()
        if rounds:
            net, card = copy.deepcopy(rounds[-1].net), rounds[-1].card
            pseudo = pseudo_labels(segmenter, net, card, pool, config, inputs, folder, number)
        learnt = mixed(
            real,
            synthetic,
            pseudo,
            synthetic_share=segmenter.synthetic_share,
            pseudo_share=config.rounds.share,
        )
        schedule = (
            segmenter.schedule if number == 0 else shortened(segmenter.schedule, config.rounds)
        )
        fitted = fit(
            net,
            segmenter.stage(folder.name, learnt, check, card),
            schedule,
            folder=folder,
            seed=inputs.seed + number,
            listener=inputs.listener,
        )
        draw_curves(fitted.history, folder / "curves.png", fitted.step)
        card, scores = chosen(segmenter, fitted.net, card, check, folder)
        metrics |= {f"{split}/round-{number}/{name}": round(scores[name], 4) for name in BY}
        said = ", ".join(f"{name} {scores[name]:.3f}" for name in BY)
        inputs.listener(TrainingNote(folder.name, f"val: {said}"))
        draw_predictions(segmenter, fitted.net, card, check, folder / "predictions.png")
        rounds.append(Round(number, fitted.net, card, scores))
    last = rounds[-1]
    best = last if config.rounds.export == "last" else max(rounds, key=lambda each: each.value)
    note = card.note
    if len(rounds) > 1:
        note += f"; of {len(rounds) - 1} rounds of pseudo-labels this is number {best.number}"
    about = best.card.model_copy(update={"metrics": metrics, "note": note})
    return Round(best.number, best.net, about, best.scores)


def shortened(schedule: Schedule, config: RoundsConfig) -> Schedule:
    """That of a round, which goes on with weights that have learnt much already."""
    steps = max(1, round(schedule.steps * config.part))
    return schedule.model_copy(
        update={
            "steps": steps,
            "check_every": min(schedule.check_every, steps),
            "lr": schedule.lr * config.rate,
        }
    )


def pseudo_labels(
    segmenter: Segmenter,
    net: nn.Module,
    card: Card,
    pool: Sequence[Pool],
    config: LabelEfficientConfig,
    inputs: TrainingInputs,
    folder: Path,
    number: int,
) -> tuple[Image, ...]:
    """Patches of the pool with what is certain of them, as `folder` has them or anew."""
    about = config.rounds
    drawn = drawn_patches(pool, config, np.random.default_rng((inputs.seed, number)))
    path = folder / "pseudo.npz"
    kept = _kept(path)
    if kept is None:
        kept = []
        for each in pool:
            inside = [patch for home, patch in drawn if home is each]
            if inside:
                said = segmenter.said(net, card, each.field.pixels)
                labels = certain(said, each, about)
                kept += [labels[patch] for patch in inside]
        _keep(path, kept)
    images = tuple(
        labelled(home.field.pixels[patch], labels)
        for (home, patch), labels in zip(drawn, kept, strict=True)
    )
    known = sum(image.known for image in images) / max(1, sum(i.instances.size for i in images))
    nuclei = sum(len(image.centres) for image in images)
    note = f"{len(images)} unlabelled patches: {nuclei} nuclei are kept, {known:.0%} is known"
    inputs.listener(TrainingNote(folder.name, note))
    shown = images[:: max(1, len(images) // _SHOWN)][:_SHOWN]
    sheet = [outlined(image.pixels, image.instances) for image in shown]
    write_sheet(folder / "pseudo.png", sheet, across=4)
    return tuple(image for image in images if image.known)


def drawn_patches(
    pool: Sequence[Pool], config: LabelEfficientConfig, rng: np.random.Generator
) -> list[tuple[Pool, tuple[slice, slice]]]:
    """Where a round predicts: patches that are mostly unlabelled, in the order of the pool."""
    every = [
        (each, patch)
        for each in pool
        for patch in cells(each.annotated.shape, config.select.size_um / mpp_of(each))
        if each.annotated[patch].mean() <= 1 - _LEAST_UNLABELLED
    ]
    count = min(config.rounds.patches, len(every))
    return [every[i] for i in sorted(rng.permutation(len(every))[:count].tolist())]


def mpp_of(pool: Pool) -> float:
    """µm per px of a field's pixels."""
    return pool.field.mpp * len(pool.field.sample.pixels()) / len(pool.annotated)


def certain(said: Said, pool: Pool, config: RoundsConfig) -> Labels:
    """The label map of a prediction, `UNKNOWN` wherever that is not sure or not asked for.

    Unknown are nuclei with a low score, pixels outside of nuclei that may be nuclear all the same,
    and all that is annotated already.
    """
    labels = said.labels(pool.annotated.shape)
    doubtful = np.concatenate([[False], said.nuclei.score <= config.keep_above])
    unknown = doubtful[labels] | pool.annotated
    if said.prob is not None:
        unknown |= (labels == 0) & (said.prob > config.background_below)
    return np.where(unknown, UNKNOWN, labels).astype(np.int32)


def chosen(
    segmenter: Segmenter, net: nn.Module, card: Card, check: Sequence[Field], folder: Path
) -> tuple[Card, Mapping[str, float]]:
    """The constants that are best on val, and their scores, as `folder` has them or anew."""
    path = folder / "chosen.json"
    if path.is_file():
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            return with_post(card, found["post"]), found["scores"]
        except (OSError, ValueError, KeyError, TypeError):
            raise StoreError(f"{folder.name}/{path.name} is damaged; remove it") from None
    card, scores = segmenter.chosen(net, card, check)
    about = {"post": card.post.model_dump(mode="json"), "scores": scores}
    checkpoint.write_atomically(path, json.dumps(about, indent=1).encode())
    return card, scores


def draw_predictions(
    segmenter: Segmenter, net: nn.Module, card: Card, check: Sequence[Field], path: Path
) -> None:
    """Some val images with the outlines found."""
    sheet = []
    for field in check[:_SHOWN]:
        said = segmenter.said(net, card, field.pixels)
        labels = said.labels((field.pixels.shape[0], field.pixels.shape[1]))
        sheet.append(outlined(field.pixels, labels))
    write_sheet(path, sheet, across=4)


def _keep(path: Path, labels: Sequence[Labels]) -> None:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, *labels)
    checkpoint.write_atomically(path, buffer.getvalue())


def _kept(path: Path) -> list[Labels] | None:
    if not path.is_file():
        return None
    try:
        with np.load(path, allow_pickle=False) as found:
            return [found[f"arr_{i}"] for i in range(len(found.files))]
    except Exception:  # noqa: BLE001  zip and numpy raise whatever the damage leads them to
        raise StoreError(
            f"{path.parent.name}/{path.name} is damaged; remove it to have it made again"
        ) from None
