"""``wsiproc methods`` and ``wsiproc train``."""

from __future__ import annotations

import dataclasses
import json
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import BaseModel, ValidationError
from rich.console import Console
from rich.table import Table

from wsiproc.errors import ConfigError, MissingExtraError
from wsiproc.frozen import faults
from wsiproc.methods import Method, MethodConfig, TrainingInputs, find_method, installed


def methods(
    name: Annotated[
        str | None, typer.Argument(help="One method, with all its settings.", show_default=False)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON on stdout.")] = False,
) -> None:
    """List the training methods that are installed, or one method's settings and presets."""
    found = installed()
    if name is not None:
        _settings(find_method(name), as_json)
        return
    if as_json:
        listed = {n: m.summary for n, m in found.methods.items()}
        sys.stdout.write(json.dumps({"methods": listed, "broken": dict(found.broken)}) + "\n")
        return
    console = Console(highlight=False)
    table = Table(box=None, pad_edge=False, show_header=False)
    for method in found.methods.values():
        table.add_row(f"[bold]{method.name}[/]", method.summary)
    console.print(table)
    for plugin, why in found.broken.items():
        console.print(f"[yellow]plugin {plugin} failed to import:[/] {why}")


def _settings(method: Method, as_json: bool) -> None:
    presets = {name: preset.model_dump(mode="json") for name, preset in method.presets.items()}
    if as_json:
        sys.stdout.write(json.dumps({"summary": method.summary, "presets": presets}) + "\n")
        return
    flat = {name: dict(_flattened(preset)) for name, preset in method.presets.items()}
    table = Table(box=None, pad_edge=False)
    table.add_column("setting", no_wrap=True)
    for name in flat:
        table.add_column(name)
    table.add_column("")
    for setting, (_, about) in next(iter(flat.values())).items():
        values = [json.dumps(preset[setting][0]) for preset in flat.values()]
        table.add_row(setting, *values, about)
    console = Console(highlight=False)
    console.print(f"[bold]{method.name}[/]: {method.summary}\n")
    console.print(table)


def _flattened(config: BaseModel, prefix: str = "") -> Iterator[tuple[str, tuple[Any, str]]]:
    """Every setting by its dotted name, with its value and what it is."""
    for name, about in type(config).model_fields.items():
        value = getattr(config, name)
        if isinstance(value, BaseModel):
            yield from _flattened(value, f"{prefix}{name}.")
        else:
            text = " ".join((about.description or "").split())
            yield f"{prefix}{name}", (config.model_dump(mode="json")[name], text)


def train(
    method: Annotated[str, typer.Argument(help="See `wsiproc methods`.", show_default=False)],
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
    preset: Annotated[str, typer.Option(help="A preset of the method's settings.")] = "default",
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="schedule.steps=500, say; see `methods METHOD`."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of everything random.")] = 0,
    threads: Annotated[int, typer.Option(help="Threads torch may use; 0 takes all cores.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="JSON on stdout at the end.")] = False,
) -> None:
    """Train METHOD on data sets; a training that was stopped goes on where it stopped."""
    from wsiproc.cli.run import parse_settings, stoppable
    from wsiproc.cli.watching import watching_training

    chosen = find_method(method)
    config = configured(chosen, preset, parse_settings(settings or []))
    inputs = TrainingInputs(
        data=tuple(data),
        unlabelled=tuple(unlabelled or ()),
        templates=templates,
        out=out,
        seed=seed,
        threads=threads,
        command=_command(method, data, unlabelled or [], templates, preset, settings or [], seed),
    )
    try:
        with stoppable(), watching_training(quiet=as_json) as listen:
            files = chosen.train(config, dataclasses.replace(inputs, listener=listen))
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] in ("torch", "onnx", "onnxscript", "matplotlib"):
            raise MissingExtraError("training", "train") from None
        raise
    if as_json:
        sys.stdout.write(json.dumps({"models": [str(file) for file in files]}) + "\n")
    else:
        console = Console(highlight=False)
        for file in files:
            console.print(f"[bold]{file}[/]: use it with --model {file}")


def configured(method: Method, preset: str, given: dict[str, str]) -> MethodConfig:
    """The preset's settings with those given in their place.

    Raises
    ------
    ConfigError
        That says which presets or settings there are.
    """
    if preset not in method.presets:
        raise ConfigError(
            f"{method.name} has no preset {preset!r}, only {', '.join(method.presets)}"
        )
    values: dict[str, Any] = method.presets[preset].model_dump()
    for key, text in given.items():
        *path, last = key.split(".")
        table: Any = values
        for part in path:
            table = table.get(part) if isinstance(table, dict) else None
        if not isinstance(table, dict) or last not in table:
            raise ConfigError(
                f"{method.name} has no setting {key!r}; see `wsiproc methods {method.name}`"
            )
        try:
            table[last] = json.loads(text)
        except json.JSONDecodeError:
            table[last] = text
    try:
        return method.config.model_validate(values)
    except ValidationError as error:
        raise ConfigError(f"settings not understood: {faults(error, 'settings')}") from None


def _command(
    method: str,
    data: list[Path],
    unlabelled: list[Path],
    templates: Path | None,
    preset: str,
    settings: list[str],
    seed: int,
) -> str:
    """The command as anybody would type it: names of data sets, not places on this machine."""
    words = ["wsiproc", "train", method]
    for folder in data:
        words += ["--data", f"DATA/{folder.resolve().name}"]
    for folder in unlabelled:
        words += ["--unlabelled", f"DATA/{folder.resolve().name}"]
    if templates is not None:
        words += ["--templates", templates.name]
    if preset != "default":
        words += ["--preset", preset]
    for pair in settings:
        words += ["--set", pair]
    if seed:
        words += ["--seed", str(seed)]
    return shlex.join([*words, "--out", "OUT"])
