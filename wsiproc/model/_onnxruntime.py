"""ONNX Runtime: CPU, CUDA and TensorRT."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsiproc.errors import DeviceError, ModelError
from wsiproc.model.devices import cpu_flags, instruction_set, nvidia_smi, visible_gpus
from wsiproc.model.engine import EngineFacts, Feeds, OutOfMemoryError

_PROVIDERS = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
}
_FATAL = 4
_WARNING = 2


class OnnxRuntimeEngine:
    """A network in ONNX Runtime.

    Parameters
    ----------
    data, digest
        The ONNX file and what names it.
    device
        ``cpu``, ``cuda`` or ``tensorrt``.
    precision
        ``fp32``, or ``fp16`` on TensorRT.
    threads
        Of the CPU's operators; 0 takes all cores.
    image, shape
        Name and full shape of the image input, batch first.

    Raises
    ------
    DeviceError
        If the device is not what really loaded.
    ModelError
        If ONNX Runtime does not take the graph.
    """

    def __init__(
        self,
        data: bytes,
        digest: str,
        *,
        device: str,
        precision: str,
        threads: int,
        image: str,
        shape: tuple[int, ...],
    ) -> None:
        ort = _runtime()

        self._image = image
        self._device = device
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.use_deterministic_compute = True
        options.log_severity_level = _FATAL
        # A planned block for all activations would stand beside the arena of the first run:
        # measured, 578 MB instead of 363 for a window of 1024 px, and no faster.
        options.enable_mem_pattern = False
        # Decoding runs beside inference; threads that spin while they wait would take its cores.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        if device != "cpu" and not gpu_there():
            raise _not_there(device)
        cache = _engine_cache(digest, precision, shape) if device == "tensorrt" else None
        try:
            with _silence():
                if device != "cpu":
                    ort.preload_dlls()
                self._session = ort.InferenceSession(
                    data, options, providers=_providers(device, precision, image, shape, cache)
                )
        except Exception as error:  # noqa: BLE001  ONNX Runtime's errors have no common base
            raise ModelError(
                f"ONNX Runtime does not take the model: {_first_line(error)}"
            ) from None
        # What was asked for is a wish: a provider that does not load is left out silently.
        if self._session.get_providers()[0] != _PROVIDERS[device]:
            raise _not_there(device)
        self._outputs = [output.name for output in self._session.get_outputs()]
        self._run_options = ort.RunOptions()
        self._run_options.log_severity_level = _FATAL
        if device == "cpu":
            hardware = instruction_set(cpu_flags())
        else:
            hardware = _compute_capability()
            self.run(self._blank(shape))  # memory is tried, and TensorRT's plan built, before work
            if cache is not None:
                hardware += f"-{_digest_of_plans(cache)}"
        self.facts = EngineFacts(
            f"onnxruntime {ort.__version__}", device, precision, hardware, device != "cpu"
        )

    def run(self, feeds: Feeds) -> dict[str, NDArray[np.generic]]:
        try:
            if self._device == "cpu":
                values = self._session.run(self._outputs, dict(feeds), self._run_options)
            else:
                values = self._run_bound(feeds)
        except Exception as error:  # noqa: BLE001
            if is_out_of_memory(str(error)):
                raise OutOfMemoryError(_first_line(error)) from None
            raise ModelError(f"the network failed: {_first_line(error)}") from None
        return dict(zip(self._outputs, values, strict=True))

    def resize(self, batch: int) -> None:
        """Nothing to do: the graph takes any batch."""

    def close(self) -> None:
        del self._session

    def _run_bound(self, feeds: Feeds) -> list[NDArray[np.generic]]:
        binding = self._session.io_binding()
        for name, values in feeds.items():
            binding.bind_cpu_input(name, values)
        for name in self._outputs:
            binding.bind_output(name, "cpu")
        self._session.run_with_iobinding(binding, self._run_options)
        bound: list[NDArray[np.generic]] = binding.copy_outputs_to_cpu()
        return bound

    def _blank(self, shape: tuple[int, ...]) -> dict[str, NDArray[np.generic]]:
        """Inputs of zeros."""
        kinds = {"tensor(uint8)": np.uint8, "tensor(float)": np.float32}
        return {
            port.name: np.zeros(shape if port.name == self._image else (3, 3), kinds[port.type])
            for port in self._session.get_inputs()
        }


def _runtime() -> Any:
    """ONNX Runtime; which, if not told otherwise, notes its uses for its makers and sends them."""
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    import onnxruntime

    return onnxruntime


def loads(device: str) -> bool:
    """Whether ``cpu``, ``cuda`` or ``tensorrt`` loads here, found by loading it.

    The list of available providers is no answer: it says what was compiled, not what works.
    """
    ort = _runtime()

    if device != "cpu" and not gpu_there():
        return False
    options = ort.SessionOptions()
    options.log_severity_level = _FATAL
    try:
        with _silence():
            if device != "cpu":
                ort.preload_dlls()
            wanted = dict.fromkeys((_PROVIDERS[device], _PROVIDERS["cpu"]))
            session = ort.InferenceSession(_SMALLEST, options, providers=list(wanted))
    except Exception:  # noqa: BLE001
        return False
    return bool(session.get_providers()[0] == _PROVIDERS[device])


def gpu_there() -> bool:
    """Whether a driver shows an NVIDIA GPU; without, ONNX Runtime need not be asked."""
    return bool(visible_gpus())


def is_out_of_memory(message: str) -> bool:
    """Whether an error of ONNX Runtime, CUDA or cuDNN says that memory ran out."""
    text = message.lower()
    return any(
        sign in text
        for sign in (
            "out of memory",
            "failed to allocate memory",
            "cudaerrormemoryallocation",
            "cudnn_status_alloc_failed",
            "cublas_status_alloc_failed",
            "bad allocation",
            "bad_alloc",
        )
    )


def provider_options(
    device: str, precision: str, image: str, shape: tuple[int, ...], cache: Path | None
) -> Mapping[str, str]:
    """Settings of one provider.

    Those of CUDA keep fp32 what it says (no TF32) and take convolution algorithms by cuDNN's
    heuristic, which unlike a timed search gives the same choice each time; the arena grows by
    what is asked for, not by doubling.
    """
    if device == "cuda":
        return {
            "cudnn_conv_algo_search": "HEURISTIC",
            "arena_extend_strategy": "kSameAsRequested",
            "use_tf32": "0",
            **_memory_limit("gpu_mem_limit"),
        }
    if device == "tensorrt":
        full = f"{image}:{'x'.join(map(str, shape))}"
        least = f"{image}:{'x'.join(map(str, (1, *shape[1:])))}"
        return {
            "trt_fp16_enable": "1" if precision == "fp16" else "0",
            "trt_engine_cache_enable": "1",
            "trt_engine_cache_path": str(cache),
            "trt_timing_cache_enable": "1",
            "trt_timing_cache_path": str(cache),
            "trt_profile_min_shapes": least,
            "trt_profile_opt_shapes": full,
            "trt_profile_max_shapes": full,
            **_memory_limit("trt_max_workspace_size"),
        }
    return {}


def _providers(
    device: str, precision: str, image: str, shape: tuple[int, ...], cache: Path | None
) -> list[str | tuple[str, dict[str, str]]]:
    """The provider asked for, then CPU for the few operators it lacks."""
    if device == "cpu":
        return [_PROVIDERS["cpu"]]
    first = dict(provider_options(device, precision, image, shape, cache))
    return [(_PROVIDERS[device], first), _PROVIDERS["cpu"]]


def _memory_limit(option: str) -> dict[str, str]:
    """At most nine tenths of what is free now, so that the display and the driver keep some."""
    free = [int(line) for line in _ask("memory.free") if line.isdigit()]
    return {option: str(min(free) * 2**20 * 9 // 10)} if free else {}


def _compute_capability() -> str:
    found = sorted(set(_ask("compute_cap")))
    return "sm" + found[0].replace(".", "") if found else "gpu"


def _ask(what: str) -> list[str]:
    """One answer of the driver for the GPU that CUDA calls the first."""
    first = visible_gpus()[:1]
    chosen = ("-i", first[0]) if first else ()
    answer = nvidia_smi(*chosen, f"--query-gpu={what}", "--format=csv,noheader,nounits")
    return [line.strip() for line in answer.splitlines() if line.strip()]


def _engine_cache(digest: str, precision: str, shape: tuple[int, ...]) -> Path:
    """Folder of TensorRT's compiled plans for one model, precision, shape and GPU.

    TensorRT times kernels to choose among them, so two builds may differ in bits; the plan is
    kept, and named in the numerics tag.
    """
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    name = "-".join((digest[:16], precision, "x".join(map(str, shape)), _compute_capability()))
    cache = base / "wsiproc" / "tensorrt" / name
    try:
        cache.mkdir(parents=True, exist_ok=True)
    except OSError:
        return Path(tempfile.mkdtemp(prefix="wsiproc-tensorrt-"))
    return cache


def _digest_of_plans(cache: Path) -> str:
    found = hashlib.sha256()
    for plan in sorted(cache.glob("*.engine")):
        found.update(plan.read_bytes())
    return found.hexdigest()[:8]


def _not_there(device: str) -> DeviceError:
    return DeviceError(
        f"the device {device!r} is not there, or its libraries do not load; `wsiproc doctor` says "
        "more, `pip install 'wsiproc[gpu]'` brings CUDA's, and --device auto takes what there is"
    )


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Keep ONNX Runtime from writing about providers that do not load: we say it ourselves."""
    ort = _runtime()

    ort.set_default_logger_severity(_FATAL)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        ort.set_default_logger_severity(_WARNING)


def _smallest() -> bytes:
    """An ONNX file of one operator, to try providers with: y = Abs(x), float32 [1]."""
    tensor_type = b"\x0a\x08\x08\x01\x12\x04\x0a\x02\x08\x01"

    def port(name: bytes) -> bytes:
        return b"\x0a\x01" + name + b"\x12" + bytes([len(tensor_type)]) + tensor_type

    node = b"\x0a\x01x\x12\x01y\x22\x03Abs"
    graph = (
        b"\x0a" + bytes([len(node)]) + node
        + b"\x12\x01g"
        + b"\x5a" + bytes([len(port(b"x"))]) + port(b"x")
        + b"\x62" + bytes([len(port(b"y"))]) + port(b"y")
    )  # fmt: skip
    return b"\x08\x08" + b"\x3a" + bytes([len(graph)]) + graph + b"\x42\x02\x10\x0d"


_SMALLEST: Any = _smallest()
