"""``wsiproc sample``: a drawn slide with known nuclei."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console


def sample(
    out: Annotated[Path, typer.Argument(help="The slide to write, .tiff.", show_default=False)],
    size: Annotated[tuple[int, int], typer.Option(metavar="W H", help="Width and height, px.")] = (
        4096,
        4096,
    ),
    seed: Annotated[int, typer.Option(help="Another seed draws another slide.")] = 0,
    mpp: Annotated[float, typer.Option(help="µm per pixel.")] = 0.25,
) -> None:
    """Draw a slide of H&E-like tissue, and write its nuclei's true outlines beside it."""
    from wsiproc.sample import draw_sample

    drawn = draw_sample(out, width=size[0], height=size[1], seed=seed, mpp=mpp)
    Console(highlight=False).print(
        f"[bold]{out}[/]: {size[0]:,} x {size[1]:,} px, {drawn.nuclei:,} nuclei, "
        f"outlines in {drawn.truth.name}"
    )
