"""What two results were made with, as far as it is not the same."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from wsiproc.store.manifest import Manifest

_DIGITS, _LONGEST = 16, 64
"""Of a digest, what people compare; of a value, what they read."""


def apart(a: Manifest, b: Manifest) -> dict[str, tuple[Any, Any]]:
    """Model, settings, numerics and versions that differ, as ``{what: (in A, in B)}``.

    Values are plain: text, numbers, None where one side has none.
    """
    one, other = dict(_said(a)), dict(_said(b))
    keys = [*one, *(key for key in other if key not in one)]
    return {
        key: (_short(one.get(key)), _short(other.get(key)))
        for key in keys
        if one.get(key) != other.get(key)
    }


def _said(manifest: Manifest) -> Iterator[tuple[str, Any]]:
    model = manifest.model
    yield "model", f"{model.name} {model.version}"
    yield "model's digest", model.sha256[:_DIGITS]
    card = model.card
    yield "model's kind", card.get("kind")
    yield "model's mpp", card.get("mpp")
    yield from _flat("post-processing", card.get("post") or {})
    yield from _flat("setting", manifest.science)
    yield "numerics", manifest.numerics
    yield "device", manifest.execution.get("device")
    yield from _flat("version of", manifest.software)


def _flat(prefix: str, values: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(f"{prefix} {key}", value)
        else:
            yield f"{prefix} {key}", value


def _short(value: Any) -> Any:
    """A region of interest may have thousands of points; that it differs is what counts."""
    text = str(value)
    return value if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
