"""From the name or the file of a model to verified bytes and a card.

Shipped models are package data of plugins, with digests recorded in their code.  Models that a
user adds lie in a folder of the user's, each with a record of its digest and its card::

    $WSIPROC_MODELS  or  <the user's data folder>/wsiproc/models
    └── NAME/                (made by `wsiproc.model.adding`)
        ├── model.onnx
        └── model.json     schema, sha256 of the file, digest of file and card, the card

Digests are checked on every load, and a model is only ever used as the bytes that were checked.
"""

from __future__ import annotations

import hashlib
import importlib.resources
import json
import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from wsiproc.card import METADATA_KEY, Card, card_from_json, card_from_toml
from wsiproc.errors import ModelError
from wsiproc.methods import ShippedModel, installed
from wsiproc.model.fit import check_fit
from wsiproc.model.graph import read_graph

Source = Literal["shipped", "user", "file"]

LARGEST_BYTES = 2**31 - 1
"""No protocol-buffer message, so no model in one file, may be larger."""
RECORD_SCHEMA = 1
_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}")


@dataclass(frozen=True, eq=False)
class Model:
    """A model that was found, verified and understood.

    Parameters
    ----------
    name
        What the user calls it: its registered name, or its card's.
    data
        The ONNX file, as it was when its digest was taken.
    sha256
        Of `data`, hex.
    """

    name: str
    card: Card
    data: bytes
    sha256: str
    source: Source

    @property
    def digest(self) -> str:
        """Names file and card together: a foreign model's card can change without its file."""
        return _digest(self.sha256, self.card)


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """One line of the list of models; `problem` says why it cannot be used, if it cannot."""

    name: str
    source: Source
    sha256: str
    card: Card | None
    problem: str = ""


def models_dir() -> Path:
    """Where the user's own models lie; need not exist."""
    if given := os.environ.get("WSIPROC_MODELS"):
        return Path(given)
    if sys.platform == "win32":
        data = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        data = Path.home() / "Library" / "Application Support"
    else:
        data = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")
    return data / "wsiproc" / "models"


def load_model(name_or_path: str, *, card: Path | None = None) -> Model:
    """The model called `name_or_path`, or else the file there.

    Parameters
    ----------
    name_or_path
        The name of a registered model, which wins, or the path of an ONNX file.
    card
        TOML card for a file that has none inside, or that has a wrong one.

    Raises
    ------
    ModelError
        If there is no such model, its digest is not the recorded one, it has no card, or it is
        not what its card says.
    """
    if _NAME.fullmatch(name_or_path) and (found := _registered(name_or_path)):
        if card is not None:
            raise ModelError(
                f"{name_or_path!r} is a registered model and has its card; --card goes with a "
                "file FILE.onnx"
            )
        return found
    file = Path(name_or_path)
    if not file.is_file():
        names = ", ".join(entry.name for entry in list_models()) or "none"
        raise ModelError(
            f"no model {name_or_path!r}: neither registered (there are: {names}) nor a file; "
            "give FILE.onnx, or register one with `wsiproc models add FILE.onnx --card CARD.toml`"
        )
    return from_file(file, card)


def list_models() -> tuple[ModelEntry, ...]:
    """Every registered model, shipped ones first, each verified; broken ones say why."""
    entries: list[ModelEntry] = []
    for name, shipped in sorted(installed().models.items()):
        try:
            model = _shipped(name, shipped)
        except ModelError as error:
            entries.append(ModelEntry(name, "shipped", shipped.sha256, None, str(error)))
        else:
            entries.append(ModelEntry(name, "shipped", model.sha256, model.card))
    folder = models_dir()
    for place in sorted(folder.iterdir()) if folder.is_dir() else ():
        if not _NAME.fullmatch(place.name) or not place.is_dir():
            continue
        try:
            model = added(place)
        except ModelError as error:
            entries.append(ModelEntry(place.name, "user", "", None, str(error)))
        else:
            entries.append(ModelEntry(place.name, "user", model.sha256, model.card))
    return tuple(entries)


def _registered(name: str) -> Model | None:
    found = installed()
    if name in found.models:
        return _shipped(name, found.models[name])
    if name in found.broken:
        raise ModelError(f"the package that ships {name!r} does not load: {found.broken[name]}")
    place = models_dir() / name
    return added(place) if (place / "model.json").is_file() else None


def _shipped(name: str, shipped: ShippedModel) -> Model:
    try:
        data = importlib.resources.files(shipped.package).joinpath(shipped.resource).read_bytes()
    except (OSError, ModuleNotFoundError):
        raise ModelError(
            f"the file of the shipped model {name!r} is missing; install wsiproc again"
        ) from None
    return _verified(name, data, shipped.sha256, "shipped")


def added(place: Path) -> Model:
    """The model in one folder among the user's, verified."""
    try:
        record: Any = json.loads((place / "model.json").read_bytes())
        data = (place / "model.onnx").read_bytes()
        if record["schema"] != RECORD_SCHEMA:
            raise ModelError(f"{place.name!r} was registered by another wsiproc; add it again")
        card = card_from_json(json.dumps(record["card"]))
        sha256, digest = record["sha256"], record["digest"]
    except (OSError, ValueError, KeyError, TypeError):
        raise ModelError(
            f"the record of {place.name!r} is damaged; delete its folder among the models and "
            "add it again"
        ) from None
    model = _verified(place.name, data, sha256, "user", card)
    if model.digest != digest:
        raise ModelError(f"the card of {place.name!r} was changed since it was added")
    return model


def from_file(file: Path, card: Path | None) -> Model:
    """The model in a file, with the card inside or the one given."""
    try:
        if file.stat().st_size > LARGEST_BYTES:
            raise ModelError("the file is larger than any ONNX model can be")
        data = file.read_bytes()
        text = card.read_text("utf-8") if card is not None else None
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError(f"cannot read the model or its card: {error}") from None
    given = card_from_toml(text) if text is not None else None
    return _understood(None, data, "file", given)


def _verified(
    name: str, data: bytes, sha256: str, source: Source, card: Card | None = None
) -> Model:
    found = hashlib.sha256(data).hexdigest()
    if found != sha256:
        raise ModelError(
            f"the file of model {name!r} is not the one that was recorded (sha256 {found[:12]}, "
            f"expected {sha256[:12]}): it is damaged or was replaced; install it again"
        )
    return _understood(name, data, source, card)


def _understood(name: str | None, data: bytes, source: Source, card: Card | None) -> Model:
    graph = read_graph(data)
    if card is None:
        if METADATA_KEY not in graph.metadata:
            raise ModelError(
                "the model has no card, so nobody knows its resolution, windows and outputs; "
                "write one and give it with --card CARD.toml. It must have: " + required_fields()
            )
        card = card_from_json(graph.metadata[METADATA_KEY])
    check_fit(card, graph)
    return Model(name or card.name, card, data, hashlib.sha256(data).hexdigest(), source)


def required_fields() -> str:
    """The fields that a card cannot do without, for people who write one."""
    return ", ".join(name for name, field in Card.model_fields.items() if field.is_required())


def _digest(sha256: str, card: Card) -> str:
    return hashlib.sha256(f"{sha256}\n{card.to_json()}".encode()).hexdigest()
