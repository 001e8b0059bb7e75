"""Values that come out of files and command lines: checked once, and then never changed."""

from __future__ import annotations

import json

from pydantic import BaseModel, ConfigDict, ValidationError


class Frozen(BaseModel):
    """Base of such values: frozen, finite, and what they don't know is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def canonical(value: BaseModel) -> str:
    """One text for one value: JSON with sorted keys and no spaces."""
    return json.dumps(value.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))


def faults(error: ValidationError, whole: str) -> str:
    """Everything that is wrong, on one line: ``margin: Input should be ...; step: ...``.

    Parameters
    ----------
    error
        What pydantic found.
    whole
        What to call the value itself, where its fields contradict each other.
    """
    return "; ".join(
        f"{'.'.join(map(str, fault['loc'])) or whole}: {fault['msg']}" for fault in error.errors()
    )
