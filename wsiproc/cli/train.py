"""``wsiproc methods`` and ``wsiproc train``."""

from __future__ import annotations

import dataclasses
import json
import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from typer.core import TyperCommand

from wsiproc.cli.learning import JsonAtTheEnd, Seed, Threads, watched
from wsiproc.cli.settings import (
    configured,
    listed,
    parse_settings,
    settings_of,
    shown,
    with_flags,
)
from wsiproc.methods import Method, TrainingInputs, find_method, installed


def methods(
    name: Annotated[
        str | None, typer.Argument(help="One method, with all its settings.", show_default=False)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON on stdout.")] = False,
) -> None:
    """List the training methods that are installed, or one method's settings and presets."""
    console = Console(highlight=False)
    if name is not None:
        method = find_method(name)
        if as_json:
            sys.stdout.write(json.dumps(_as_json(method)) + "\n")
        else:
            console.print(shown(method))
        return
    found = installed()
    if as_json:
        summaries = {n: m.summary for n, m in found.methods.items()}
        sys.stdout.write(json.dumps({"methods": summaries, "broken": dict(found.broken)}) + "\n")
    else:
        console.print(listed(found.methods, found.broken))


def _as_json(method: Method) -> dict[str, Any]:
    return {
        "summary": method.summary,
        "presets": {name: p.model_dump(mode="json") for name, p in method.presets.items()},
        "settings": {s.name: {"unit": s.unit, "about": s.about} for s in settings_of(method)},
    }


class TrainCommand(TyperCommand):
    """``wsiproc train``, whose help also knows the method that is asked about."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Keep the words for `format_help`, which is called before they are understood."""
        ctx.meta[__name__] = list(args)
        return super().parse_args(ctx, args)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """The options; then the method's settings, or which methods there are."""
        super().format_help(ctx, formatter)
        asked, _, _ = self.make_parser(ctx).parse_args(list(ctx.meta[__name__]))
        name = asked.get("method")
        console = Console(highlight=False)
        if isinstance(name, str):
            console.print(shown(find_method(name)))
            return
        found = installed()
        console.print("Methods; `wsiproc train METHOD --help` shows a method's settings:\n")
        console.print(listed(found.methods, found.broken))


def train(
    method: Annotated[
        str, typer.Argument(metavar="METHOD", help="One of `wsiproc methods`.", show_default=False)
    ],
    data: Annotated[
        list[Path],
        typer.Option("--data", help="Folder of an annotated data set; may be given many times."),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for checkpoints and models.")],
    unlabelled: Annotated[
        list[Path] | None,
        typer.Option("--unlabelled", help="Data set of which only the images are used."),
    ] = None,
    templates: Annotated[
        Path | None,
        typer.Option(help="CSV with the lines 'image,x0,y0,x1,y1': boxes of nuclei, in pixels."),
    ] = None,
    labelled: Annotated[
        str | None,
        typer.Option(
            metavar="N|all",
            help="Images whose labels are used, the others being unlabelled: --set labelled=N.",
        ),
    ] = None,
    fraction: Annotated[
        float | None,
        typer.Option(help="Part of the nuclei whose labels are used: --set fraction=X."),
    ] = None,
    preset: Annotated[str, typer.Option(help="A preset of the method's settings.")] = "default",
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="schedule.steps=500, say; see `train METHOD --help`."),
    ] = None,
    seed: Seed = 0,
    threads: Threads = 0,
    as_json: JsonAtTheEnd = False,
) -> None:
    """Train METHOD on data sets; a training that was stopped goes on where it stopped."""
    chosen = find_method(method)
    part = None if fraction is None else f"{fraction:g}"
    flags = {"labelled": labelled, "fraction": part}
    config = configured(chosen, preset, with_flags(chosen, parse_settings(settings or []), flags))
    inputs = TrainingInputs(
        data=tuple(data),
        unlabelled=tuple(unlabelled or ()),
        templates=templates,
        out=out,
        seed=seed,
        threads=threads,
    )
    command = command_of(chosen, inputs, preset=preset, settings=settings or [], flags=flags)
    inputs = dataclasses.replace(inputs, command=command)
    files = watched(
        lambda heard: chosen.train(config, heard), inputs, doing="training", quiet=as_json
    )
    if as_json:
        sys.stdout.write(json.dumps({"models": [str(file) for file in files]}) + "\n")
    else:
        console = Console(highlight=False)
        for file in files:
            console.print(f"[bold]{file}[/]: use it with --model {file}")


def command_of(
    method: Method,
    inputs: TrainingInputs,
    *,
    preset: str = "default",
    settings: list[str],
    flags: dict[str, str | None],
) -> str:
    """The command as anybody would type it: names of data sets, not places on this machine."""
    words = ["wsiproc", "train", method.name]
    for folder in inputs.data:
        words += ["--data", f"DATA/{folder.resolve().name}"]
    for folder in inputs.unlabelled:
        words += ["--unlabelled", f"DATA/{folder.resolve().name}"]
    if inputs.templates is not None:
        words += ["--templates", inputs.templates.name]
    for name, text in flags.items():
        words += [f"--{name}", text] if text is not None else []
    if preset != "default":
        words += ["--preset", preset]
    for pair in settings:
        words += ["--set", pair]
    if inputs.seed:
        words += ["--seed", str(inputs.seed)]
    return shlex.join([*words, "--out", "OUT"])
