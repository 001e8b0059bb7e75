"""Drawn images with instance labels, as a data set to train on."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image

from wsiproc.slide._drawn import draw_image


def drawn_dataset(
    folder: Path,
    *,
    train: int = 8,
    val: int = 2,
    size: int = 256,
    seed: int = 0,
    mpp: float = 0.5,
    density_per_mm2: float = 2500.0,
) -> Path:
    """Write a folder of drawn images with instance labels, as `wsiproc.datasets` reads it.

    Every fourth image shows some glass.  Returns `folder`.
    """
    for name in ("images", "instances"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    names = [f"drawn_{i:03d}" for i in range(train + val)]
    for i, name in enumerate(names):
        pixels, labels = draw_image(
            size,
            size,
            seed * 100_003 + i,
            mpp=mpp,
            density_per_mm2=density_per_mm2,
            glass=i % 4 == 3,
        )
        Image.fromarray(pixels).save(folder / "images" / f"{name}.png")
        Image.fromarray(labels.astype(np.uint16)).save(folder / "instances" / f"{name}.png")
    splits = {"train": names[:train], "val": names[train:]}
    listed = "\n".join(
        f"{split} = [{', '.join(map(json.dumps, members))}]" for split, members in splits.items()
    )
    (folder / "dataset.toml").write_text(
        'name = "drawn"\n'
        'title = "Drawn tissue with known nuclei"\n'
        'labels = "instances"\n'
        'licence = "CC0-1.0"\n'
        f'source = "wsiproc, seed {seed}"\n'
        f"mpp = {mpp}\n\n[splits]\n{listed}\n",
        "utf-8",
    )
    return folder
