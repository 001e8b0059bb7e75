"""``wsiproc view``: a result in a browser."""

from __future__ import annotations

import json
import sys
import webbrowser
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from wsiproc.errors import MissingExtraError


def view(
    result: Annotated[Path, typer.Argument(help="A published result.", show_default=False)],
    slide: Annotated[
        Path | None, typer.Option(help="The slide it was made from: its pixels, as deep as it has.")
    ] = None,
    against: Annotated[
        Path | None,
        typer.Option(metavar="RESULT", help="Another result of the slide, to compare with."),
    ] = None,
    at: Annotated[
        str, typer.Option(metavar="PLACE", help="Begin where a link led: what follows its '#'.")
    ] = "",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: one that is free.")] = 0,
    browser: Annotated[bool, typer.Option(help="Open the page.")] = True,
    as_json: Annotated[
        bool, typer.Option("--json", help="The address as JSON on stdout; opens no page.")
    ] = False,
) -> None:
    """Look at a result in a browser: the slide, every nucleus, and what is stored of it.

    The page is served to this machine alone, at an address that nobody can guess, and loads nothing
    from elsewhere. It is there until Ctrl-C.
    """
    try:
        from wsiproc.view.serving import serve
    except ImportError as error:
        if (error.name or "").partition(".")[0] not in ("starlette", "uvicorn", "anyio"):
            raise
        raise MissingExtraError("the viewer", "view") from None
    from wsiproc.view.shown import show

    def ready(address: str) -> None:
        address += f"#{at.lstrip('#')}" if at else ""
        if as_json:
            sys.stdout.write(json.dumps({"url": address}) + "\n")
            sys.stdout.flush()
            return
        console = Console(stderr=True, highlight=False, soft_wrap=True)
        console.print(f"[bold]{address}[/]")
        console.print("[dim]Only this machine can open it. Ctrl-C ends it.[/]")
        if browser and console.is_terminal:
            webbrowser.open(address)

    serve(show(result, slide, against), port=port, ready=ready)
