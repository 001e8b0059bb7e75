"""``wsiproc evaluate``: a model's nuclei against annotated ones."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table


def evaluate(
    model: Annotated[str, typer.Argument(help="A registered model or FILE.onnx.")],
    data: Annotated[Path, typer.Option("--data", help="Folder of an annotated data set.")],
    split: Annotated[str, typer.Option(help="The split whose images are scored.")] = "val",
    radius_um: Annotated[
        float, typer.Option(help="A detection counts within this distance.", min=0.01)
    ] = 3.0,
    card: Annotated[Path | None, typer.Option(help="Card (TOML) of a foreign file.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, tensorrt or openvino.")] = "auto",
    precision: Annotated[str, typer.Option(help="auto, fp32, bf16 or fp16.")] = "auto",
    per_image: Annotated[
        Path | None, typer.Option(help="Also write each image's numbers to this CSV file.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """Run MODEL over a data set's images, as slides are run, and score what it finds."""
    from wsiproc import evaluate as scoring

    scored = scoring.evaluate(
        model,
        data,
        split,
        radius_um=radius_um,
        card=card,
        device=device,
        precision=precision,
        per_image=per_image,
    )
    if as_json:
        sys.stdout.write(json.dumps(scored) + "\n")
        return
    table = Table(box=None, pad_edge=False, show_header=False)
    for name, value in scored.items():
        if isinstance(value, dict):
            for inner, number in value.items():
                shown = "-" if number is None else f"{number:.4g}"
                table.add_row(f"{name} {inner}", shown)
        else:
            table.add_row(name, str(value))
    Console(highlight=False).print(table)
