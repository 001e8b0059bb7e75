"""How much longer a run takes than the network alone needs for the windows that were really run.

    python benchmarks/speed/engine.py --model unet --device cpu --size 12288

Both sides in one call, so that the machine's mood cancels: a run from the command line, then as
many processes as it had workers, each feeding its share of the same number of windows of the same
shape and batch through a warm session. With --slide, it is a mosaic of that slide's pixels;
else it is drawn.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from wsiproc.geometry import Box
from wsiproc.model import load_model, open_session
from wsiproc.slide import open_slide
from wsiproc.slide._drawn import draw_slide


def mosaic(source: Path, out: Path, size: int) -> Path:
    """A square slide of `size` px, tiled with the pixels of `source`, and its pyramid."""
    import tifffile

    with open_slide(source) as slide:
        facts = slide.facts
        pixels = slide.read(0, Box(0, 0, facts.width, facts.height))
    edge = 240
    height, width = (n // edge * edge for n in pixels.shape[:2])
    pixels = pixels[:height, :width]

    def tiles(pixels, size):
        height, width = pixels.shape[:2]
        rows, columns = (np.arange(-(-size // edge) * edge) % n for n in (height, width))
        for y in range(0, size, edge):
            band = pixels[rows[y : y + edge]]
            for x in range(0, size, edge):
                yield band[:, columns[x : x + edge]]

    how = {"tile": (edge, edge), "dtype": np.uint8, "photometric": "rgb", "compression": "jpeg"}
    with tifffile.TiffWriter(out, bigtiff=True) as file:
        for number, factor in enumerate((1, 4, 16)):
            shape = height // factor, factor, width // factor, factor, 3
            small = pixels if factor == 1 else pixels.reshape(shape).mean((1, 3)).astype(np.uint8)
            per_cm = 1e4 / facts.mpp[0] / factor
            file.write(
                tiles(small, size // factor),
                shape=(size // factor, size // factor, 3),
                resolution=(per_cm, per_cm),
                resolutionunit="CENTIMETER",
                subfiletype=int(number > 0),
                **how,
            )
    return out


def network_alone(model: str, device: str, facts: dict, windows: int, ready, go, taken) -> None:
    """Feed `windows` windows through a warm session; what it took goes to `taken`."""
    session = open_session(
        load_model(model),
        device=device,
        precision=facts["precision"],
        window=facts["window"],
        batch=facts["batch"],
        threads=facts["threads"],
    )
    batch, edge = session.facts.batch, session.facts.window
    rng = np.random.default_rng(0)
    images = rng.integers(0, 255, (batch, edge, edge, 3), dtype=np.uint8)
    session.run(images)
    ready.release()
    go.wait()
    began = time.monotonic()
    done = 0
    while done < windows:
        n = min(batch, windows - done)
        session.run(images[:n])
        done += n
    taken.put(time.monotonic() - began)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="unet")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--size", type=int, default=12288)
    parser.add_argument("--slide", type=Path)
    parser.add_argument("--workers", type=int, default=2)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        if asked.slide:
            path = mosaic(asked.slide, folder / "mosaic.tiff", asked.size)
        else:
            card = load_model(asked.model).card
            path = draw_slide(
                folder / "drawn.tiff", width=asked.size, height=asked.size, mpp=card.mpp
            ).path
        words = [sys.executable, "-m", "wsiproc.cli.app", "run", str(path), "--json", "--no-tissue"]
        words += ["--model", asked.model, "--device", asked.device, "--out", str(folder / "out")]
        began = time.monotonic()
        ran = subprocess.run(
            [*words, "--workers", str(asked.workers)], check=True, capture_output=True
        )
        wall = time.monotonic() - began
        said = json.loads(ran.stdout)

    facts = {key: said[key] for key in ("precision", "window", "batch", "threads")}
    workers = min(asked.workers, said["tiles_total"])
    ready, go, taken = (
        multiprocessing.Semaphore(0),
        multiprocessing.Event(),
        multiprocessing.Queue(),
    )
    shares = [said["windows"] // workers + (i < said["windows"] % workers) for i in range(workers)]
    crew = [
        multiprocessing.Process(
            target=network_alone, args=(asked.model, asked.device, facts, n, ready, go, taken)
        )
        for n in shares
    ]
    for process in crew:
        process.start()
    for _ in crew:
        ready.acquire()
    go.set()
    alone = max(taken.get() for _ in crew)
    for process in crew:
        process.join()
    pixels = said["windows"] * facts["window"] ** 2
    print(f"slide {asked.size} x {asked.size} px, {said['nuclei']:,} nuclei, {said['numerics']}")
    print(f"{said['windows']} windows of {facts['window']}, {workers} workers x {facts['threads']}")
    print(f"run {wall:.1f} s, network alone {alone:.1f} s ({pixels / alone / 1e6:.2f} Mpx/s)")
    print(f"run / network alone  {wall / alone:.3f}   (asked: at most 1.10)")
    print(f"area factor of halos {said['area_factor']:.3f}   (asked: at most 1.30)")
    print("seconds by stage, all workers:", {k: round(v, 1) for k, v in said["seconds"].items()})


if __name__ == "__main__":
    multiprocessing.set_start_method("spawn")
    main()
