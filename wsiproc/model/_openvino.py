"""OpenVINO: a second engine for CPUs, several times faster where they multiply bfloat16."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsiproc.errors import DeviceError, MissingExtraError, ModelError
from wsiproc.model.devices import cpu_flags, has_openvino, instruction_set
from wsiproc.model.engine import EngineFacts, Feeds, OutOfMemoryError

_HINT = {"fp32": "f32", "bf16": "bf16"}


class OpenVinoEngine:
    """A network in OpenVINO's CPU plugin, compiled for one fixed shape.

    Parameters
    ----------
    data
        The ONNX file.
    precision
        ``fp32`` or ``bf16``.
    threads
        0 takes all cores.
    image, shape
        Name and full shape of the image input, batch first.

    Raises
    ------
    MissingExtraError
        If OpenVINO is not installed.
    ModelError
        If it does not take the graph.
    """

    def __init__(
        self, data: bytes, *, precision: str, threads: int, image: str, shape: tuple[int, ...]
    ) -> None:
        if not has_openvino():
            raise MissingExtraError("the device 'openvino'", "openvino")
        openvino = _openvino()
        self._core = openvino.Core()
        if "CPU" not in self._core.available_devices:
            raise DeviceError("OpenVINO finds no CPU it can use; use --device cpu")
        self._config = {
            "INFERENCE_PRECISION_HINT": _HINT[precision],
            "EXECUTION_MODE_HINT": "ACCURACY" if precision == "fp32" else "PERFORMANCE",
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": "1",
            "INFERENCE_NUM_THREADS": threads,
            # Pinned, two worker processes share one core while the other idles.
            "ENABLE_CPU_PINNING": False,
        }
        self._image = image
        try:
            self._model = self._core.read_model(model=data, weights=b"")
        except RuntimeError as error:
            raise _refused(error) from None
        self._names = [output.get_any_name() for output in self._model.outputs]
        self._shape = shape
        self.resize(shape[0])
        version = openvino.__version__.split("-")[0]
        self.facts = EngineFacts(
            f"openvino {version}", "openvino", precision, instruction_set(cpu_flags(), precision)
        )

    def run(self, feeds: Feeds) -> dict[str, NDArray[np.generic]]:
        try:
            self._request.infer(dict(feeds), share_inputs=True, share_outputs=False)
        except (RuntimeError, MemoryError) as error:
            if isinstance(error, MemoryError) or "alloc" in str(error).lower():
                raise OutOfMemoryError(str(error)) from None
            raise ModelError(f"the network failed: {_first_line(error)}") from None
        return {
            name: np.array(self._request.get_output_tensor(index).data)
            for index, name in enumerate(self._names)
        }

    def resize(self, batch: int) -> None:
        """Compile for batches of this size."""
        self._shape = (batch, *self._shape[1:])
        try:
            self._model.reshape({self._image: list(self._shape)})
            compiled = self._core.compile_model(self._model, "CPU", self._config)
            self._request = compiled.create_infer_request()
        except RuntimeError as error:
            raise _refused(error) from None

    def close(self) -> None:
        del self._request, self._model


def loads() -> bool:
    """Whether OpenVINO is installed and finds this machine's CPU."""
    if not has_openvino():
        return False
    try:
        return "CPU" in _openvino().Core().available_devices
    except (ImportError, OSError, RuntimeError):
        return False


def _openvino() -> Any:
    """The package, without its telemetry.

    On import it would fork a process that tells a server on the internet of it, whatever the user
    has agreed to; and a fork of a process with threads may hang with every pipe it inherited.
    OpenVINO does without where that package is not installed, so it is made to look so.
    """
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    import openvino

    return openvino


def _refused(error: Exception) -> ModelError:
    return ModelError(f"OpenVINO does not take the model ({_first_line(error)}); use --device cpu")


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines or [type(error).__name__])[-1][:300]
