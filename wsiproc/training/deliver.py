"""The end of every training: constants chosen, scores on the card, the file written and proven."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsiproc.card import Card
from wsiproc.methods import TrainingInputs, TrainingNote
from wsiproc.training.choose import Decodable, choose
from wsiproc.training.export import Deployed, Exported, export


def deliver(
    deployed: Deployed,
    card: Card,
    inputs: TrainingInputs,
    *,
    judged: Sequence[Decodable],
    choices: Mapping[str, Sequence[Any]],
    by: Sequence[str],
    tissue: NDArray[np.uint8],
) -> Path:
    """Write ``NAME.onnx`` into ``inputs.out``, with the best post-processing on its card.

    Parameters
    ----------
    deployed, card
        The network, and what is known of it; its ``post.chosen_on`` names the split of `judged`.
    judged
        What the network said of the images to choose by.
    choices, by
        Constants to try, and the scores that decide (`wsiproc.training.choose.choose`).
    tissue
        ``[h, w, 3]`` uint8 at the card's mpp, to prove the file on.

    Raises
    ------
    ModelError
        If the file does not say what the network says.
    """
    card, metrics = scored(card, judged, choices, by)
    exported = export(deployed, card, inputs.out / f"{card.name}.onnx", tissue)
    tell(exported, metrics, inputs)
    return exported.path


def scored(
    card: Card,
    judged: Sequence[Decodable],
    choices: Mapping[str, Sequence[Any]],
    by: Sequence[str],
) -> tuple[Card, dict[str, float]]:
    """The card with the best post-processing and its scores, which are also given.

    Where there is nothing to choose by, the card stays as it is.
    """
    if not judged:
        return card, {}
    card, scores = choose(card, judged, choices, by=by)
    split = card.post.chosen_on.replace(" ", "/")
    metrics = {f"{split}/{name}": round(value, 4) for name, value in scores.items()}
    return card.model_copy(update={"metrics": {**card.metrics, **metrics}}), metrics


def tell(exported: Exported, metrics: Mapping[str, float], inputs: TrainingInputs) -> None:
    """Say what was measured and proven."""
    shown = ", ".join(f"{name} {value:.3f}" for name, value in metrics.items())
    proof = f"differs from torch by at most {exported.difference:.1g}"
    if exported.shift is not None:
        proof += f"; {exported.shift.compared} values the same bits in shifted windows"
    for message in filter(None, (shown, proof, f"sha256 {exported.sha256}")):
        inputs.listener(TrainingNote("export", message))
