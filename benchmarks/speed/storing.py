"""Seconds per million nuclei for shapes, WKB and writing, at two sizes: is it linear?

    python benchmarks/speed/storing.py [THOUSANDS ...]

Prints seconds of one core for fragments written, and for reading, sorting, measuring and writing
both Parquet files, and their bytes a nucleus.
"""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from wsiproc.card import Card, MaskPost, NucleusClass
from wsiproc.geometry import Frame
from wsiproc.nuclei import Nuclei
from wsiproc.store.fragments import read_fragment, write_fragment
from wsiproc.store.schema import Provenance
from wsiproc.store.tables import write_nuclei

TILE_PX, PER_TILE = 3584, 9000
CARD = Card(
    name="bench",
    method="unet",
    kind="mask",
    mpp=0.25,
    step=16,
    windows=(1024,),
    margin=48,
    largest_nucleus_um=30,
    classes=(
        NucleusClass(name="nucleus", color=(0, 0, 0)),
        NucleusClass(name="x", color=(9, 9, 9)),
    ),
    post=MaskPost(threshold=0.5, chosen_on="nothing"),
    local=True,
)
SLIDE = Provenance("bench", "0" * 64, (100_000, 80_000), "file", (0, 0), "1" * 64, "2" * 64)


@dataclass(frozen=True)
class Stored:
    folder: Path
    row: int
    column: int

    def load(self) -> Nuclei:
        fragment = read_fragment(self.folder, self.row, self.column)
        assert fragment is not None
        return fragment.core


def drawn(row: int, column: int, n: int) -> Nuclei:
    """Bumpy ovals with 24 to 40 vertices on whole pixels, in one tile."""
    rng = np.random.default_rng((row, column))
    count = rng.integers(24, 41, n)
    start = np.concatenate([[0], np.cumsum(count)])
    place = rng.choice((TILE_PX // 8) ** 2, n, replace=False)
    x = place % (TILE_PX // 8) * 8 + column * TILE_PX + rng.uniform(0, 8, n)
    y = place // (TILE_PX // 8) * 8 + row * TILE_PX + rng.uniform(0, 8, n)
    angle = (np.arange(start[-1]) - np.repeat(start[:-1], count)) * np.repeat(
        2 * np.pi / count, count
    )
    radius = np.repeat(rng.uniform(10, 20, n), count) * rng.normal(1, 0.07, start[-1])
    ring = np.rint(
        np.column_stack(
            [
                np.repeat(x, count) + radius * np.cos(angle) * 1.2,
                np.repeat(y, count) + radius * np.sin(angle),
            ]
        )
    )
    # From the smallest (y, x) on, as decoders give them.
    first = [int(np.lexsort(ring[a:b].T)[0]) for a, b in pairwise(start)]
    along = np.arange(start[-1]) - np.repeat(start[:-1], count)
    ring = ring[
        np.repeat(start[:-1], count) + (along + np.repeat(first, count)) % np.repeat(count, count)
    ]
    return Nuclei(
        ref_x=place % (TILE_PX // 8) * 8 + column * TILE_PX,
        ref_y=place // (TILE_PX // 8) * 8 + row * TILE_PX,
        x=x,
        y=y,
        class_id=rng.integers(0, 2, n).astype(np.int16),
        score=rng.uniform(0.5, 1, n).astype(np.float32),
        cut=np.zeros(n, np.bool_),
        ring=ring,
        ring_start=start,
    )


def main(thousands: list[int]) -> None:
    for size in thousands:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            tiles = max(1, size * 1000 // PER_TILE)
            columns = max(1, int(tiles**0.5))
            parts, spent = [], 0.0
            for tile in range(tiles):
                row, column = divmod(tile, columns)
                nuclei = drawn(row, column, PER_TILE)
                began = time.process_time()
                write_fragment(folder / "tiles", row, column, nuclei, Nuclei.none(polygons=True))
                spent += time.process_time() - began
                parts.append(Stored(folder / "tiles", row, column))
            frame = Frame.covering(
                (columns * TILE_PX, tiles // columns * TILE_PX), (0.2527,) * 2, (1.0, 1.0)
            )
            began = time.process_time()
            written = write_nuclei(folder, parts, frame=frame, card=CARD, provenance=SLIDE)
            seconds = time.process_time() - began
            million = written.nuclei / 1e6
            sizes = [
                (folder / f).stat().st_size / written.nuclei
                for f in ("nuclei.parquet", "centroids.parquet")
            ]
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            print(
                f"{written.nuclei:>9,} nuclei  fragments {spent / million:5.1f} s/M  "
                f"tables {seconds / million:5.1f} s/M  "
                f"{sizes[0]:.0f} + {sizes[1]:.0f} B a nucleus  "
                f"repaired {written.repaired}  peak {peak:.0f} MiB"
            )


if __name__ == "__main__":
    main([int(argument) for argument in sys.argv[1:]] or [200, 1000])
