"""``wsiproc doctor``: is this installation able to do what it promises?"""

from __future__ import annotations

import importlib
import json
import platform
import shutil
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console
from rich.table import Table

import wsiproc
from wsiproc.errors import WsiprocError

Verdict = Literal["ok", "absent", "wrong"]

LIBRARIES = {
    "openslide": True,
    "tifffile": True,
    "imagecodecs": True,
    "numpy": True,
    "numba": True,
    "shapely": True,
    "pyarrow": True,
    "geopandas": True,
    "zarr": True,
    "duckdb": False,
    "distributed": True,
    "onnxruntime": True,
    "openvino": False,
    "torch": False,
    "onnx": False,
}
"""Each library, and whether a run needs it."""

LITTLE_DISK = 5 * 2**30


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at."""

    what: str
    verdict: Verdict
    detail: str


def doctor(
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Folder of results, for its free disk.")
    ] = Path(),
    as_json: Annotated[bool, typer.Option("--json", help="JSON on stdout.")] = False,
) -> None:
    """Check libraries, devices that really load, models and their digests, and free disk."""
    findings = [*_libraries(), *_devices(), *_models(), _disk(out)]
    sick = any(finding.verdict == "wrong" for finding in findings)
    if as_json:
        sys.stdout.write(json.dumps([asdict(finding) for finding in findings]) + "\n")
    else:
        color = {"ok": "green", "absent": "dim", "wrong": "bold red"}
        table = Table(show_header=False, box=None, pad_edge=False)
        for finding in findings:
            verdict = f"[{color[finding.verdict]}]{finding.verdict}[/]"
            table.add_row(verdict, finding.what, finding.detail)
        Console(highlight=False).print(table)
    raise typer.Exit(1 if sick else 0)


def _libraries() -> Iterator[Finding]:
    system = f"Python {platform.python_version()}, {platform.system()} {platform.machine()}"
    yield Finding("wsiproc", "ok", f"{wsiproc.__version__}, {system}")
    for name, needed in LIBRARIES.items():
        try:
            module = importlib.import_module(name)
        except Exception as error:  # noqa: BLE001  a broken library may fail in any way
            missing: Verdict = "wrong" if needed else "absent"
            yield Finding(name, missing, f"{type(error).__name__}: {error}")
            continue
        version = getattr(module, "__version__", "")
        if name == "openslide":
            library = module.__library_version__
            old = tuple(int(part) for part in library.split(".")[:3]) < (4, 0, 1)
            detail = f"{version}, library {library}"
            if old:
                detail += ": older than 4.0.1, which closes a memory write in BIF files"
            yield Finding(name, "wrong" if old else "ok", detail)
        else:
            yield Finding(name, "ok", str(version))


def _devices() -> Iterator[Finding]:
    from wsiproc.model import devices_that_load, real_device

    loaded = devices_that_load()
    for device in ("cpu", "openvino", "cuda", "tensorrt"):
        needed: Verdict = "wrong" if device == "cpu" else "absent"
        there = device in loaded
        detail = "loads" if there else "does not load here"
        if device == real_device("auto"):
            detail += "; what --device auto takes"
        yield Finding(f"device {device}", "ok" if there else needed, detail)


def _models() -> Iterator[Finding]:
    from wsiproc.methods import installed
    from wsiproc.model import list_models, load_model

    for entry in list_models():
        if entry.problem:
            yield Finding(f"model {entry.name}", "wrong", entry.problem)
            continue
        try:
            model = load_model(entry.name)
        except WsiprocError as error:
            yield Finding(f"model {entry.name}", "wrong", str(error))
        else:
            detail = f"{model.sha256[:12]}, {model.card.kind} at {model.card.mpp:g} µm per px"
            yield Finding(f"model {entry.name}", "ok", detail)
    for name, why in installed().broken.items():
        yield Finding(f"plugin {name}", "wrong", why)


def _disk(out: Path) -> Finding:
    there = out.absolute()
    while not there.exists():
        there = there.parent
    free = shutil.disk_usage(there).free
    verdict: Verdict = "ok" if free >= LITTLE_DISK else "wrong"
    return Finding("free disk", verdict, f"{free / 2**30:.1f} GiB")
