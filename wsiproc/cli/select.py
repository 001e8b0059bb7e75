"""``wsiproc select``: which parts of unlabelled images are worth annotating."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Protocol, runtime_checkable

import typer

from wsiproc.cli.annotating import By, Preset, carry_out, samples_of
from wsiproc.cli.learning import JsonAtTheEnd, Seed, Threads
from wsiproc.cli.settings import configured, parse_settings
from wsiproc.datasets import Sample
from wsiproc.errors import ConfigError
from wsiproc.methods import MethodConfig, TrainingInputs, find_method


@runtime_checkable
class Selecting(Protocol):
    """A method that says what to annotate."""

    def select(
        self, config: MethodConfig, samples: Sequence[Sample], inputs: TrainingInputs
    ) -> tuple[Path, ...]:
        """Write into ``inputs.out`` what is to be annotated of `samples`, which say their mpp.

        ``inputs.data`` are not looked at.  Returns the files that people go on with; a selection
        found finished is not made again.
        """


def select(
    images: Annotated[
        Path,
        typer.Argument(
            metavar="IMAGES|DATASET",
            help="Folder of images, or of a data set, whose train split is taken.",
            show_default=False,
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the patches.")],
    way: Annotated[
        str | None,
        typer.Option(
            "--method",
            metavar="cps|kmeans|random|centre",
            help="How they are chosen: --set select.method=.",
            show_default="cps",
        ),
    ] = None,
    k: Annotated[
        int | None, typer.Option("--k", help="Patches: --set select.k=.", show_default="9")
    ] = None,
    mpp: Annotated[
        float | None, typer.Option(help="µm per px of images that don't say it.", min=0.05, max=5)
    ] = None,
    by: By = "label_efficient",
    preset: Preset = "default",
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="select.features.source=model, say; see `wsiproc methods BY`."),
    ] = None,
    seed: Seed = 0,
    threads: Threads = 0,
    as_json: JsonAtTheEnd = False,
) -> None:
    """Choose the patches of images that are most worth annotating, and cut them out."""
    method = find_method(by)
    if not isinstance(method, Selecting):
        raise ConfigError(f"{by} does not select: leave --by out")
    given = parse_settings(settings or [])
    for name, value in (("select.method", way), ("select.k", k)):
        if value is not None and name in given:
            raise ConfigError(f"--set {name}= was said in another way, too: give one")
        given |= {} if value is None else {name: str(value)}
    config = configured(method, preset, given)
    samples = samples_of(images, mpp)
    inputs = TrainingInputs(data=(), out=out, seed=seed, threads=threads)
    carry_out(lambda heard: method.select(config, samples, heard), inputs, as_json=as_json)
