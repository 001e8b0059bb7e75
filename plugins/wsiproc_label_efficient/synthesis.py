"""Pairs of images and masks made from annotated patches: one model a patch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from wsiproc.datasets import Sample
from wsiproc.methods import TrainingEvent, TrainingInputs
from wsiproc_label_efficient.config import LabelEfficientConfig, SynthesisConfig


def synthesize(
    config: SynthesisConfig,
    patches: Sequence[Sample],
    *,
    out: Path,
    seed: int,
    listener: Callable[[TrainingEvent], None],
) -> Path:
    """Learn a model of each patch, and write a data set of synthetic pairs.

    A call that finds unfinished work in `out` goes on with it, at the scale and the step where it
    was stopped; one that finds the data set finished returns it.

    Parameters
    ----------
    patches
        Annotated patches with instances and a known mpp (`selection.patches_dataset`).
    out
        For checkpoints (``models/``) and the data set: ``dataset.toml``, which is written last,
        ``images/`` and ``instances/``, all of ``config.mpp`` and of one split, ``train``.
    seed
        Of everything random.

    Returns
    -------
    Path
        The data set's folder, `out`.
    """


def synthesize_sets(config: LabelEfficientConfig, inputs: TrainingInputs) -> tuple[Path, ...]:
    """Multiply the train splits of ``inputs.data`` into a data set in ``inputs.out``."""
