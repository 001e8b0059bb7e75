"""Pairs of images and masks made from annotated patches: one model a patch.

::

    DIR/dataset.toml, images/, instances/    the pairs, PATCH-000 and on, of one split, train
    DIR/pairs.png                            each patch, and some of what was made of it
    DIR/models/PATCH-scale-N.pt              checkpoints
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from wsiproc.datasets import Sample, read_dataset
from wsiproc.errors import ConfigError, StoreError
from wsiproc.methods import TrainingEvent, TrainingInputs, TrainingNote
from wsiproc.training import checkpoint
from wsiproc.training.labels import resample_labels
from wsiproc.training.pictures import write_picture
from wsiproc_label_efficient.config import LabelEfficientConfig, SynthesisConfig
from wsiproc_label_efficient.features import at_mpp
from wsiproc_label_efficient.gan import Painter
from wsiproc_label_efficient.masks import Labels, draw_masks, stock
from wsiproc_label_efficient.painting import as_mask, as_pixels, learn_patch
from wsiproc_label_efficient.pairs import Pair, write_dataset
from wsiproc_label_efficient.pictures import pairs_picture

MODELS, PICTURE, NAME = "models", "pairs.png", "synthetic"
_SHOWN = 5


def synthesize(
    config: SynthesisConfig,
    patches: Sequence[Sample],
    *,
    out: Path,
    seed: int,
    listener: Callable[[TrainingEvent], None],
) -> Path:
    """Learn a model of each patch, and write a data set of synthetic pairs.

    A call that finds unfinished work in `out` goes on with it, at the scale and the step where it
    was stopped; one that finds the data set finished returns it.

    Parameters
    ----------
    patches
        Annotated patches with instances and a known mpp (`selection.patches_dataset`).
    out
        For checkpoints and the data set, all of ``config.mpp`` and of one split, ``train``; see
        this module's beginning.
    seed
        Of everything random.

    Returns
    -------
    Path
        The data set's folder, `out`.

    Raises
    ------
    ConfigError
        If patches have no instances or no mpp, ``config.how`` makes no pairs, `out` holds others,
        or no image made has nuclei darker than what lies between.
    StoreError
        If `out` cannot be written to, or a checkpoint there is damaged.
    """
    if config.how == "naive":
        raise ConfigError("synthesis.how=naive makes no pairs: take csingan or singan")
    identity = {
        "synthesize": config.model_dump(mode="json"),
        "seed": seed,
        "patches": {
            patch.id: [checkpoint.digest_of(file) for file in (patch.image, patch.labels) if file]
            for patch in patches
        },
    }
    checkpoint.claim_as(out, identity, "a synthesis")
    if (out / "dataset.toml").is_file():
        return out
    try:
        (out / MODELS).mkdir(exist_ok=True)
    except OSError as error:
        raise StoreError(f"{out.name} cannot be written to: {error.strerror}") from None
    pairs: dict[str, Callable[[], Pair | None]] = {}
    for number, patch in enumerate(patches):
        workshop = _Workshop(config, patch, out / MODELS, (seed, number), listener)
        for i in range(config.per_patch):
            pairs[f"{patch.id}-{i:03d}"] = partial(workshop.pair, i)
    write_dataset(
        out,
        pairs,
        name=NAME,
        title=f"Images painted after {len(patches)} patches ({config.how})",
        licence="as the patches'",
        mpp=config.mpp,
        note="masks are nuclei of the patches, laid down anew",
    )
    made = read_dataset(out).samples
    write_picture(out / PICTURE, _picture(config, patches, made))
    note = f"{len(made)} pairs of {len(patches)} patches; {len(pairs) - len(made)} rejected"
    listener(TrainingNote("synthesis", note))
    return out


def multiply(
    config: LabelEfficientConfig, samples: Sequence[Sample], inputs: TrainingInputs
) -> tuple[Path, ...]:
    """Multiply annotated patches into a data set in ``inputs.out``."""
    torch.set_num_threads(inputs.threads or torch.get_num_threads())
    return (
        synthesize(
            config.synthesis,
            samples,
            out=inputs.out,
            seed=inputs.seed,
            listener=inputs.listener,
        ),
    )


class _Workshop:
    """The model of a patch, learnt when the first of its pairs is asked for."""

    def __init__(
        self,
        config: SynthesisConfig,
        patch: Sample,
        folder: Path,
        seed: tuple[int, int],
        listener: Callable[[TrainingEvent], None],
    ) -> None:
        self.config, self.patch, self.folder = config, patch, folder
        self.seed, self.listener = seed, listener
        self.learnt = lru_cache(maxsize=1)(self._learn)

    def pair(self, number: int) -> Pair | None:
        """One mask and what was painted of it; None if that never looked right."""
        masks, painter, own = self.learnt()
        for attempt in range(self.config.tries):
            draw = np.random.SeedSequence((*self.seed, number, attempt)).generate_state(1)
            rng = torch.Generator().manual_seed(int(draw[0]))
            mask = as_mask([masks[number]])
            height, width = masks[number].shape
            pixels = as_pixels(painter.rough(mask, (height, width), rng))[0]
            if self.config.own_colours:
                pixels = recoloured(Pair(pixels, masks[number]), own)
            if nuclei_are_darker(pixels, masks[number]):
                return Pair(pixels, masks[number])
        return None

    def _learn(self) -> tuple[list[Labels], Painter, Pair]:
        pixels = at_mpp(self.patch, self.config.mpp)
        labels = labels_like(pixels, self.patch)
        nuclei = stock(labels)
        shape = labels.shape[0], labels.shape[1]
        masks = draw_masks(nuclei, shape, self.config, self.seed)
        painter = learn_patch(
            pixels,
            labels,
            masks,
            self.config,
            name=self.patch.id,
            folder=self.folder,
            seed=self.seed[0] * 100_003 + self.seed[1],
            listener=self.listener,
        )
        return masks, painter, Pair(pixels, labels)


def labels_like(pixels: NDArray[np.uint8], patch: Sample) -> Labels:
    """The label map of a patch, at the resolution that its `pixels` were brought to."""
    height, width = pixels.shape[:2]
    return resample_labels(patch.instances(), height, width)


def recoloured(made: Pair, own: Pair) -> NDArray[np.uint8]:
    """`made` in colours of `own`: for each pixel the nearest that is there in nuclei, or between
    them; of all, where the patch has no such pixel."""
    out = made.pixels.copy()
    for inside in (True, False):
        where = (made.instances > 0) == inside
        known = (own.instances > 0) == inside
        palette = np.unique(own.pixels[known] if known.any() else own.pixels.reshape(-1, 3), axis=0)
        _, nearest = cKDTree(palette.astype(np.float32)).query(made.pixels[where])
        out[where] = palette[nearest]
    return out


def nuclei_are_darker(pixels: NDArray[np.uint8], labels: Labels) -> bool:
    """Whether the mean optical density inside nuclei is more than outside; or there is no nucleus,
    or nothing else."""
    density = -np.log((pixels.astype(np.float32) + 1) / 256).mean(2)
    inside = labels > 0
    if inside.all() or not inside.any():
        return True
    return bool(density[inside].mean() > density[~inside].mean())


def _picture(
    config: SynthesisConfig, patches: Sequence[Sample], made: Sequence[Sample]
) -> NDArray[np.uint8]:
    rows = []
    for patch in patches:
        pixels = at_mpp(patch, config.mpp)
        own = [each for each in made if each.id.rpartition("-")[0] == patch.id][:_SHOWN]
        first = Pair(pixels, labels_like(pixels, patch))
        rows.append([first, *(Pair(each.pixels(), each.instances()) for each in own)])
    return pairs_picture(rows)
