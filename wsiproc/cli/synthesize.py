"""``wsiproc synthesize``: many labelled images out of a few."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Protocol, runtime_checkable

import typer

from wsiproc.cli.annotating import By, Preset, carry_out
from wsiproc.cli.learning import JsonAtTheEnd, Seed, Threads
from wsiproc.cli.settings import configured, parse_settings
from wsiproc.datasets import Sample, read_dataset
from wsiproc.errors import ConfigError
from wsiproc.methods import MethodConfig, TrainingInputs, find_method


@runtime_checkable
class Synthesizing(Protocol):
    """A method that makes labelled images of labelled ones."""

    def synthesize(
        self, config: MethodConfig, samples: Sequence[Sample], inputs: TrainingInputs
    ) -> tuple[Path, ...]:
        """Write a data set into ``inputs.out``, going on with one found there unfinished.

        ``inputs.data`` are not looked at.  Returns its folder.
        """


def synthesize(
    patches: Annotated[
        Path,
        typer.Argument(
            metavar="DATASET",
            help="Data set of annotated patches, whose train split is taken.",
            show_default=False,
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for models and pairs.")],
    by: By = "label_efficient",
    preset: Preset = "default",
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="synthesis.per_patch=20, say; see `wsiproc methods BY`."),
    ] = None,
    seed: Seed = 0,
    threads: Threads = 0,
    as_json: JsonAtTheEnd = False,
) -> None:
    """Make a data set of synthetic images and masks from annotated patches, a model each."""
    method = find_method(by)
    if not isinstance(method, Synthesizing):
        raise ConfigError(f"{by} does not synthesize: leave --by out")
    config = configured(method, preset, parse_settings(settings or []))
    samples = read_dataset(patches).split("train")
    inputs = TrainingInputs(data=(patches,), out=out, seed=seed, threads=threads)
    carry_out(lambda heard: method.synthesize(config, samples, heard), inputs, as_json=as_json)
