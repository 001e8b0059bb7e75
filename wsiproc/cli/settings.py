"""A method's settings on the command line: shown with their units, and changed one by one."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ValidationError
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from wsiproc.errors import ConfigError
from wsiproc.frozen import faults
from wsiproc.methods import Method, MethodConfig

UNITS: Mapping[str, str] = {
    "per_mm2": "1/mm²",
    "um2": "µm²",
    "um": "µm",
    "px": "px",
    "mpp": "µm/px",
}
"""What the end of a setting's name says of its numbers."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting of a method.

    Parameters
    ----------
    name
        As ``--set`` takes it: ``schedule.steps``.
    unit
        Of its numbers; empty where it has none.
    about
        Its docstring, on one line.
    values
        By preset, as JSON; a preset that has no such part has none.
    """

    name: str
    unit: str
    about: str
    values: Mapping[str, str]


def settings_of(method: Method) -> tuple[Setting, ...]:
    """All settings of a method, in the order in which it declares them."""
    flat = {preset: dict(_flattened(config)) for preset, config in method.presets.items()}
    about = {name: text for settings in flat.values() for name, (_, text) in settings.items()}
    return tuple(
        Setting(
            name,
            unit_of(name),
            text,
            {preset: settings[name][0] for preset, settings in flat.items() if name in settings},
        )
        for name, text in about.items()
    )


def unit_of(name: str) -> str:
    """The unit that a setting's name ends in; empty for a number without one."""
    own = f"_{name.rpartition('.')[2]}"
    return next((unit for end, unit in UNITS.items() if own.endswith(f"_{end}")), "")


def shown(method: Method) -> RenderableType:
    """A method's settings as ``--set`` takes them, with what its other presets change."""
    usual, *others = method.presets
    about = (inspect.getdoc(method.config) or "").partition("\n\n")[0]
    lines: list[RenderableType] = [
        Text.assemble((method.name, "bold"), f": {method.summary}"),
        Text(f"{about} Values of the preset {usual}, then what others change.\n"),
    ]
    for setting in settings_of(method):
        value = setting.values.get(usual, "null")
        line = Text.assemble((setting.name, "bold"), "=", (value, "cyan"))
        line.append(f" {setting.unit}" if setting.unit else "")
        for preset in others:
            other = setting.values.get(preset, "null")
            if other != value:
                line.append_text(Text.assemble(f"; {preset} ", (other, "cyan")))
        lines.append(line)
        lines += [Padding(Text(setting.about), (0, 0, 0, 4))] if setting.about else []
    return Group(*lines)


def listed(methods: Mapping[str, Method], broken: Mapping[str, str]) -> RenderableType:
    """The methods that are installed, a line each, and why plugins that failed to import did."""
    table = Table(box=None, pad_edge=False, show_header=False)
    for method in methods.values():
        table.add_row(Text(method.name, "bold"), Text(method.summary))
    failed = [
        Text.assemble((f"plugin {name} failed to import: ", "yellow"), why)
        for name, why in broken.items()
    ]
    return Group(table, *failed)


def parse_settings(pairs: list[str]) -> dict[str, str]:
    """``["key=value", ...]`` as a dict.

    Raises
    ------
    ConfigError
        If one has no ``=``.
    """
    settings = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise ConfigError(f"--set wants key=value, not {pair!r}")
        settings[key] = value
    return settings


def with_flags(
    method: Method, given: Mapping[str, str], flags: Mapping[str, str | None]
) -> dict[str, str]:
    """The settings `given` by ``--set``, and those that flags are short for.

    Parameters
    ----------
    flags
        By setting: what was typed behind the flag of the same name, ``all`` for no limit; None
        where it was not typed.

    Raises
    ------
    ConfigError
        If the method has no such setting, or it was given both ways.
    """
    settings = dict(given)
    for name, text in flags.items():
        if text is None:
            continue
        if name not in method.config.model_fields:
            raise ConfigError(f"{method.name} has no setting {name!r}: leave --{name} out")
        if name in settings:
            raise ConfigError(f"--{name} and --set {name}=... say the same setting: give one")
        settings[name] = "null" if text == "all" else text
    return settings


def configured(method: Method, preset: str, given: Mapping[str, str]) -> MethodConfig:
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


def _flattened(config: BaseModel, prefix: str = "") -> Iterator[tuple[str, tuple[str, str]]]:
    """Every setting by its dotted name, with its value as JSON and what it is."""
    values = config.model_dump(mode="json")
    for name, about in type(config).model_fields.items():
        value = getattr(config, name)
        if isinstance(value, BaseModel):
            yield from _flattened(value, f"{prefix}{name}.")
        else:
            text = " ".join((about.description or "").split())
            yield f"{prefix}{name}", (json.dumps(values[name]), text)
