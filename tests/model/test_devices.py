"""What there is to compute with, and who gets which GPU."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import pytest

from wsiproc.errors import ConfigError
from wsiproc.model import _onnxruntime
from wsiproc.model._onnxruntime import is_out_of_memory, loads, provider_options
from wsiproc.model.devices import (
    cores,
    cpu_quota,
    gpu_placement,
    has_bf16,
    instruction_set,
    visible_gpus,
)

PAIR = "GPU 0: NVIDIA A100 (UUID: GPU-aa)\nGPU 1: NVIDIA A100 (UUID: GPU-bb)\n"


@pytest.mark.parametrize(
    ("environ", "listed", "visible"),
    [
        ({}, PAIR, ("0", "1")),
        ({"CUDA_VISIBLE_DEVICES": "1"}, PAIR, ("1",)),
        ({"CUDA_VISIBLE_DEVICES": "1, 0"}, PAIR, ("1", "0")),
        ({"CUDA_VISIBLE_DEVICES": "GPU-bb"}, PAIR, ("GPU-bb",)),
        ({"CUDA_VISIBLE_DEVICES": ""}, PAIR, ()),
        ({"CUDA_VISIBLE_DEVICES": "-1"}, PAIR, ()),
        ({"CUDA_VISIBLE_DEVICES": "0,7,1"}, PAIR, ("0",)),
        ({}, "", ()),
        ({"CUDA_VISIBLE_DEVICES": "0"}, "", ()),
        ({}, "No devices were found\n", ()),
    ],
)
def test_visible_gpus_are_those_that_cuda_would_see(
    environ: dict[str, str], listed: str, visible: tuple[str, ...]
) -> None:
    assert visible_gpus(environ, listed) == visible


def test_each_worker_gets_a_gpu_of_its_own() -> None:
    pair = visible_gpus({"CUDA_VISIBLE_DEVICES": "3,GPU-bb"}, PAIR * 2)
    assert gpu_placement(0, pair) == ("3", "GPU-bb")
    assert gpu_placement(2, pair) == ("3", "GPU-bb")
    assert gpu_placement(1, pair) == ("3",)
    assert gpu_placement(4, ()) == ()


def test_two_workers_on_one_gpu_are_refused() -> None:
    with pytest.raises(ConfigError, match="--workers 1"):
        gpu_placement(2, ("0",))


@pytest.mark.parametrize(
    ("flags", "fp32", "bf16"),
    [
        ({"sse2", "avx", "avx2", "avx512f"}, "avx512", "avx512"),
        ({"sse2", "avx", "avx2", "avx512f", "avx512_bf16"}, "avx512", "avx512-bf16"),
        ({"sse2", "avx2", "avx512f", "avx512_bf16", "amx_bf16"}, "avx512", "amx-bf16"),
        ({"sse2", "avx", "avx2"}, "avx2", "avx2"),
        ({"sse2"}, "sse2", "sse2"),
        ({"fp", "asimd"}, "neon", "neon"),
    ],
)
def test_the_instruction_set_is_the_widest_used(flags: set[str], fp32: str, bf16: str) -> None:
    assert instruction_set(frozenset(flags)) == fp32
    assert instruction_set(frozenset(flags), "bf16") == bf16
    assert has_bf16(frozenset(flags)) == (bf16 != fp32)


def test_a_processor_that_tells_nothing_still_has_a_name() -> None:
    assert instruction_set(frozenset())


def test_without_a_gpu_only_the_cpu_loads_and_nothing_is_printed(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert [loads(device) for device in ("cpu", "cuda", "tensorrt")] == [True, False, False]
    # A driver that shows a GPU, while the libraries of CUDA do not load or see none.
    monkeypatch.setattr(_onnxruntime, "gpu_there", lambda: True)
    assert [loads(device) for device in ("cpu", "cuda", "tensorrt")] == [True, False, False]
    assert capfd.readouterr() == ("", "")
    assert cores() >= 1


@pytest.mark.parametrize(
    ("files", "quota"),
    [
        ({}, math.inf),
        ({"cpu.max": "max 100000\n"}, math.inf),
        ({"cpu.max": "150000 100000\n"}, 1.5),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, math.inf),
        ({"cpu/cpu.cfs_quota_us": "50000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 0.5),
        ({"cpu.max": "nonsense"}, math.inf),
    ],
)
def test_a_container_that_pays_for_fewer_cores_is_believed(
    files: dict[str, str], quota: float, tmp_path: Path
) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert cpu_quota(tmp_path) == quota


@pytest.mark.parametrize(
    ("message", "memory"),
    [
        ("[ONNXRuntimeError] : 6 : Failed to allocate memory for requested buffer of size 1", True),
        ("CUDA failure 2: out of memory ; GPU=0", True),
        ("CUDNN_STATUS_ALLOC_FAILED ; GPU=0", True),
        ("std::bad_alloc", True),
        ("Non-zero status code returned while running Concat node", False),
    ],
)
def test_out_of_memory_is_told_from_other_failures(message: str, memory: bool) -> None:
    assert is_out_of_memory(message) is memory


def test_cuda_keeps_single_precision_and_one_choice_of_algorithm() -> None:
    options = provider_options("cuda", "fp32", "image", (4, 64, 64, 3), None)
    assert options["use_tf32"] == "0"
    assert options["cudnn_conv_algo_search"] == "HEURISTIC"
    assert options["arena_extend_strategy"] == "kSameAsRequested"


def test_openvino_tells_nobody_that_it_is_used() -> None:
    """Its telemetry would fork a process, which calls a server on the internet."""
    pytest.importorskip("openvino")
    code = (
        "import os, threading, time\n"
        "os.register_at_fork(before=lambda: print('forked', flush=True))\n"
        "from wsiproc.model import _openvino\n"
        "print(_openvino.loads())\n"
        "time.sleep(0.5)\n"
        "print([t.name for t in threading.enumerate()])\n"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.split() == ["True", "['MainThread']"]
