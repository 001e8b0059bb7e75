"""A val split for a data set that has none: the row then says how well it was learnt, no more."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np

from wsiproc.datasets import read_dataset

UNHELD: frozenset[str] = frozenset({"dsb_dapi"})
"""Sets without slide ids: images of one slide may be in both splits, so val is no held-out one."""

_MPP = 0.5
_VAL = 4


def scorable(data: Path, runs: Path) -> Path:
    """The data set, or a copy in `runs` with every fourth image, by chance, as its val split.

    The copy says 0.5 µm per px where the data set says nothing, so that its pixels are taken as
    they are; µm of such a row are half pixels, whatever they were under the microscope.
    """
    if data.name not in UNHELD:
        return data
    folder = runs / "data" / data.name
    if (folder / "dataset.toml").is_file():
        return folder
    dataset = read_dataset(data)
    ids = sorted(sample.id for sample in dataset.samples)
    val = set(np.random.default_rng(0).permutation(ids)[: len(ids) // _VAL].tolist())
    work = folder.with_name(f"{folder.name}.{os.getpid()}")
    for part in ("images", "instances"):
        shutil.copytree(data / part, work / part, copy_function=shutil.copyfile)
    (work / "dataset.toml").write_text(
        f'name = "{dataset.name}"\ntitle = "{dataset.title}"\nlabels = "instances"\n'
        f'licence = "{dataset.licence}"\nsource = "{dataset.source}"\nmpp = {_MPP}\n\n[splits]\n'
        + "".join(
            f"{split} = {[i for i in ids if (i in val) == (split == 'val')]!r}\n".replace("'", '"')
            for split in ("train", "val")
        ),
        encoding="utf-8",
    )
    work.rename(folder)
    return folder
