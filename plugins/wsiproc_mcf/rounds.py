"""One round: detect, learn from what is certain, believe oneself, find what was missed (sec. 2.3).

Everything a round finds is on disk before it is used, and read back from there: a training that
was killed goes on with the same bank and the same masks.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from wsiproc.methods import TrainingInputs, TrainingNote, TrainingResumed, TrainingStep
from wsiproc.training import checkpoint
from wsiproc.training.curves import draw_curves
from wsiproc.training.loop import Fitted, fit
from wsiproc.training.pictures import write_picture
from wsiproc_mcf.config import MCFConfig
from wsiproc_mcf.features import Statistics, measure_statistics
from wsiproc_mcf.filters import Bank, cut_patch, make_bank
from wsiproc_mcf.images import Images
from wsiproc_mcf.masks import Masks, detected, load_masks, save_masks
from wsiproc_mcf.mining import Box, Candidate, candidates, mined, nucleus_areas
from wsiproc_mcf.pictures import bank_picture, masks_picture
from wsiproc_mcf.response import Response, calibrate, template_responses
from wsiproc_mcf.segmenter import believing, learning, probability, self_label
from wsiproc_mcf.templates import describe

_AROUND_UM = 40.0
"""Of a candidate's image, what is shown to the filters to hear whether they answer it."""
_SAVE_SECONDS = 60.0
_SHOWN = 6
"""Images on a round's picture of masks."""


@dataclass(frozen=True, slots=True, eq=False)
class Known:
    """The detection branch at a round's beginning.

    Parameters
    ----------
    places
        Of each template: index of its field, and its box in px of the network's mpp.
    begun
        How many of them were given; the others were mined.
    bank
        Their filters.
    """

    places: tuple[tuple[int, Box], ...]
    begun: int
    bank: Bank


@dataclass(frozen=True, slots=True, eq=False)
class Learnt:
    """The segmentation branch at a round's end.

    Parameters
    ----------
    net
        The segmenter.
    dice
        Of p1 > .5 on the val split.
    history
        A row a check: step within the round, and what was measured.
    """

    net: nn.Module
    dice: float
    history: tuple[dict[str, float], ...]


def known(
    places: Sequence[tuple[int, Box]],
    begun: int,
    images: Images,
    config: MCFConfig,
    path: Path,
) -> Known:
    """The bank of `places`, learnt and calibrated once and read from `path` after that."""
    found = checkpoint.load(path)
    if found is not None:
        kept = tuple(
            (int(i), _box(box)) for i, box in zip(found["field"], found["box"], strict=True)
        )
        return Known(kept, begun, Bank.from_state(found["bank"], config.filters, config.mpp))
    normal = [field.normal for field in images.fields if field.labelled]
    statistics: Statistics = measure_statistics(normal, config.filters, config.mpp)
    patches = [
        cut_patch(images.fields[i].normal, box, config.filters, config.mpp) for i, box in places
    ]
    bank = calibrate(make_bank(patches, config.filters, config.mpp, statistics), normal)
    checkpoint.save(
        path,
        {
            "field": [i for i, _ in places],
            "box": [list(box) for _, box in places],
            "bank": bank.state(),
        },
    )
    return Known(tuple(places), begun, bank)


def _box(edges: Sequence[float]) -> Box:
    x0, y0, x1, y1 = (float(edge) for edge in edges)
    return x0, y0, x1, y1


def detect(
    now: Known, images: Images, config: MCFConfig, inputs: TrainingInputs, number: int
) -> list[Masks]:
    """Pseudo masks of every image (eq. 1 to 5), and pictures of them and of the bank."""
    folder = inputs.out / f"round-{number}"
    path, begun = folder / "masks.npz", folder / "masks-begun.npz"
    if path.is_file():
        return load_masks(path)
    stage, count = f"round {number}: detect", len(images.fields)
    found = load_masks(begun) if begun.is_file() else []
    if found:
        inputs.listener(TrainingResumed(stage, len(found), count))
    filters = Response(now.bank, "fft")
    first, start, saved = len(found), time.monotonic(), time.monotonic()
    for i in range(first, count):
        found.append(detected(filters, images.fields[i].normal, config))
        left = (time.monotonic() - start) / (i + 1 - first) * (count - i - 1)
        inputs.listener(TrainingStep(stage, i + 1, count, 0.0, left))
        if time.monotonic() - saved > _SAVE_SECONDS:
            save_masks(begun, found)
            saved = time.monotonic()
    patches = [
        cut_patch(images.fields[i].normal, box, config.filters, config.mpp) for i, box in now.places
    ]
    write_picture(folder / "bank.png", bank_picture(patches, now.begun))
    shown = [(images.fields[i].normal, found[i]) for i in _evenly(images, _SHOWN)]
    picture = masks_picture([(pixels, m.label, m.centres) for pixels, m in shown])
    write_picture(folder / "pseudo_masks.png", picture)
    save_masks(path, found)
    begun.unlink(missing_ok=True)
    nuclei = sum(len(m.centres) for m in found)
    share = sum(float((m.label >= 0).sum()) for m in found) / sum(m.nuclei.size for m in found)
    said = f"{len(now.places)} templates find {nuclei} nuclei; certain of {share:.0%} of the area"
    inputs.listener(TrainingNote(stage, said))
    return load_masks(path)


def learn(
    before: Learnt | None,
    fresh: nn.Module,
    images: Images,
    masks: Sequence[Masks],
    config: MCFConfig,
    inputs: TrainingInputs,
    number: int,
) -> Learnt:
    """Both stages of the segmenter: pseudo masks with synthetic samples, then its own opinion."""
    folder = inputs.out / f"round-{number}"
    net = fresh if before is None else copy.deepcopy(before.net)
    schedule = config.learn if before is None else config.learn_again
    size = schedule.batch, schedule.crop_px
    stage = learning(f"round-{number}-learn", images, masks, config, size)
    seed = inputs.seed * 1000 + number
    fitted = fit(net, stage, schedule, folder=folder, seed=seed, listener=inputs.listener)
    history = _rows(fitted, 0)
    if config.self_finetuning:
        first = fitted.net

        def believed() -> list[NDArray[np.float32]]:
            note = f"round {number}: what the network is certain of becomes its labels"
            inputs.listener(TrainingNote(f"round-{number}-finetune", note))
            return [seen(first, field.normal) for field in images.fields]

        last = config.finetune
        stage = believing(
            f"round-{number}-finetune", images, believed, config, last.batch, last.crop_px
        )
        fitted = fit(
            copy.deepcopy(first), stage, last, folder=folder, seed=seed, listener=inputs.listener
        )
        history += _rows(fitted, schedule.steps)
    draw_curves(history, folder / "curves.png", int(history[-1]["step"]))
    chosen = _evenly(images, _SHOWN)
    picture = masks_picture(
        [
            (
                images.fields[i].normal,
                self_label(seen(fitted.net, images.fields[i].normal), config),
                masks[i].centres,
            )
            for i in chosen
        ]
    )
    write_picture(folder / "segmented.png", picture)
    return Learnt(fitted.net, history[-1]["dice"], tuple(history))


@torch.inference_mode()
def seen(net: nn.Module, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """p1 ``[h, w]`` of an image that is learnt from."""
    return probability(net, pixels, mirrored=True)


def missing(
    now: Known,
    learnt: Learnt,
    images: Images,
    masks: Sequence[Masks],
    config: MCFConfig,
    inputs: TrainingInputs,
    number: int,
) -> tuple[tuple[int, Box], ...]:
    """Templates that the segmenter has and the filters lack (eq. 7); none where none is missing."""
    room = config.mining.most_templates - len(now.places)
    if room <= 0 or config.mining.per_round == 0:
        return ()
    probs = [seen(learnt.net, field.normal) for field in images.fields]
    areas = np.concatenate(
        [
            nucleus_areas(prob, m.centres, config.mining, config.mpp)
            for prob, m in zip(probs, masks, strict=True)
        ]
    )
    if not len(areas):
        return ()
    median = float(np.median(areas))
    found = [
        candidate
        for i, (prob, m) in enumerate(zip(probs, masks, strict=True))
        if images.fields[i].labelled
        for candidate in candidates(
            i, prob, m.nuclei > 0, m.centres, median, config.mining, config.mpp
        )
    ]

    def described(candidate: Candidate) -> NDArray[np.float32]:
        return _described(candidate.field, candidate.box, images, config)

    def answer(candidate: Candidate) -> float:
        x, y = _middle(candidate.box)
        reach = round(_AROUND_UM / config.mpp / 2)
        pixels = images.fields[candidate.field].normal
        y0, x0 = max(0, int(y) - reach), max(0, int(x) - reach)
        part = pixels[y0 : int(y) + reach, x0 : int(x) + reach]
        responses = template_responses(now.bank, part)
        near = max(1, round(1.0 / config.mpp))
        row, column = int(y) - y0, int(x) - x0
        around = responses[
            :, max(0, row - near) : row + near + 1, max(0, column - near) : column + near + 1
        ]
        return float(around.max())

    bank = np.stack([_described(i, box, images, config) for i, box in now.places])
    chosen = mined(found, described, bank, answer, config.mining)[:room]
    text = f"{len(found)} nuclei segmented and not detected; {len(chosen)} become templates"
    inputs.listener(TrainingNote(f"round {number}: mine", text))
    return tuple((candidate.field, candidate.box) for candidate in chosen)


def _described(i: int, box: Box, images: Images, config: MCFConfig) -> NDArray[np.float32]:
    x, y = _middle(box)
    return describe(images.fields[i].normal, x, y, config.mpp)


def _middle(box: Box) -> tuple[float, float]:
    return (box[0] + box[2]) / 2, (box[1] + box[3]) / 2


def _rows(fitted: Fitted, after: int) -> list[dict[str, float]]:
    return [{**row, "step": row["step"] + after} for row in fitted.history]


def _evenly(images: Images, count: int) -> list[int]:
    """Indices of images to show, of ``--data`` two in three."""
    ours = [i for i, field in enumerate(images.fields) if field.labelled]
    others = [i for i, field in enumerate(images.fields) if not field.labelled]
    more = min(len(others), count // 3)

    def spread(indices: list[int], n: int) -> list[int]:
        return [indices[round(k)] for k in np.linspace(0, len(indices) - 1, n)] if n else []

    return spread(ours, min(len(ours), count - more)) + spread(others, more)
