"""RESULTS.md from the JSONs that `run.py` wrote."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from layout import Gain, Section, Table
from paper import GAINS, SECTIONS
from rows import ROWS, Run, plan

HEAD = """# Accuracy

Scores on validation splits, as `wsiproc evaluate` defines them: detection and pixels pooled over
images, outlines (AJI, object Dice) the mean of images. Weights and the thresholds of
post-processing were chosen on the same split, nothing else; test splits are not here. ± is the
standard deviation over seeds. In brackets: what the paper says, of its own test images. Seconds
are of training, with the threads that the JSON names, on a machine that had other things to do.

Every number has a JSON behind it (`runs`, by seed): command, all settings, seed, seconds, digests
of the models. `make accuracy` runs what has none yet; `make accuracy-check ROW=DATASET-ROW-SEED`
scores a run's models again. Models of `crchisto` and `kumar` may not be given on: where `RUNS`
does not hold them they are trained again first. Who saw `brca_m2c` is not scored on `kumar`, which
shares patients with it. Written by `python benchmarks/accuracy/run.py table`.
"""


def render(folder: Path) -> str:
    """The page."""
    runs = [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]
    gains = [line for line in (_gained(gain, runs) for gain in GAINS) if line]
    parts = [HEAD]
    if gains:
        parts.append("What methods gain over their own baselines, seed by seed:\n")
        parts.append(_as_table(["", "score", "gain", "the paper's", "seeds"], gains))
    return "\n".join([*parts, *(_section(section, runs) for section in SECTIONS)])


def _gained(gain: Gain, runs: Sequence[dict[str, Any]]) -> list[str]:
    """The cells of a gain; none where no seed has both runs."""
    head, part, key = gain.column
    found = [
        {
            run["seed"]: _model(run, gain.kind).get(part, {}).get(key)
            for run in runs
            if (run["dataset"], run["row"]) == (gain.dataset, row)
        }
        for row in (gain.row, gain.baseline)
    ]
    seeds = sorted(set(found[0]) & set(found[1]))
    if not seeds:
        return []
    apart = [found[0][seed] - found[1][seed] for seed in seeds]
    text = f"{mean(apart):+.3f}" + (f" ± {stdev(apart):.3f}" if len(apart) > 1 else "")
    paper = "" if gain.paper is None else f"{gain.paper:+.3f}"
    return [gain.title, f"{head}, `{gain.dataset}`", text, paper, ", ".join(map(str, seeds))]


def _section(section: Section, runs: Sequence[dict[str, Any]]) -> str:
    parts = [f"## `{section.method}`\n", f"{section.paper}\n", f"What differs: {section.differs}\n"]
    shown: dict[str, dict[str, Any]] = {}
    for table in section.tables:
        mine = [run for run in runs if run["dataset"] == table.dataset and run["row"] in table.rows]
        shown |= {_name(run): run for run in mine}
        lines = [_line(table, row, mine) for row in table.rows]
        there = [line for line in lines if line]
        if there:
            parts.append(f"{table.title}, on `{table.dataset}`, split `{mine[0]['split']}`:\n")
            heads = ["", *(head for head, _, _ in table.columns), "seconds", "runs"]
            parts.append(_as_table(heads, there))
    if shown:
        commands = "\n".join(run["command"] for _, run in sorted(shown.items()))
        parts.append(f"Commands:\n\n```\n{commands}\n```\n")
    missing = _missing(section, shown)
    if missing:
        parts.append(f"Not run: {', '.join(missing)}.\n")
    return "\n".join(parts)


def _line(table: Table, row: str, runs: Iterable[dict[str, Any]]) -> list[str]:
    """The cells of a row; none where it has no run."""
    found = [run for run in runs if run["row"] == row]
    if not found:
        return []
    said = [_model(run, table.kind) for run in found]
    paper = [*table.paper.get(row, ()), *(None for _ in table.columns)]
    cells = [
        _cell([scores.get(part, {}).get(key) for scores in said], known)
        for (_, part, key), known in zip(table.columns, paper, strict=False)
    ]
    spent = [run["seconds"] for run in found if "seconds" in run]
    seconds = f"{mean(spent):.0f}" if spent else ""
    return [table.titles.get(row, ROWS[row].title), *cells, seconds, _links(found)]


def _model(run: dict[str, Any], kind: str) -> dict[str, Any]:
    """The scores of the run's model of that kind, or of its only one."""
    models: list[dict[str, Any]] = list(run["models"].values())
    return next((m for m in models if m["post"]["kind"] == kind), models[0])


def _cell(values: Sequence[float | None], paper: float | None) -> str:
    there = [value for value in values if value is not None]
    if not there:
        return ""
    text = f"{mean(there):.3f}"
    if len(there) > 1:
        text += f" ± {stdev(there):.3f}"
    return text if paper is None else f"{text} ({paper:.3f})"


def _links(runs: Sequence[dict[str, Any]]) -> str:
    names = sorted((run["seed"], _name(run)) for run in runs)
    return " ".join(f"[{seed}](results/{name}.json)" for seed, name in names)


def _name(run: dict[str, Any]) -> str:
    return Run(run["dataset"], run["row"], run["seed"]).name


def _missing(section: Section, shown: Iterable[str]) -> list[str]:
    """Runs that ``make accuracy`` would do for the section's tables."""
    wanted = {(table.dataset, row) for table in section.tables for row in table.rows}
    planned = [run.name for run in plan() if (run.dataset, run.row) in wanted]
    there = set(shown)
    return [f"`{name}`" for name in planned if name not in there]


def _as_table(heads: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    rows = [heads, ["---"] * len(heads), *lines]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows) + "\n"
