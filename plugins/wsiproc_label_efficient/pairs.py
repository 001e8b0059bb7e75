"""Images with instance labels, written as a data set that `wsiproc.datasets` reads."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsiproc.errors import ConfigError, StoreError
from wsiproc.training import checkpoint
from wsiproc.training.pictures import write_picture


@dataclass(frozen=True, slots=True, eq=False)
class Pair:
    """An image and its nuclei.

    Parameters
    ----------
    pixels
        ``[h, w, 3]`` uint8 RGB.
    instances
        ``[h, w]`` int32 label map, 0 = background.
    """

    pixels: NDArray[np.uint8]
    instances: NDArray[np.int32]


def write_dataset(
    folder: Path,
    pairs: Mapping[str, Callable[[], Pair | None]],
    *,
    name: str,
    title: str,
    licence: str,
    mpp: float | None,
    source: str = "",
    note: str = "",
) -> Path:
    """Write `pairs` by their ids; ``dataset.toml`` comes last, and says that all are there.

    Pairs whose files are there already are not asked for; the instances are written after the
    image.  One that turns out to be None is left out.

    Raises
    ------
    ConfigError
        If all are.
    StoreError
        If it cannot be written.
    """
    images, instances = _prepared(folder)
    there = []
    for id_, make in pairs.items():
        if not (instances / f"{id_}.png").is_file():
            pair = make()
            if pair is None:
                continue
            write_picture(images / f"{id_}.png", pair.pixels)
            write_picture(instances / f"{id_}.png", pair.instances.astype(np.uint16))
        there.append(id_)
    if not there:
        raise ConfigError(f"{name}: there is no pair of image and mask to write")
    said: dict[str, Any] = {"name": name, "title": title, "labels": "instances"}
    said |= {"licence": licence, "source": source, "mpp": mpp, "note": note}
    # JSON's strings, numbers and lists of strings are TOML's.
    lines = [f"{key} = {json.dumps(value)}\n" for key, value in said.items() if value is not None]
    lines += ["\n[splits]\n", f"train = {json.dumps(there)}\n"]
    checkpoint.write_atomically(folder / "dataset.toml", "".join(lines).encode())
    return folder


def _prepared(folder: Path) -> tuple[Path, Path]:
    """The folders of images and instances, made where they are not there."""
    try:
        for part in ("images", "instances"):
            (folder / part).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"{folder.name} cannot be made: {error.strerror}") from None
    return folder / "images", folder / "instances"
