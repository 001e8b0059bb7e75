"""A run's models scored again, beside what its JSON says."""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rows import ROWS, run_named
from score import PARTS, Place, as_config, scored, trained
from splits import scorable

SAME_MODEL = 0.002
"""Scores of the same file differ by no more: another CPU rounds otherwise, and moves a nucleus."""
SAME_TRAINING = 0.03
"""Those of a model that was trained again may: another machine, or number of threads."""

_NO_SCORES = ("radius_um", "mu_px", "sigma_px")


@dataclass(frozen=True)
class Compared:
    """One score, then and now."""

    name: str
    then: float | None
    now: float | None

    def within(self, tolerance: float) -> bool:
        """Whether it is the same, but for so much."""
        if self.then is None or self.now is None:
            return self.then == self.now
        return abs(self.then - self.now) <= tolerance


def check(given: argparse.Namespace) -> int:
    """Print every score then and now; 1 if they are apart, else 0."""
    run = run_named(given.name)
    row = ROWS[run.row]
    record = json.loads((given.results / f"{run.name}.json").read_text())
    data, out = scorable(given.data / run.dataset, given.runs), given.runs / run.name
    wanted = {model["sha256"] for model in record["models"].values()}
    models: Sequence[str | Path] = [row.model[run.dataset]] if run.dataset in row.model else []
    models = models or _found(out, wanted)
    if not models:
        print(f"RUNS holds no models of {run.name}: trained again; it took {record['seconds']} s")
        others = tuple(given.data / name for name in record["unlabelled"])
        place = Place(data, others, out, record["threads"])
        config = as_config(record["method"], record["config"])
        models, _ = trained(record["method"], config, run.seed, place, record["command"])
    now = scored(models, row, data, record["split"])
    same = {model["sha256"] for model in now.values()} == wanted
    print("the models of the JSON, by their digests" if same else "other models than the JSON's")
    tolerance = SAME_MODEL if same else SAME_TRAINING
    apart = 0
    for each in compared(record["models"], now):
        agrees = each.within(tolerance)
        apart += not agrees
        print(f"{each.name:48}{_number(each.then)}{_number(each.now)}{'' if agrees else '  apart'}")
    print(f"{apart} scores are further apart than {tolerance}" if apart else "all agree")
    return min(apart, 1)


def compared(then: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[Compared]:
    """All scores that there were or are, model by model."""
    for name, model in then.items():
        for part in (*PARTS, "detection_as_printed"):
            for key, value in model.get(part, {}).items():
                again = now.get(name, {}).get(part, {}).get(key)
                if key not in _NO_SCORES and (value, again) != (None, None):
                    yield Compared(f"{name} {part} {key}", value, again)


def _found(folder: Path, wanted: set[str]) -> list[Path]:
    """The files of a finished training with these digests; none where one is missing."""
    files = {hashlib.sha256(path.read_bytes()).hexdigest(): path for path in folder.glob("*.onnx")}
    return [files[digest] for digest in wanted] if wanted <= set(files) else []


def _number(value: float | None) -> str:
    return f"{'-':>10}" if value is None else f"{value:10.4f}"
