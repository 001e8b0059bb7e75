"""A run's training and its scores."""

from __future__ import annotations

import argparse
import hashlib
import json
import shlex
import shutil
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from rows import ROWS, SAME_PATIENTS, SHARED, Row, Run
from splits import scorable

from wsiproc import __version__
from wsiproc.cli.settings import configured
from wsiproc.cli.train import command_of
from wsiproc.datasets import read_dataset
from wsiproc.errors import ConfigError
from wsiproc.evaluate import evaluate
from wsiproc.methods import MethodConfig, TrainingEvent, TrainingInputs, TrainingStep, find_method
from wsiproc.model import load_model
from wsiproc.training.checkpoint import IDENTITY

_SECONDS = "seconds.txt"
PARTS = ("detection", "instances", "pixels")


@dataclass(frozen=True)
class Place:
    """Where things lie on this machine; nothing of it gets into a JSON.

    Parameters
    ----------
    data
        The data set that is learnt from and scored on.
    unlabelled
        Others of which only the images are used.
    out
        Folder of the training.
    threads
        For torch; 0 takes all cores.
    """

    data: Path
    unlabelled: tuple[Path, ...]
    out: Path
    threads: int


def score_row(given: argparse.Namespace) -> Path:
    """Train if the row is trained, score each of its files, write the JSON, and return it."""
    row = ROWS[given.name]
    run = Run(given.data.name, given.name, given.seed)
    data = scorable(given.data, given.runs)
    place = Place(data, tuple(given.unlabelled), given.runs / run.name, given.threads)
    refuse_known_patients(
        run.dataset, [read_dataset(folder).name for folder in (place.data, *place.unlabelled)]
    )
    said: dict[str, Any] = {
        "row": run.row,
        "dataset": run.dataset,
        "split": given.split,
        "seed": run.seed,
        "command": _command(given),
    }
    if run.dataset in row.model:
        models: Sequence[str | Path] = [row.model[run.dataset]]
    else:
        more = dict(pair.split("=", 1) for pair in given.settings)
        settings = {**row.changes(run.dataset, given.preset), **more}
        method = find_method(row.method)
        config = configured(method, given.preset, settings)
        flags = {name: settings.pop(name, None) for name in ("labelled", "fraction")}
        said["train"] = command_of(
            method,
            TrainingInputs((place.data,), place.out, place.unlabelled, seed=run.seed),
            preset=given.preset,
            settings=[f"{key}={value}" for key, value in settings.items()],
            flags=flags,
        )
        take_over(run, given.preset, more, given.runs)
        models, facts = trained(row.method, config, run.seed, place, said["command"])
        said |= facts
    said["models"] = scored(models, row, place.data, given.split)
    given.results.mkdir(parents=True, exist_ok=True)
    path: Path = given.results / f"{run.name}.json"
    path.write_text(json.dumps(said, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    return path


def take_over(run: Run, preset: str, more: Mapping[str, str], runs: Path) -> None:
    """Copy the stages that the row shares with another one, whose training is in `runs`.

    Parameters
    ----------
    more
        Settings that were changed beside the row's own; the other training must have them, too.
    """
    out = runs / run.name
    if (out / IDENTITY).is_file() or run.row not in SHARED:
        return
    name, patterns = SHARED[run.row]
    row, other = ROWS[name], runs / replace(run, row=name).name
    if not (other / IDENTITY).is_file():
        return
    config = configured(
        find_method(row.method), preset, {**row.changes(run.dataset, preset), **more}
    )
    if json.loads((other / IDENTITY).read_text())["config"] != config.model_dump(mode="json"):
        return
    found = [path for pattern in patterns for path in sorted(other.glob(pattern))]
    files = [path for path in found if path.is_file()]
    for path in files:
        into = out / path.relative_to(other)
        into.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, into)
    if files:
        # A stop between is no work: what the other training took in all is more than its part.
        took = max(path.stat().st_mtime for path in files) - (other / IDENTITY).stat().st_mtime
        (out / _SECONDS).write_text(f"{min(took, float((other / _SECONDS).read_text())):.1f}")


def trained(
    name: str, config: MethodConfig, seed: int, place: Place, command: str
) -> tuple[Sequence[Path], dict[str, Any]]:
    """Train, or go on training, in ``place.out``: the files, and what a JSON says of it."""
    import torch

    place.out.mkdir(parents=True, exist_ok=True)
    clock = _Clock(place.out / _SECONDS)

    def listen(event: TrainingEvent) -> None:
        clock.tick()
        if not isinstance(event, TrainingStep) or event.step % 50 == 0:
            print(f"{clock.seconds:7.0f} s  {event}", file=sys.stderr, flush=True)

    inputs = TrainingInputs(
        data=(place.data,),
        unlabelled=place.unlabelled,
        out=place.out,
        seed=seed,
        threads=place.threads,
        command=command,
        listener=listen,
    )
    files = find_method(name).train(config, inputs)
    clock.tick(last=True)
    code = b"".join(path.read_bytes() for path in sorted(_package(name).glob("*.py")))
    return files, {
        "method": name,
        "config": config.model_dump(mode="json"),
        "unlabelled": [folder.name for folder in place.unlabelled],
        "seconds": round(clock.seconds),
        "threads": place.threads,
        "device": "cuda" if torch.cuda.is_available() else "cpu",
        "code": {"wsiproc": __version__, "method_sha256": hashlib.sha256(code).hexdigest()},
    }


def scored(models: Iterable[str | Path], row: Row, data: Path, split: str) -> dict[str, Any]:
    """By the name on its card, the scores of each model and the digest of its file.

    Raises
    ------
    ConfigError
        If a model knows patients of the data set.
    """
    scores = {}
    for model in models:
        loaded = load_model(str(model))
        refuse_known_patients(read_dataset(data).name, [seen.name for seen in loaded.card.data])
        found = evaluate(str(model), data, split, device="cpu")
        mine = {
            "sha256": loaded.sha256,
            "post": loaded.card.post.model_dump(mode="json"),
            **{part: found[part] for part in PARTS},
        }
        if row.radius_um is not None:
            again = evaluate(str(model), data, split, device="cpu", radius_um=row.radius_um)
            mine["detection_as_printed"] = again["detection"]
        scores[loaded.card.name] = mine
    return scores


def refuse_known_patients(dataset: str, seen: Iterable[str]) -> None:
    """Patients that a model has seen tell nothing of how good it is.

    Raises
    ------
    ConfigError
        If `dataset` shares patients with one of those that were `seen`.
    """
    other = SAME_PATIENTS.get(dataset)
    if other in seen:
        raise ConfigError(
            f"patients of {dataset} are in {other}, too: who saw {other}, even unlabelled, is not "
            f"scored on {dataset}"
        )


def as_config(name: str, fields: Mapping[str, Any]) -> MethodConfig:
    """The settings that a JSON holds."""
    return find_method(name).config.model_validate(fields)


class _Clock:
    """Seconds spent on a training, over all the times that it was begun."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.seconds = float(path.read_text()) if path.is_file() else 0.0
        self._seen = self._written = time.monotonic()

    def tick(self, *, last: bool = False) -> None:
        now = time.monotonic()
        self.seconds += now - self._seen
        self._seen = now
        if last or now - self._written > 10:
            self._path.write_text(f"{self.seconds:.1f}")
            self._written = now


def _package(method: str) -> Path:
    (point,) = (p for p in entry_points(group="wsiproc.methods") if p.name == method)
    return Path(str(import_module(point.module).__file__)).parent


def _command(given: argparse.Namespace) -> str:
    """As anybody would type it: names of data sets, not places on this machine."""
    words = ["python", "benchmarks/accuracy/run.py", "row", given.name]
    words += ["--data", f"DATA/{given.data.name}"]
    for folder in given.unlabelled:
        words += ["--unlabelled", f"DATA/{folder.name}"]
    if given.split != "val":
        words += ["--split", given.split]
    if given.preset != "default":
        words += ["--preset", given.preset]
    for pair in given.settings:
        words += ["--set", pair]
    return shlex.join([*words, "--seed", str(given.seed), "--runs", "RUNS"])
