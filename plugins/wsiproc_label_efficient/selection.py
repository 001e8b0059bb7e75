"""Which patches are annotated: chosen, cut out, and written where people find them.

::

    DIR/patches.csv            image,x,y,size: px of the image, the patch's upper left corner
    DIR/patches/ID_X_Y.png     the patches, to be outlined
    DIR/patches.png            the images with their patches, to be looked at
    DIR/selection.json         how they were chosen, and the part of all pixels they are
    DIR/dataset/               where the images' instances are known: a data set of the patches
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch

from wsiproc.datasets import Sample
from wsiproc.errors import ConfigError, StoreError
from wsiproc.methods import TrainingEvent, TrainingInputs, TrainingNote
from wsiproc.training import checkpoint
from wsiproc.training.pictures import write_picture
from wsiproc_label_efficient import features, pool_network
from wsiproc_label_efficient.config import FeatureConfig, LabelEfficientConfig, SelectConfig
from wsiproc_label_efficient.consistency import choose
from wsiproc_label_efficient.pairs import Pair, write_dataset
from wsiproc_label_efficient.pictures import chosen_picture

TABLE, ABOUT, PICTURE, PATCHES, DATASET = (
    "patches.csv",
    "selection.json",
    "patches.png",
    "patches",
    "dataset",
)


@dataclass(frozen=True, slots=True)
class Patch:
    """A square of an image.

    Parameters
    ----------
    sample
        The image.
    x, y, size
        Upper left corner and edge, px of the image's file.
    """

    sample: Sample
    x: int
    y: int
    size: int

    @property
    def id(self) -> str:
        """Its name among patches: the image's, and where it lies there."""
        return f"{self.sample.id}_{self.x}_{self.y}"

    @property
    def inside(self) -> tuple[slice, slice]:
        """Rows and columns of the image."""
        return slice(self.y, self.y + self.size), slice(self.x, self.x + self.size)


@dataclass(frozen=True, slots=True)
class Selection:
    """The patches that are to be annotated.

    Parameters
    ----------
    patches
        In the order in which they were chosen: by cluster, the largest first.
    share
        Part of all the images' pixels that lies in them.
    features
        What they were compared by, in words; empty where they were not compared.
    """

    patches: tuple[Patch, ...]
    share: float
    features: str


def select_patches(
    config: SelectConfig,
    samples: Sequence[Sample],
    *,
    folder: Path,
    seed: int,
    listener: Callable[[TrainingEvent], None],
) -> Selection:
    """Choose ``config.k`` patches of `samples`, or read the choice that `folder` holds already.

    Labels are not looked at.

    Parameters
    ----------
    samples
        The pool; each says its mpp.
    folder
        For ``patches.csv`` and ``selection.json``, and for the checkpoint of a network that learns
        from the pool.
    seed
        Of everything random.

    Raises
    ------
    ConfigError
        If there is no room for so many patches, an image has no mpp, features cannot be had, or
        `folder` holds another choice.
    StoreError
        If `folder` cannot be written to, or what it holds is damaged.
    """
    identity = {
        "select": config.model_dump(mode="json"),
        "seed": seed,
        "images": {sample.id: checkpoint.digest_of(sample.image) for sample in samples},
    }
    checkpoint.claim_as(folder, identity, "a selection")
    if (folder / ABOUT).is_file():
        return _read(folder, samples)
    try:
        pool = features.make_pool(config, samples)
        listener(TrainingNote("select", f"{len(pool)} windows in {len(samples)} images"))
        chosen = choose(
            pool,
            config,
            seed,
            lambda: features.look(
                config, samples, pool, folder=folder, seed=seed, listener=listener
            ),
        )
    except ConfigError:
        # It has to be asked for otherwise, and that may be done in the same folder.
        checkpoint.release(folder, pool_network.STAGE)
        raise
    patches = []
    for i in chosen:
        sample = samples[int(pool.image[i])]
        px = config.stride_um / features.mpp_of(sample)
        height, width = sample.pixels().shape[:2]
        size = min(round(pool.edge * px), height, width)
        x, y = (
            min(round(int(place) * px), length - size)
            for place, length in ((pool.column[i], width), (pool.row[i], height))
        )
        patches.append(Patch(sample, x, y, size))
    compared = config.method in ("cps", "kmeans")
    said = described(config.features) if compared else ""
    selection = Selection(tuple(patches), share_of(patches, samples), said)
    _write(folder, selection, config, seed)
    return selection


def described(config: FeatureConfig) -> str:
    """What patches are compared by, in words; without the place of a file."""
    match config.source:
        case "self":
            return (
                f"a network of {config.width} channels that learnt from these images, without "
                f"labels, for {config.steps} steps"
            )
        case "model":
            node = config.node or "deepest node"
            return f"the model {Path(config.model).name}, its {node}"
        case "backbone":
            weights = config.weights.name if config.weights else "no file"
            passes = "one pass an image" if config.dense else "one pass a window"
            return f"{config.architecture} with the weights of {weights}, {passes}"


def share_of(patches: Sequence[Patch], samples: Sequence[Sample]) -> float:
    """Part of all pixels of `samples` that lies in patches; what lies in two counts once."""
    total = inside = 0
    for sample in samples:
        seen = np.zeros(sample.pixels().shape[:2], bool)
        for patch in patches:
            if patch.sample.id == sample.id:
                seen[patch.inside] = True
        total += seen.size
        inside += int(seen.sum())
    return inside / total


def patches_dataset(selection: Selection, folder: Path, *, name: str) -> Path:
    """Write the patches and their instances as a data set, and return its folder.

    Its one split is ``train``; ids are those of `Patch`.  What is there already is left.

    Raises
    ------
    ConfigError
        If an image has no instances, or images differ in mpp.
    StoreError
        If it cannot be written.
    """
    scales = {patch.sample.mpp for patch in selection.patches}
    if len(scales) != 1:
        raise ConfigError("images of several mpp make no data set: select from one set at a time")

    return write_dataset(
        folder,
        {patch.id: partial(_pair, patch) for patch in selection.patches},
        name=name,
        title=f"{len(selection.patches)} chosen patches of {name}",
        licence="as the images'",
        mpp=scales.pop(),
    )


def _pair(patch: Patch) -> Pair:
    """A patch with its nuclei numbered anew."""
    labels = patch.sample.instances()[patch.inside]
    _, values = np.unique(labels, return_inverse=True)
    numbered = values.reshape(labels.shape) + int(labels.min() > 0)
    return Pair(patch.sample.pixels()[patch.inside], numbered.astype(np.int32))


def select(
    config: LabelEfficientConfig, samples: Sequence[Sample], inputs: TrainingInputs
) -> tuple[Path, ...]:
    """Choose patches of `samples` and write them for people; see this module's beginning."""
    torch.set_num_threads(inputs.threads or torch.get_num_threads())
    out = inputs.out
    selection = select_patches(
        config.select, samples, folder=out, seed=inputs.seed, listener=inputs.listener
    )
    files = [out / TABLE]
    try:
        (out / PATCHES).mkdir(exist_ok=True)
    except OSError as error:
        raise StoreError(f"--out cannot be written to: {error.strerror}") from None
    for patch in selection.patches:
        file = out / PATCHES / f"{patch.id}.png"
        write_picture(file, patch.sample.pixels()[patch.inside])
    write_picture(out / PICTURE, chosen_picture(selection.patches))
    files += [out / PATCHES, out / PICTURE]
    if all(patch.sample.label_kind == "instances" for patch in selection.patches):
        files.append(patches_dataset(selection, out / DATASET, name="patches"))
    note = f"{len(selection.patches)} patches, {selection.share:.1%} of all pixels"
    inputs.listener(TrainingNote("select", note))
    return tuple(files)


def _write(folder: Path, selection: Selection, config: SelectConfig, seed: int) -> None:
    lines = [f"{p.sample.id},{p.x},{p.y},{p.size}\n" for p in selection.patches]
    checkpoint.write_atomically(folder / TABLE, "".join(["image,x,y,size\n", *lines]).encode())
    about = {
        "method": config.method,
        "share": selection.share,
        "features": selection.features,
        "seed": seed,
        "patches": [[p.sample.id, p.x, p.y, p.size] for p in selection.patches],
    }
    checkpoint.write_atomically(folder / ABOUT, json.dumps(about, indent=1).encode())


def _read(folder: Path, samples: Sequence[Sample]) -> Selection:
    by_id = {sample.id: sample for sample in samples}
    try:
        about = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
        patches = tuple(Patch(by_id[i], int(x), int(y), int(s)) for i, x, y, s in about["patches"])
        return Selection(patches, float(about["share"]), str(about["features"]))
    except (OSError, ValueError, KeyError, TypeError):
        raise StoreError(f"{ABOUT} is damaged; remove it to have the choice made again") from None
