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
    """Learn a model of each patch, and write a data set of synthetic pairs."""
    raise NotImplementedError


def multiply(
    config: LabelEfficientConfig, samples: Sequence[Sample], inputs: TrainingInputs
) -> tuple[Path, ...]:
    """Multiply `samples`."""
    raise NotImplementedError
