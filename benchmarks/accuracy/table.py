"""RESULTS.md from the JSONs that `run.py` wrote."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from rows import DETECTION, PAPER_DETECTION, PAPER_PIXELS, ROWS, SEGMENTATION

PIXELS = ("pa", "mpa", "iou", "fwiou", "dice")
POINTS = ("precision", "recall", "f1")

HEAD = """# Accuracy

Scores on validation splits, by `wsiproc evaluate`: pixels and detection pooled over images; a
detection counts within 3 µm of the centre of a nucleus' box. Thresholds of post-processing were
chosen on the same split, nothing else; test splits are not here. In brackets: what the paper
says, of its own test images. Seconds are of one thread on a busy machine. Written by
`python benchmarks/accuracy/run.py table`.
"""


def render(folder: Path) -> str:
    """The page."""
    runs = [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]
    parts = [HEAD]
    for dataset in dict.fromkeys(run["dataset"] for run in runs):
        here = [run for run in runs if run["dataset"] == dataset]
        parts.append(f"## `{dataset}`, split `{here[0]['split']}`\n")
        pixels = _pixel_lines(dataset, here)
        points = _point_lines(dataset, here)
        if pixels:
            parts.append("Segmentation, the file `mcf.onnx`:\n")
            heads = ["", "PA", "MPA", "IoU", "FWIoU", "Dice", "AJI", "F1", "seconds", "runs"]
            parts.append(_table(heads, pixels))
        if points:
            parts.append("Detection, the file `mcf_detector.onnx`:\n")
            parts.append(_table(["", "P", "R", "F", "runs"], points))
    return "\n".join(parts)


def _pixel_lines(dataset: str, runs: Sequence[dict[str, Any]]) -> list[list[str]]:
    lines = []
    for row in SEGMENTATION:
        found = [run for run in runs if run["row"] == row]
        said = [_model(run, "mask") for run in found]
        if not said:
            continue
        paper = PAPER_PIXELS.get((dataset, row), (None,) * len(PIXELS))
        cells = [
            _cell([s["pixels"][key] for s in said], known)
            for key, known in zip(PIXELS, paper, strict=True)
        ]
        cells.append(_cell([s["instances"]["aji"] for s in said], None))
        cells.append(_cell([s["detection"]["f1"] for s in said], None))
        spent = [run["seconds"] for run in found if "seconds" in run]
        seconds = f"{mean(spent):.0f}" if spent else ""
        lines.append([ROWS[row].title, *cells, seconds, _links(found)])
    return lines


def _point_lines(dataset: str, runs: Sequence[dict[str, Any]]) -> list[list[str]]:
    lines = []
    for row in DETECTION:
        found = [run for run in runs if run["row"] == row]
        if not found:
            continue
        said = [_model(run, "points") for run in found]
        paper = PAPER_DETECTION.get((dataset, row), (None,) * len(POINTS))
        cells = [
            _cell([s["detection"][key] for s in said], known)
            for key, known in zip(POINTS, paper, strict=True)
        ]
        title = "MCF's filters, none mined" if row == "no-seg" else ROWS[row].title
        lines.append([title, *cells, _links(found)])
    return lines


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
    names = [(run["seed"], f"{run['dataset']}-{run['row']}-{run['seed']}.json") for run in runs]
    return " ".join(f"[{seed}](results/{name})" for seed, name in sorted(names))


def _table(heads: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    rows = [heads, ["---"] * len(heads), *lines]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows) + "\n"
