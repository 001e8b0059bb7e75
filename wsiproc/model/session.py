"""A network that is loaded and runs windows.

Whatever the engine, a session takes uint8 RGB and gives wsiproc's maps, and runs one fixed shape:
the last batch is filled up with blank windows.  What it computes depends on nothing but the
window's pixels and its numerics tag.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from wsiproc.card import Card
from wsiproc.errors import ConfigError, DeviceError, ModelError
from wsiproc.model import _onnxruntime, _openvino
from wsiproc.model._onnxruntime import OnnxRuntimeEngine
from wsiproc.model._openvino import OpenVinoEngine
from wsiproc.model.adapt import image_for, image_shape, joined, maps_from
from wsiproc.model.devices import cores, cpu_flags, has_bf16
from wsiproc.model.engine import Engine, OutOfMemoryError
from wsiproc.model.fit import STAIN, sources
from wsiproc.model.graph import read_graph
from wsiproc.model.registry import Model

DEVICES = ("auto", "cpu", "cuda", "tensorrt", "openvino")
PRECISIONS = {
    "cpu": ("fp32",),
    "openvino": ("fp32", "bf16"),
    "cuda": ("fp32",),
    "tensorrt": ("fp32", "fp16"),
}
GPU_BATCH_PX = 4 * 1024 * 1024
"""Model px that a GPU is given at once, unless asked otherwise; a CPU gains nothing by batches."""


@dataclass(frozen=True, slots=True)
class SessionFacts:
    """What a session really runs on.

    Parameters
    ----------
    engine
        Name and version, ``onnxruntime 1.31.1``.
    device
        ``cpu``, ``cuda``, ``tensorrt`` or ``openvino``: what loaded, not what was asked for.
    precision
        ``fp32``, ``bf16`` or ``fp16``.
    window
        Edge of its windows, model px.
    batch
        Windows it takes at once.
    threads
        Of inference on the CPU.
    numerics
        The numerics tag: everything but model and pixels that changes bits, and nothing else.
    """

    engine: str
    device: str
    precision: str
    window: int
    batch: int
    threads: int
    numerics: str


class Session(Protocol):
    """A loaded network; one thread at a time."""

    @property
    def facts(self) -> SessionFacts: ...

    def run(
        self, images: NDArray[np.uint8], stain: NDArray[np.float32] | None = None
    ) -> dict[str, NDArray[np.float32]]:
        """Maps ``[n, C, h, w]`` by wsiproc's names, of windows ``[n, H, W, 3]`` (RGB).

        For the kind `instances` lists of nuclei, whose `tile` is the index of a window (see
        `adapt.maps_from`, and `decode.views_of` for what they say together).

        Parameters
        ----------
        images
            Windows of the session's size; more than a batch are taken in turn.
        stain
            ``[3, 3]`` optical-density matrix, identity if None; unused by models without that
            input.

        Raises
        ------
        ModelError
            If the network fails, or gives other maps than its card says.
        DeviceError
            If not even one window fits into the device's memory.
        """

    def close(self) -> None: ...


class EngineSession:
    """The session of any engine: adapts, fills up, and halves the batch when memory runs out."""

    def __init__(
        self, card: Card, engine: Engine, *, window: int, batch: int, threads: int, stain: bool
    ) -> None:
        self._card = card
        self._engine = engine
        self._window = window
        self._batch = batch
        self._threads = threads
        self._stain = stain

    @property
    def facts(self) -> SessionFacts:
        """After memory ran out, with the smaller batch."""
        loaded = self._engine.facts
        tag = [
            loaded.engine.replace(" ", "-"),
            loaded.device,
            loaded.precision,
            loaded.hardware,
            f"w{self._window}",
        ]
        if loaded.batch_matters:
            tag.append(f"b{self._batch}")
        if any(output.activation != "none" for output in self._card.outputs.values()):
            tag.append(f"numpy-{np.__version__}")
        return SessionFacts(
            engine=loaded.engine,
            device=loaded.device,
            precision=loaded.precision,
            window=self._window,
            batch=self._batch,
            threads=self._threads,
            numerics="/".join(tag),
        )

    def run(
        self, images: NDArray[np.uint8], stain: NDArray[np.float32] | None = None
    ) -> dict[str, NDArray[np.float32]]:
        shape = (self._window, self._window, 3)
        if images.dtype != np.uint8 or images.shape[1:] != shape or not len(images):
            raise ModelError(
                f"windows must be uint8 [n, {self._window}, {self._window}, 3], "
                f"not {images.dtype} {list(images.shape)}"
            )
        matrix = np.eye(3, dtype=np.float32) if stain is None else np.asarray(stain, np.float32)
        parts: list[dict[str, NDArray[np.float32]]] = []
        counts: list[int] = []
        done = 0
        while done < len(images):
            part = images[done : done + self._batch]
            try:
                parts.append(self._run_batch(part, matrix))
            except OutOfMemoryError as error:
                self._halve(str(error))
            else:
                counts.append(len(part))
                done += len(part)
        return joined(self._card, parts, counts)

    def close(self) -> None:
        self._engine.close()

    def _run_batch(
        self, images: NDArray[np.uint8], stain: NDArray[np.float32]
    ) -> dict[str, NDArray[np.float32]]:
        full = images
        if len(images) < self._batch:
            full = np.zeros((self._batch, *images.shape[1:]), np.uint8)
            full[: len(images)] = images
        feeds: dict[str, NDArray[np.generic]] = {
            self._card.input.name: image_for(full, self._card.input)
        }
        if self._stain:
            feeds[STAIN] = np.ascontiguousarray(stain)
        raw = self._engine.run(feeds)
        return maps_from(self._card, raw, len(images), self._window)

    def _halve(self, reason: str) -> None:
        if self._batch == 1:
            raise DeviceError(
                f"one window of {self._window} px does not fit into the device's memory "
                f"({reason}); set window_px to a smaller one of {list(self._card.windows)}, or "
                "use --device cpu"
            )
        self._batch //= 2
        self._engine.resize(self._batch)


def open_session(
    model: Model,
    *,
    device: str = "auto",
    precision: str = "auto",
    window: int | None = None,
    batch: int = 0,
    threads: int = 0,
) -> Session:
    """Load a model into an engine.

    Parameters
    ----------
    device
        ``cpu``, ``cuda``, ``tensorrt``, ``openvino``, or ``auto``: CUDA if it really loads, else
        OpenVINO if it is installed, else ONNX Runtime's CPU.
    precision
        ``fp32``, ``bf16`` (OpenVINO), ``fp16`` (TensorRT), or ``auto``: bf16 on processors that
        multiply it, fp16 on TensorRT where the card allows, else fp32.
    window
        One of the card's windows; its first if None.
    batch
        Windows at once; 0 takes 1 on a CPU and about 4 Mpx on a GPU.
    threads
        Of inference on a CPU; 0 takes all cores.

    Raises
    ------
    DeviceError
        If the device is not there, or has no room for one window.
    ConfigError
        If the settings do not go together.
    ModelError
        If the engine does not take the graph.
    MissingExtraError
        If the engine is not installed.
    """
    card = model.card
    window = card.windows[0] if window is None else window
    if window not in card.windows:
        raise ConfigError(
            f"{model.name!r} takes windows of {', '.join(map(str, card.windows))} px, not {window}"
        )
    device = real_device(device)
    precision = _precision(card, device, precision)
    threads = threads or cores()
    graph = read_graph(model.data)
    ports = {port.name: port for port in graph.inputs}
    fixed = _fixed_batch(ports[card.input.name].shape, card)
    said = sources(card, tuple(port.name for port in graph.outputs))
    if card.kind == "instances" and "tile" not in said:
        fixed = 1  # it does not say of which window it speaks
    if fixed and batch not in (0, fixed):
        raise ConfigError(f"{model.name!r} takes batches of {fixed} windows only, not {batch}")
    on_gpu = device in ("cuda", "tensorrt")
    size = fixed or batch or (max(1, GPU_BATCH_PX // window**2) if on_gpu else 1)
    while True:
        shape = image_shape(card.input, size, window)
        try:
            engine = _engine(model, device, precision, threads, shape)
            break
        except OutOfMemoryError as error:
            if size == 1 or fixed:
                raise DeviceError(
                    f"windows of {window} px do not fit into the device's memory ({error}); use "
                    "a smaller window or --device cpu"
                ) from None
            size //= 2
    return EngineSession(
        card, engine, window=window, batch=size, threads=threads, stain=STAIN in ports
    )


def _engine(
    model: Model, device: str, precision: str, threads: int, shape: tuple[int, ...]
) -> Engine:
    image = model.card.input.name
    if device == "openvino":
        return OpenVinoEngine(
            model.data, precision=precision, threads=threads, image=image, shape=shape
        )
    return OnnxRuntimeEngine(
        model.data,
        model.sha256,
        device=device,
        precision=precision,
        threads=threads,
        image=image,
        shape=shape,
    )


def real_device(asked: str) -> str:
    """What `auto` stands for on this machine; any other device stays as it is.

    Raises
    ------
    ConfigError
        If there is no device of that name.
    """
    if asked not in DEVICES:
        raise ConfigError(f"no device {asked!r}; there are {', '.join(DEVICES)}")
    if asked != "auto":
        return asked
    if _onnxruntime.loads("cuda"):
        return "cuda"
    return "openvino" if _openvino.loads() else "cpu"


def devices_that_load() -> tuple[str, ...]:
    """The devices that work here, each found by loading it; takes seconds where there is a GPU."""
    found = [device for device in ("cpu", "cuda", "tensorrt") if _onnxruntime.loads(device)]
    return (*found, "openvino") if _openvino.loads() else tuple(found)


def _precision(card: Card, device: str, asked: str) -> str:
    if asked == "auto":
        if device == "openvino" and has_bf16(cpu_flags()):
            return "bf16"
        return "fp16" if device == "tensorrt" and card.fp16 else "fp32"
    if asked not in PRECISIONS[device]:
        raise ConfigError(f"{device} computes in {' or '.join(PRECISIONS[device])}, not in {asked}")
    if asked == "fp16" and not card.fp16:
        raise ConfigError(f"the card of {card.name!r} does not allow fp16")
    return asked


def _fixed_batch(shape: tuple[int | str, ...] | None, card: Card) -> int:
    """The batch that the file insists on; 0 where it is free."""
    if shape is None:
        return 0
    edge = shape[card.input.layout.index("N")]
    return edge if isinstance(edge, int) else 0
