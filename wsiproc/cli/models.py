"""``wsiproc models``: which there are, what they say of themselves, and adding one."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from wsiproc.errors import ConfigError


def models(
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NAME | add FILE.onnx]",
            help="A model's name prints its card; `add FILE.onnx` registers a foreign one.",
            show_default=False,
        ),
    ] = None,
    card: Annotated[
        Path | None, typer.Option(help="With add: the card (TOML) of a file that has none.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON on stdout.")] = False,
) -> None:
    """List models, print a model's card, or register a model made elsewhere."""
    match words or []:
        case []:
            _list(as_json)
        case ["add", file]:
            _add(Path(file), card, as_json)
        case [name]:
            _show(name, card)
        case _:
            raise ConfigError("say `wsiproc models`, `models NAME` or `models add FILE.onnx`")


def _list(as_json: bool) -> None:
    from wsiproc.methods import installed
    from wsiproc.model import list_models

    entries = list_models()
    if as_json:
        found = [
            {
                "name": e.name,
                "source": e.source,
                "sha256": e.sha256,
                "kind": e.card.kind if e.card else None,
                "mpp": e.card.mpp if e.card else None,
                "problem": e.problem or None,
            }
            for e in entries
        ]
        sys.stdout.write(json.dumps(found) + "\n")
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("name", "kind", "mpp", "method", "licence", "source", "sha256"):
        table.add_column(heading)
    for e in entries:
        if e.card is None:
            table.add_row(e.name, "", "", "", "", e.source, f"[red]{e.problem}[/]")
        else:
            mpp, digest = f"{e.card.mpp:g}", e.sha256[:12]
            table.add_row(e.name, e.card.kind, mpp, e.card.method, e.card.licence, e.source, digest)
    console = Console(highlight=False)
    console.print(table)
    for name, why in installed().broken.items():
        console.print(f"[yellow]plugin {name} failed to import:[/] {why}")


def _add(file: Path, card: Path | None, as_json: bool) -> None:
    from wsiproc.model import add_model

    entry = add_model(file, card)
    if as_json:
        sys.stdout.write(json.dumps({"name": entry.name, "sha256": entry.sha256}) + "\n")
    else:
        Console(highlight=False).print(
            f"registered [bold]{entry.name}[/] ({entry.sha256[:12]}); "
            f"run it with --model {entry.name}"
        )


def _show(name: str, card: Path | None) -> None:
    from wsiproc.model import load_model

    model = load_model(name, card=card)
    shown = {"sha256": model.sha256, "source": model.source, **model.card.model_dump(mode="json")}
    sys.stdout.write(json.dumps(shown, indent=2, ensure_ascii=False) + "\n")
