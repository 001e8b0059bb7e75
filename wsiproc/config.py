"""Settings of a run: what changes the result, and what does not.

The only reader of run TOML.  Precedence: command line, then file, then defaults.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import (
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    field_validator,
    model_serializer,
    model_validator,
)

from wsiproc.errors import ConfigError
from wsiproc.frozen import Frozen, faults

Device = Literal["auto", "cpu", "cuda", "tensorrt", "openvino"]
Precision = Literal["auto", "fp32", "bf16", "fp16"]
Ring = tuple[tuple[float, float], ...]
Outline = tuple[Ring, ...]
"""A polygon: its outer ring, then its holes."""


class Science(Frozen):
    """Settings that change which nuclei come out; part of the job key."""

    mpp: float | None = Field(default=None, ge=0.05, le=5)
    """µm per level-0 px, given by the user instead of read from the slide."""
    exact_mpp: bool = False
    """Resample even where a level is within 2 % of the model's mpp."""
    tissue: bool = True
    """Look for nuclei in tissue only."""
    roi: tuple[Outline, ...] | None = None
    """Polygons, level-0 px: look for nuclei inside any of them only."""
    stain: bool = True
    """Bring the slide's stain to the model's target, for models that take it."""
    max_bad_tiles: float = Field(default=0.0, ge=0, lt=1)
    """Share of a slide's tiles that may be left out because their pixels cannot be read."""

    @model_serializer(mode="wrap")
    def _as_before_it_was_named(self, plain: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without `max_bad_tiles` where it is 0: results from before it keep their job keys."""
        written: dict[str, Any] = plain(self)
        if not self.max_bad_tiles:
            written.pop("max_bad_tiles", None)
        return written

    @field_validator("roi", mode="before")
    @classmethod
    def _plain_rings(cls, roi: Any) -> Any:
        """A ring that stands where a polygon should is a polygon without holes."""
        if not isinstance(roi, list | tuple):
            return roi
        return tuple((part,) if _is_ring(part) else part for part in roi)

    @field_validator("roi")
    @classmethod
    def _rings_enclose(cls, roi: tuple[Outline, ...] | None) -> tuple[Outline, ...] | None:
        if roi is not None and not (roi and all(o and min(map(len, o)) >= 3 for o in roi)):
            raise ValueError("a region of interest needs rings of at least three points")
        return roi


def _is_ring(part: Any) -> bool:
    """Whether `part` is a list of points instead of a list of rings."""
    try:
        return isinstance(part[0][0], int | float)
    except (TypeError, IndexError, KeyError):
        return False


class Execution(Frozen):
    """Settings that change how fast and where, never which nuclei."""

    device: Device = "auto"
    precision: Precision = "auto"
    workers: int | None = Field(default=None, ge=0, le=1024)
    """Worker processes; None asks the machine, 0 works on threads of this process."""
    threads: int = Field(default=0, ge=0, le=1024)
    """Threads of inference a worker; 0 shares the cores out."""
    scheduler: str | None = None
    """Address of a Dask scheduler that has workers already."""
    tile_px: int | None = Field(default=None, ge=64, le=65536)
    """Wanted edge of a tile's core in model px; rounded up to what the windows allow."""
    window_px: int | None = Field(default=None, ge=32, le=8192)
    """Edge of a network window; one of the card's.  Part of the numerics tag."""
    batch: int = Field(default=0, ge=0, le=256)
    """Windows the network takes at once; 0 asks the device."""
    maps: bool = False
    """Also write the network's maps as OME-Zarr."""
    tile_timeout_s: float = Field(default=900.0, gt=0)
    """A tile that takes longer is taken for hung, and its worker is ended."""
    memory_gb: float | None = Field(default=None, ge=1, le=65536)
    """Most GiB that a worker process may allocate; None gives it a share of the machine's."""


class RunConfig(Frozen):
    """All settings of a run but the slide, the model and the place of the result."""

    science: Science = Science()
    execution: Execution = Execution()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.execution.scheduler and self.execution.workers is not None:
            raise ValueError("--workers makes workers here, --scheduler uses workers elsewhere")
        return self


def read_config(file: Path | None, given: dict[str, dict[str, Any]]) -> RunConfig:
    """Settings from a TOML `file`, overlaid with those `given` on the command line.

    Parameters
    ----------
    file
        TOML with the tables ``[science]`` and ``[execution]``, or None.
    given
        ``{"science": {...}, "execution": {...}}``; values of None were not given.

    Raises
    ------
    ConfigError
        That names every setting which is unknown or out of range.
    """
    tables: dict[str, dict[str, Any]] = {"science": {}, "execution": {}}
    if file is not None:
        try:
            written = tomllib.loads(file.read_text("utf-8"))
        except OSError as error:
            raise ConfigError(f"cannot read the settings: {error.strerror}") from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ConfigError(f"the settings are not TOML: {error}") from None
        tables |= written
    for table, settings in given.items():
        asked = {key: value for key, value in settings.items() if value is not None}
        under = tables.get(table, {})
        if not isinstance(under, dict):
            raise ConfigError(f"settings not understood: {table} has to be a table, [{table}]")
        tables[table] = {**under, **asked}
    try:
        return RunConfig.model_validate(tables)
    except ValidationError as error:
        raise ConfigError(f"settings not understood: {faults(error, 'settings')}") from None
