"""How good a method is: one command trains a row, scores it on a val split and writes a JSON.

    python benchmarks/accuracy/run.py row mcf --data DATA/tnbc --runs RUNS
    python benchmarks/accuracy/run.py table

A row is a method's preset with some settings changed (`rows.py`).  Trainings are kept in RUNS and
gone on with when they were stopped; scores are those of ``wsiproc evaluate``.  ``table`` writes
RESULTS.md from all JSONs beside what the paper says.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shlex
import sys
import time
from pathlib import Path
from typing import Any

from rows import ROWS, Row
from table import render

HERE = Path(__file__).parent
RESULTS = HERE / "results"


def main() -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    verbs = parser.add_subparsers(dest="verb", required=True)
    row = verbs.add_parser("row", help="train and score a row")
    row.add_argument("name", choices=sorted(ROWS))
    row.add_argument("--data", type=Path, required=True, help="data set: train is learnt from")
    row.add_argument("--unlabelled", type=Path, action="append", default=[])
    row.add_argument("--runs", type=Path, required=True, help="folder for trainings")
    row.add_argument("--split", default="val")
    row.add_argument("--seed", type=int, default=0)
    row.add_argument("--threads", type=int, default=0)
    row.add_argument("--preset", default="default")
    row.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="settings")
    row.add_argument("--results", type=Path, default=RESULTS, help="folder for the JSON")
    table = verbs.add_parser("table", help="write RESULTS.md from the JSONs")
    table.add_argument("--results", type=Path, default=RESULTS)
    given = parser.parse_args()
    if given.verb == "row":
        path = score_row(given)
        print(path.read_text())
    else:
        out = HERE / "RESULTS.md"
        out.write_text(render(given.results), encoding="utf-8")
        print(out)


def score_row(given: argparse.Namespace) -> Path:
    """Train if the row is trained, score each of its files, write the JSON."""
    from wsiproc.evaluate import evaluate
    from wsiproc.model import load_model

    row = ROWS[given.name]
    name = f"{given.data.name}-{given.name}-{given.seed}"
    said = {
        "row": given.name,
        "dataset": given.data.name,
        "split": given.split,
        "seed": given.seed,
        "command": _command(given),
    }
    models, trained = [row.model], {}
    if not row.model:
        models, trained = _trained(row, given, given.runs / name)
    scores = {}
    for model in models:
        loaded = load_model(str(model))
        found = evaluate(str(model), given.data, given.split, device="cpu")
        scores[loaded.card.name] = {
            "sha256": loaded.sha256,
            "post": loaded.card.post.model_dump(mode="json"),
            **{part: found[part] for part in ("detection", "instances", "pixels")},
        }
    given.results.mkdir(parents=True, exist_ok=True)
    path = given.results / f"{name}.json"
    text = json.dumps({**said, **trained, "models": scores}, indent=1, sort_keys=True)
    path.write_text(text + "\n", encoding="utf-8")
    return path


def _trained(row: Row, given: argparse.Namespace, out: Path) -> tuple[list[Path], dict[str, Any]]:
    from wsiproc import __version__
    from wsiproc.cli.train import configured
    from wsiproc.methods import TrainingEvent, TrainingInputs, TrainingStep, find_method

    method = find_method(row.method)
    per_set = row.per_dataset.get(given.data.name, {})
    more = dict(pair.split("=", 1) for pair in given.settings)
    config = configured(method, given.preset, {**row.settings, **per_set, **more})
    out.mkdir(parents=True, exist_ok=True)
    clock = _Clock(out / "seconds.txt")

    def listen(event: TrainingEvent) -> None:
        clock.tick()
        if not isinstance(event, TrainingStep) or event.step % 50 == 0:
            print(f"{clock.seconds:7.0f} s  {event}", file=sys.stderr, flush=True)

    inputs = TrainingInputs(
        data=(given.data,),
        unlabelled=tuple(given.unlabelled),
        out=out,
        seed=given.seed,
        threads=given.threads,
        command=_command(given),
        listener=listen,
    )
    files = method.train(config, inputs)
    clock.tick(last=True)
    code = hashlib.sha256(
        b"".join(path.read_bytes() for path in sorted(_package(row.method).glob("*.py")))
    ).hexdigest()
    facts = {
        "method": row.method,
        "config": config.model_dump(mode="json"),
        "unlabelled": [folder.name for folder in given.unlabelled],
        "seconds": round(clock.seconds),
        "threads": given.threads,
        "code": {"wsiproc": __version__, "method_sha256": code},
    }
    return list(files), facts


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
    from importlib import import_module
    from importlib.metadata import entry_points

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


if __name__ == "__main__":
    main()
