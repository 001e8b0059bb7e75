"""What this machine has to compute with, found without making noise."""

from __future__ import annotations

import importlib.util
import math
import os
import platform
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from wsiproc.errors import ConfigError

_ASK_SECONDS = 20


def cores() -> int:
    """CPU cores this process may use: those it may run on, and no more than its container pays."""
    allowed = os.cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):
        allowed = len(os.sched_getaffinity(0))
    return max(1, math.ceil(min(allowed, cpu_quota())))


def cpu_quota(cgroup: Path = Path("/sys/fs/cgroup")) -> float:
    """CPU seconds a second that the control group at `cgroup` has; infinite where none is set."""
    try:
        quota, period = (cgroup / "cpu.max").read_text("ascii").split()
    except (OSError, ValueError):
        quota, period = "max", "1"
        with suppress(OSError, ValueError):
            first = cgroup / "cpu"
            period = (first / "cpu.cfs_period_us").read_text("ascii")
            quota = (first / "cpu.cfs_quota_us").read_text("ascii")
    try:
        share = float(quota) / float(period)
    except (ValueError, ZeroDivisionError):
        return math.inf
    return share if share > 0 else math.inf


def cpu_flags() -> frozenset[str]:
    """What the processor says it can do, in Linux' words; empty where that is not told."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8", errors="replace").splitlines()
    except OSError:
        return frozenset()
    for line in lines:
        key, _, value = line.partition(":")
        if key.strip() in ("flags", "Features"):
            return frozenset(value.split())
    return frozenset()


def instruction_set(flags: frozenset[str], precision: str = "fp32") -> str:
    """The widest instructions that an engine will use for this precision; they change bits.

    ``avx512``, ``avx2`` and so on in fp32; in bf16 also whether products are summed by AMX tiles
    or AVX-512.  A processor that does not tell is named by its architecture.
    """
    if precision == "bf16":
        if "amx_bf16" in flags:
            return "amx-bf16"
        if "avx512_bf16" in flags:
            return "avx512-bf16"
    for flag, name in (
        ("avx512f", "avx512"),
        ("avx2", "avx2"),
        ("avx", "avx"),
        ("sse2", "sse2"),
        ("sve", "sve"),
        ("asimd", "neon"),
    ):
        if flag in flags:
            return name
    return platform.machine().lower() or "unknown"


def has_bf16(flags: frozenset[str]) -> bool:
    """Whether the processor multiplies bfloat16 itself; without, bf16 is slower than fp32."""
    return "amx_bf16" in flags or "avx512_bf16" in flags


def has_openvino() -> bool:
    return importlib.util.find_spec("openvino") is not None


def nvidia_smi(*question: str) -> str:
    """What the driver's own tool answers; empty where there is none."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return ""
    try:
        answer = subprocess.run(  # noqa: S603  the path was just found, the words are ours
            [tool, *question], capture_output=True, text=True, timeout=_ASK_SECONDS, check=False
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return answer.stdout if answer.returncode == 0 else ""


def visible_gpus(
    environ: Mapping[str, str] | None = None, listed: str | None = None
) -> tuple[str, ...]:
    """The GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them.

    Parameters
    ----------
    environ
        Environment variables; the process' own if None.
    listed
        What ``nvidia-smi -L`` prints, a line a GPU; asked if None.
    """
    environ = os.environ if environ is None else environ
    text = nvidia_smi("-L") if listed is None else listed
    count = sum(line.startswith("GPU ") for line in text.splitlines())
    if listed is None and count == 0:  # containers may have the driver and not its tool
        count = sum(node.name[6:].isdigit() for node in Path("/dev").glob("nvidia[0-9]*"))
    if count == 0:
        return ()
    chosen = environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is None:
        return tuple(str(index) for index in range(count))
    visible: list[str] = []
    for name in (part.strip() for part in chosen.split(",")):
        # CUDA ignores what follows the first name that is no device.
        if not name or name.startswith("-") or (name.isdigit() and int(name) >= count):
            break
        visible.append(name)
    return tuple(visible)


def gpu_placement(workers: int, gpus: Sequence[str] | None = None) -> tuple[str, ...]:
    """One process for each GPU: the CUDA_VISIBLE_DEVICES of each worker.

    Parameters
    ----------
    workers
        How many worker processes were asked for; 0 takes as many as there are GPUs.
    gpus
        The visible GPUs; found if None.  Without any there is nothing to place: an empty tuple.

    Raises
    ------
    ConfigError
        If there are more workers than GPUs: two on one would fight for its memory.
    """
    found = tuple(visible_gpus() if gpus is None else gpus)
    if found and workers > len(found):
        raise ConfigError(
            f"{len(found)} GPU{'s are' if len(found) > 1 else ' is'} visible, and each serves one "
            f"worker: use --workers {len(found)}, or --device cpu"
        )
    return found[:workers] if workers else found
