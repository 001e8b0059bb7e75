"""Peak memory of the whole process tree as slides grow: it should not.

    python benchmarks/speed/memory.py                      # one-layer, 8k to 32k
    python benchmarks/speed/memory.py --model unet --sizes 8192

Resident memory summed over the command and all its workers, sampled every 50 ms. Pages that
processes share count once for each, so the figure is an upper bound.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from wsiproc.slide._drawn import draw_slide
from wsiproc.testing.models import one_layer_model


def peak_of(words: list[str]) -> tuple[int, dict]:
    """Run a command; the most bytes it and its children held at once, and what it printed."""
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    tree = psutil.Process(process.pid)
    peak = 0
    while process.poll() is None:
        held = 0
        for each in [tree, *tree.children(recursive=True)]:
            try:
                held += each.memory_info().rss
            except psutil.NoSuchProcess:
                continue
        peak = max(peak, held)
        time.sleep(0.05)
    assert process.stdout is not None
    if process.returncode:
        raise SystemExit(f"the run failed with exit code {process.returncode}")
    return peak, json.loads(process.stdout.read())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", help="a registered model instead of the one-layer one")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--sizes", type=int, nargs="+", default=[8192, 16384, 32768])
    parser.add_argument("--workers", type=int, default=2)
    asked = parser.parse_args()
    peaks = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        model = asked.model
        if model is None:
            model = str(folder / "one-layer.onnx")
            Path(model).write_bytes(one_layer_model(mpp=0.5))
        for size in asked.sizes:
            path = folder / f"{size}.tiff"
            draw_slide(path, width=size, height=size, mpp=0.5)
            words = [sys.executable, "-m", "wsiproc.cli.app", "run", str(path), "--json"]
            words += ["--model", model, "--device", asked.device, "--workers", str(asked.workers)]
            peak, said = peak_of([*words, "--out", str(folder / "out")])
            peaks.append(peak)
            print(
                f"{size:>6} px  peak {peak / 2**20:7.0f} MiB  ratio {peak / peaks[0]:.3f}  "
                f"{said['nuclei']:>9,} nuclei  {said['seconds']['total']:.0f} s",
                flush=True,
            )
            path.unlink()


if __name__ == "__main__":
    main()
