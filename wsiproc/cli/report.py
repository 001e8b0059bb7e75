"""``wsiproc report``: a result, or a batch, on a page for people."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from wsiproc.cli.writing import check_free


def report(
    results: Annotated[
        Path, typer.Argument(metavar="RESULT|BATCH", help="A result, or a folder of them.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="The page to write, .html.")] = Path(
        "report.html"
    ),
    slide: Annotated[
        Path | None,
        typer.Option(
            help="The result's slide: shows nuclei with their pixels.", show_default=False
        ),
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Write over a page that is there.")
    ] = False,
) -> None:
    """Write one self-contained page: pictures, numbers, nuclei one by one, where it is from.

    It needs no network and no script, prints well on A4, and may be mailed.
    """
    from wsiproc.report.writing import write_report

    check_free(out, replace=replace)
    written = write_report(results, out, slide=slide)
    many = "1 slide" if written.slides == 1 else f"{written.slides:,} slides"
    said = Text.assemble((str(out), "bold"), f": {many}, {written.bytes / 1e6:.1f} MB")
    Console(highlight=False, soft_wrap=True).print(said)
