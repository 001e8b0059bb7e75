"""Which patches are annotated: chosen, cut out, and written where people find them.

::

    DIR/patches.csv            image,x,y,size: px of the image, the patch's upper left corner
    DIR/patches/ID_X_Y.png     the patches, to be outlined
    DIR/patches.png            the images with their patches, to be looked at
    DIR/selection.json         how they were chosen, and the part of all pixels they are
    DIR/dataset/               where the images' instances are known: a data set of the patches
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from wsiproc.datasets import Sample
from wsiproc.methods import TrainingEvent, TrainingInputs
from wsiproc_label_efficient.config import LabelEfficientConfig, SelectConfig


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


@dataclass(frozen=True, slots=True)
class Selection:
    """The patches that are to be annotated.

    Parameters
    ----------
    patches
        In the order of their clusters, the largest first.
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
    """


def patches_dataset(selection: Selection, folder: Path, *, name: str) -> Path:
    """Write the patches and their instances as a data set, and return its folder.

    Its one split is ``train``; ids are those of `Patch`.  What is there already is left.
    """


def select(config: LabelEfficientConfig, inputs: TrainingInputs) -> tuple[Path, ...]:
    """Choose patches of ``inputs.data`` and write them for people; see this module's beginning."""
