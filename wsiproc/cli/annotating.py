"""What `select` and `synthesize` share: their options, a folder's images, and how they end."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from wsiproc.cli.learning import watched
from wsiproc.datasets import PICTURES_IN_FOLDERS, Sample, read_dataset
from wsiproc.errors import ConfigError
from wsiproc.methods import TrainingInputs

By = Annotated[str, typer.Option("--by", help="The training method that does it.")]
Preset = Annotated[str, typer.Option(help="A preset of that method's settings.")]


def samples_of(folder: Path, mpp: float | None) -> tuple[Sample, ...]:
    """The train split of a data set, or all images of a folder that is none.

    Parameters
    ----------
    mpp
        Of images that don't say it.

    Raises
    ------
    ConfigError
        If there are no images, or none that say their mpp.
    """
    if (folder / "dataset.toml").is_file():
        found = read_dataset(folder).split("train")
        if mpp is not None and found[0].mpp is not None and mpp != found[0].mpp:
            raise ConfigError(f"dataset.toml says {found[0].mpp:g} µm per px: leave --mpp out")
        samples = tuple(dataclasses.replace(each, mpp=each.mpp or mpp) for each in found)
    elif folder.is_dir():
        files = sorted(
            file for file in folder.iterdir() if file.suffix.lower() in PICTURES_IN_FOLDERS
        )
        ids = [file.stem for file in files]
        twice = next((name for name in ids if ids.count(name) > 1), None)
        if twice is not None:
            raise ConfigError(f"two images are called {twice}: give each a name of its own")
        samples = tuple(Sample(file.stem, "train", mpp, file, None, "none") for file in files)
    else:
        raise ConfigError(f"{folder.name}: there is no such folder")
    if not samples:
        raise ConfigError(
            f"{folder.name} holds no images ({', '.join(PICTURES_IN_FOLDERS)}) and no data set"
        )
    if samples[0].mpp is None:
        raise ConfigError("the images don't say how large a pixel is: give --mpp")
    return samples


def carry_out(
    work: Callable[[TrainingInputs], tuple[Path, ...]], inputs: TrainingInputs, *, as_json: bool
) -> None:
    """Do `work` while its progress is shown, then say which files it left.

    Raises
    ------
    MissingExtraError
        If what methods train with is not installed.
    """
    files = watched(work, inputs, doing="this", quiet=as_json)
    if as_json:
        sys.stdout.write(json.dumps({"files": [str(file) for file in files]}) + "\n")
    else:
        console = Console(highlight=False)
        for file in files:
            console.print(f"[bold]{file}[/]")
