"""How good a method is: one command trains a row, scores it on a val split and writes a JSON.

    python benchmarks/accuracy/run.py row lair-5 --data DATA/crchisto --seed 0 --runs RUNS
    python benchmarks/accuracy/run.py all --data DATA --runs RUNS
    python benchmarks/accuracy/run.py check crchisto-lair-5-0 --data DATA --runs RUNS
    python benchmarks/accuracy/run.py table

A row is a method's preset with some settings changed (`rows.py`).  Trainings are kept in RUNS and
gone on with when they were stopped; ``all`` runs what has no JSON yet, most wanted first.  Scores
are those of ``wsiproc evaluate``.  ``table`` writes RESULTS.md from all JSONs, beside what the
papers say (`paper.py`).
"""

from __future__ import annotations

import argparse
import fcntl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rows import ROWS, UNLABELLED, Run, plan
from table import render

HERE = Path(__file__).parent
RESULTS = HERE / "results"


def main() -> int:
    """Parse the command line; returns the exit code."""
    given = _parser().parse_args()
    if given.verb == "table":
        return _table(given.results)
    if given.verb == "all":
        return run_all(given)
    # Only here, since they load the engine.
    from check import check
    from score import score_row

    from wsiproc.errors import WsiprocError

    try:
        if given.verb == "check":
            return check(given)
        print(score_row(given).read_text())
    except (WsiprocError, ValueError, FileNotFoundError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def run_all(given: argparse.Namespace) -> int:
    """Every run of the plan that has no JSON, each in a process of its own; then the table.

    Several may be called at once, with a thread each: a run that another is at is left to it.
    Returns 1 if a run failed; the others are done all the same.
    """
    failed = []
    for run in plan():
        if not run.name.startswith(given.only):
            continue
        with _mine(given.runs / f"{run.name}.lock") as mine:
            if not mine or (given.results / f"{run.name}.json").is_file():
                continue
            print(f"== {run.name}", flush=True)
            words = [sys.executable, str(HERE / "run.py"), "row", run.row, *_options(run, given)]
            done = subprocess.run(words, stdout=subprocess.DEVNULL, check=False)
        if done.returncode:
            failed.append(run.name)
        else:
            _table(given.results)
    print(f"failed: {', '.join(failed)}" if failed else "nothing is left to run here")
    return 1 if failed else 0


@contextmanager
def _mine(path: Path) -> Iterator[bool]:
    """Whether nobody else holds the lock; it is let go of when this process ends, however."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


def _options(run: Run, given: argparse.Namespace) -> list[str]:
    words = ["--data", str(given.data / run.dataset), "--seed", str(run.seed)]
    for name in UNLABELLED.get((run.dataset, ROWS[run.row].method), ()):
        words += ["--unlabelled", str(given.data / name)]
    words += ["--runs", str(given.runs), "--results", str(given.results)]
    return [*words, "--threads", str(given.threads)]


def _table(results: Path) -> int:
    out = HERE / "RESULTS.md" if results == RESULTS else results / "RESULTS.md"
    out.write_text(render(results), encoding="utf-8")
    print(out)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    verbs = parser.add_subparsers(dest="verb", required=True)
    row = verbs.add_parser("row", help="train and score a row")
    row.add_argument("name", choices=sorted(ROWS))
    row.add_argument("--data", type=Path, required=True, help="data set: train is learnt from")
    row.add_argument("--unlabelled", type=Path, action="append", default=[])
    row.add_argument("--split", default="val")
    row.add_argument("--seed", type=int, default=0)
    row.add_argument("--preset", default="default")
    row.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="settings")
    every = verbs.add_parser("all", help="run what has no JSON yet")
    every.add_argument("--only", default="", help="runs whose name begins like this")
    check = verbs.add_parser("check", help="score a run's models again")
    check.add_argument("name", help="DATASET-ROW-SEED")
    for verb in (every, check):
        verb.add_argument("--data", type=Path, required=True, help="folder of data sets")
    for verb in (row, every, check):
        verb.add_argument("--runs", type=Path, required=True, help="folder for trainings")
    for verb in (row, every):
        verb.add_argument("--threads", type=int, default=0)
    table = verbs.add_parser("table", help="write RESULTS.md from the JSONs")
    for verb in (row, every, check, table):
        verb.add_argument("--results", type=Path, default=RESULTS, help="folder of the JSONs")
    return parser


if __name__ == "__main__":
    sys.exit(main())
