"""``wsiproc propose``: a model's outlines, to be corrected in QuPath."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console


def propose(
    images: Annotated[
        list[Path],
        typer.Argument(help="Images, slides, folders of images, or data sets.", show_default=False),
    ],
    model: Annotated[
        str, typer.Option("--model", "-m", help="A registered model or FILE.onnx.")
    ] = "unet",
    out: Annotated[
        Path,
        typer.Option("--out", "-o", help="Folder for a GeoJSON of each; or, of one, its file."),
    ] = Path("proposed"),
    mpp: Annotated[
        float | None, typer.Option(help="µm per px of images that don't say it.", min=0.05, max=5)
    ] = None,
    score: Annotated[
        float, typer.Option(help="Less certain nuclei are not proposed.", min=0, max=1)
    ] = 0.0,
    tolerance_um: Annotated[
        float, typer.Option(help="How far outlines may move to have fewer points.", min=0)
    ] = 0.5,
    least_iou: Annotated[
        float, typer.Option(help="And how much of them has to stay (IoU).", min=0, max=1)
    ] = 0.9,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, tensorrt or openvino.")] = "auto",
    replace: Annotated[
        bool, typer.Option("--replace", help="Write over files that are there.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="A JSON object a file.")] = False,
) -> None:
    """Outline nuclei in IMAGES with few points, for people to correct in QuPath.

    Outlines that a data set has stay as they are, and nothing is proposed over them.
    """
    from wsiproc import propose as proposing

    simplicity = proposing.Simplicity(tolerance_um, least_iou)
    written = proposing.propose(
        proposing.pictures_of(images, mpp),
        model,
        out,
        least_score=score,
        simplicity=simplicity,
        device=device,
        replace_files=replace,
    )
    console = Console(highlight=False)
    for each in written:
        if as_json:
            said = {
                "id": each.id,
                "file": str(each.file),
                "kept": each.kept,
                "predicted": each.predicted,
                "points": each.points,
                "points_before": each.points_before,
                "least_iou": round(each.least_iou, 4),
            }
            sys.stdout.write(json.dumps(said) + "\n")
            continue
        kept = f", {each.kept} kept" if each.kept else ""
        per = each.points / each.predicted if each.predicted else 0
        console.print(f"{each.file}: {each.predicted} proposed{kept}, {per:.1f} points each")
