"""What the verbs that learn share: options, and work that is watched."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from wsiproc.errors import MissingExtraError
from wsiproc.methods import TrainingInputs

TRAIN_EXTRA = ("torch", "torchvision", "monai", "onnx", "onnxscript", "matplotlib")
"""What only training needs."""

Seed = Annotated[int, typer.Option(help="Of everything random.")]
Threads = Annotated[int, typer.Option(help="Threads torch may use; 0 takes all cores.")]
JsonAtTheEnd = Annotated[bool, typer.Option("--json", help="JSON on stdout at the end.")]


def watched(
    work: Callable[[TrainingInputs], tuple[Path, ...]],
    inputs: TrainingInputs,
    *,
    doing: str,
    quiet: bool,
) -> tuple[Path, ...]:
    """Do `work` while its progress is shown; the files it left.

    Parameters
    ----------
    doing
        What it is, for the error.
    quiet
        Whether nothing is shown.

    Raises
    ------
    MissingExtraError
        If what methods train with is not installed.
    """
    from wsiproc.cli.run import stoppable
    from wsiproc.cli.watching import watching_training

    try:
        with stoppable(), watching_training(quiet=quiet) as listen:
            return work(dataclasses.replace(inputs, listener=listen))
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] in TRAIN_EXTRA:
            raise MissingExtraError(doing, "train") from None
        raise
