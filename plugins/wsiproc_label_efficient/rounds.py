"""Rounds: learn, predict what is not annotated, learn from what is certain of it (sec. III-D)."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
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
from wsiproc_label_efficient.images import Image, mixed
from wsiproc_label_efficient.outlines import SHOWN, outlined, write_sheet
from wsiproc_label_efficient.pseudo import Pool, pseudo_labels
from wsiproc_label_efficient.segmenter_config import RoundsConfig
from wsiproc_label_efficient.segmenting import BY, Segmenter


@dataclass(frozen=True, slots=True, eq=False)
class Given:
    """What is known before anything is learnt.

    Parameters
    ----------
    real
        The annotated patches, or the whole train split where all is annotated.
    synthetic
        Pairs made from them.
    pool
        What is not annotated.
    note
        In words, for the card.
    """

    real: tuple[Image, ...]
    synthetic: tuple[Image, ...]
    pool: tuple[Pool, ...]
    note: str


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


def learn_rounds(
    segmenter: Segmenter,
    net: nn.Module,
    card: Card,
    given: Given,
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
    given
        Without a pool there are no rounds.
    check
        The val split.
    """
    rounds: list[Round] = []
    metrics = dict(card.metrics)
    split = card.post.chosen_on.replace(" ", "/")
    for number in range(1 + (config.rounds.rounds if given.pool else 0)):
        folder = inputs.out / f"round-{number}"
        folder.mkdir(exist_ok=True)
        pseudo: tuple[Image, ...] = ()
        if rounds:
            net, card = copy.deepcopy(rounds[-1].net), rounds[-1].card
            pseudo = pseudo_labels(segmenter, net, card, given.pool, config, inputs, folder, number)
        learnt = mixed(
            given.real,
            given.synthetic,
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
    for field in check[:SHOWN]:
        said = segmenter.said(net, card, field.pixels)
        labels = said.labels((field.pixels.shape[0], field.pixels.shape[1]))
        sheet.append(outlined(field.pixels, labels))
    write_sheet(path, sheet, across=4)
