"""From a trained Mask R-CNN to the one file that is deployed, with proof that it is the same.

torch's newer exporter cannot follow a number of nuclei that depends on the pixels, so this is the
older one, which traces: all that the graph does is in `WindowDetector`, which has no branches.
"""

from __future__ import annotations

import hashlib
import io
import warnings
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor

from wsiproc.card import Card, InstancesPost
from wsiproc.errors import ModelError
from wsiproc.model import Model, open_session
from wsiproc.training.export import (
    Exported,
    batches_of,
    covering,
    forget_origin,
    with_card,
    written,
)
from wsiproc.training.mask_rcnn_windows import OUTPUTS, WindowDetector
from wsiproc.training.nets import as_input

Outputs = Mapping[str, NDArray[np.float32]]

OPSET = 15
"""The last one whose RoIAlign is that of opset 10, which ONNX Runtime also has for CUDA."""
TOLERANCE = {"boxes": 1e-2, "scores": 1e-3, "masks": 5e-3}
"""Largest differences between torch and ONNX Runtime that pass; boxes in px."""
ON_THE_VERGE = 0.02
"""Share of the nuclei that one of both may have alone,"""
NUDGED, NUDGE = 3, 1e-5
"""and so many times what torch itself loses and wins by noise of this size on its input: greedy
suppression makes much of what rounding leaves undecided, the more the less a network has learnt."""
_SAME_PX = 0.5


def export_instances(
    detector: WindowDetector, card: Card, path: Path, pixels: NDArray[np.uint8]
) -> Exported:
    """Write `detector` with its card to `path`, after proving that it says what torch says.

    The proof: a real window, a batch of three and a blank one give the same nuclei, to within
    `TOLERANCE` and `ON_THE_VERGE`.  What is less certain than the card's threshold is not
    compared: on a blank window all places are alike, and which come first is a library's business.

    Parameters
    ----------
    pixels
        ``[h, w, 3]`` uint8 of real tissue at the card's mpp; of any size, repeated as needed.

    Raises
    ------
    ModelError
        If a proof fails: then there is no file.
    StoreError
        If the file cannot be written.
    """
    detector = detector.cpu().eval()
    data = with_card(to_onnx(detector), card)
    difference = written(path, data, lambda model: prove(detector, model, pixels))
    return Exported(path, hashlib.sha256(data).hexdigest(), difference, None)


def to_onnx(detector: WindowDetector) -> onnx.ModelProto:
    """The graph: one file, standard operators, any number of windows of one size."""
    image = torch.zeros(2, detector.edge, detector.edge, 3, dtype=torch.uint8)
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            detector,
            (image,),
            buffer,  # type: ignore[arg-type]
            dynamo=False,
            opset_version=OPSET,
            input_names=["image"],
            output_names=list(OUTPUTS),
            dynamic_axes={"image": {0: "n"}, **{name: {0: "m"} for name in OUTPUTS}},
        )
    proto = onnx.load_from_string(buffer.getvalue())
    forget_origin(proto)
    onnx.checker.check_model(proto, full_check=True)
    return proto


def prove(detector: WindowDetector, model: Model, pixels: NDArray[np.uint8]) -> float:
    """Compare a model file with the network it was made from; the largest difference of scores.

    Raises
    ------
    ModelError
        If they differ.
    """
    window, post = detector.edge, model.card.post
    assert isinstance(post, InstancesPost)
    real = covering(pixels, window)[:window, :window]
    worst = 0.0
    for name, images in batches_of(real).items():
        session = open_session(model, device="cpu", window=window, batch=len(images))
        try:
            said = session.run(images)
        finally:
            session.close()
        x, above = as_input(torch.from_numpy(images)), post.score_threshold
        wanted, nudged = looked(detector, x), looked(detector, x + _noise(x))
        alone = ON_THE_VERGE + NUDGED * unmatched(nudged, wanted, above)
        worst = max(worst, compared(said, wanted, name, above=above, alone=alone))
    return worst


def looked(detector: WindowDetector, x: Tensor) -> Outputs:
    """What torch says of windows ``[n, 3, h, w]`` in [-1, 1], as a session would."""
    with torch.inference_mode():
        said = detector.look(x)
    return {name: v.float().numpy() for name, v in zip(OUTPUTS, said, strict=True)}


def _noise(x: Tensor) -> Tensor:
    return NUDGE * torch.randn(x.shape, generator=torch.Generator().manual_seed(0))


def unmatched(a: Outputs, b: Outputs, above: float) -> float:
    """The share of the nuclei with scores `above` this that only one of both has."""
    pairs, count = _pairs(a, b, above)
    return (count - len(pairs)) / max(1, count)


def compared(said: Outputs, wanted: Outputs, name: str, *, above: float, alone: float) -> float:
    """The largest difference of the scores of nuclei that both have.

    Parameters
    ----------
    name
        Of what both looked at, for errors.
    above
        Scores that are looked at.
    alone
        Share of the nuclei that one of both may have alone.

    Raises
    ------
    ModelError
        If more nuclei are found by one alone, or those found by both differ.
    """
    pairs, count = _pairs(said, wanted, above)
    if count - len(pairs) > max(1, alone * count):
        raise ModelError(
            f"{name}: of {count} nuclei, ONNX Runtime and torch find only {len(pairs)} alike"
        )
    worst = 0.0
    for output, tolerance in TOLERANCE.items():
        ours, theirs = (o[output][pairs[:, i]] for i, o in enumerate((said, wanted)))
        apart = float(np.abs(ours - theirs).max(initial=0.0))
        if not apart <= tolerance:
            raise ModelError(f"{output} of {name}: ONNX Runtime differs from torch by {apart:g}")
        worst = apart if output == "scores" else worst
    return worst


def _pairs(a: Outputs, b: Outputs, above: float) -> tuple[NDArray[np.int64], int]:
    """Rows of both that are the same nucleus, ``[n, 2]``; and how many the richer one has."""
    rows = [np.flatnonzero(outputs["scores"] > above) for outputs in (a, b)]
    keys = [
        np.column_stack([o["boxes"][r], 1e4 * o["tile"][r, None], 1e4 * o["labels"][r, None]])
        for o, r in zip((a, b), rows, strict=True)
    ]
    pairs = _matched(*keys)
    whole = np.column_stack([rows[0][pairs[:, 0]], rows[1][pairs[:, 1]]])
    return whole, max(len(rows[0]), len(rows[1]))


def _matched(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.int64]:
    """Rows of `a` and `b` that are the same nucleus, ``[n, 2]``."""
    if not len(a) or not len(b):
        return np.empty((0, 2), np.int64)
    apart = np.abs(a[:, None] - b[None]).max(2)
    nearest = apart.argmin(1)
    mutual = apart.argmin(0)[nearest] == np.arange(len(a))
    same = mutual & (apart[np.arange(len(a)), nearest] < _SAME_PX)
    return np.column_stack([np.flatnonzero(same), nearest[same]])
