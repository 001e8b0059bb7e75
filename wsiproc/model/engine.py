"""What a session needs of an engine, whichever it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Feeds = Mapping[str, NDArray[np.generic]]


class OutOfMemoryError(Exception):
    """The device has no room for a batch; a smaller one may fit."""


@dataclass(frozen=True, slots=True)
class EngineFacts:
    """What an engine really loaded.

    Parameters
    ----------
    engine
        Name and version, ``onnxruntime 1.31.1``.
    device
        ``cpu``, ``cuda``, ``tensorrt`` or ``openvino``.
    precision
        Of its arithmetic, ``fp32``, ``bf16`` or ``fp16``.
    hardware
        What about the hardware changes bits: instruction set, compute capability.
    batch_matters
        Whether the size of the batch changes bits.
    """

    engine: str
    device: str
    precision: str
    hardware: str
    batch_matters: bool = False


class Engine(Protocol):
    """A network, loaded; `run` is for one thread at a time."""

    @property
    def facts(self) -> EngineFacts: ...

    def run(self, feeds: Feeds) -> dict[str, NDArray[np.generic]]:
        """The graph's outputs by their own names, for one full batch.

        Raises
        ------
        OutOfMemoryError
            If the device has no room for it.
        """

    def resize(self, batch: int) -> None:
        """Be ready for batches of this size from now on."""

    def close(self) -> None: ...
