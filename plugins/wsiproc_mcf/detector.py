"""What is deployed as ``mcf_detector.onnx``: the filter bank as a graph of standard operators."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from wsiproc.card import Card, PointsPost
from wsiproc.datasets import Sample
from wsiproc.methods import TrainingInputs
from wsiproc.training.choose import judge
from wsiproc.training.deliver import deliver
from wsiproc.training.export import Deployed, Head
from wsiproc_mcf.centres import Certain
from wsiproc_mcf.filters import Bank
from wsiproc_mcf.response import Response

NAME = "mcf_detector"
CHOICES = {
    "threshold": tuple(round(0.2 + 0.025 * i, 3) for i in range(25)),
    "radius_um": (1.5, 2.0, 2.5, 3.0, 3.5),
}
"""Constants of post-processing that are tried on the val split."""


class Detector(nn.Module):
    """``[n, 3, h, w]`` in [-1, 1] (`wsiproc.training.nets.as_input`) -> ``[n, 1, h, w]``.

    What it says is the response where that falls on all sides, 0 elsewhere (`centres.Certain`);
    its peaks are centres of nuclei.
    """

    def __init__(self, bank: Bank) -> None:
        super().__init__()
        self.response = Response(bank)
        self.certain = Certain(bank.config, bank.mpp)

    @property
    def step(self) -> int:
        """What edges and origins of windows must be multiples of, px: a cell."""
        return self.response.features.cell

    @property
    def margin(self) -> int:
        """Radius of the receptive field, px, a multiple of the step."""
        return -(-(self.response.reach + self.certain.reach) // self.step) * self.step

    def forward(self, image: Tensor) -> Tensor:
        """See the class."""
        said: Tensor = self.certain(self.response.loudness((image + 1) * 127.5))
        return said


def deployed_detector(bank: Bank) -> Deployed:
    """uint8 pixels and a slide's stain in, ``prob`` out."""
    return Deployed(Detector(bank), {"prob": Head((0, 1), "none")}, stain=True).eval()


def deliver_detector(
    bank: Bank,
    inputs: TrainingInputs,
    *,
    check: Sequence[tuple[Sample, NDArray[np.uint8]]],
    card: Card,
) -> Path:
    """Choose its threshold on val images, and write and prove ``mcf_detector.onnx``.

    Parameters
    ----------
    check
        Val images: the sample, with instances, and its pixels ``[h, w, 3]`` uint8 at the bank's
        mpp as they are: a field of view is too small for a slide's stain to be told, and the
        engine leaves its colours alone, too.
    card
        The segmenter's, for all that both share.

    Raises
    ------
    ModelError
        If the file does not say what torch says, or is not local.
    """
    graph = deployed_detector(bank)
    detector = graph.net
    assert isinstance(detector, Detector)
    post = PointsPost(
        threshold=bank.config.background_below,
        radius_um=bank.config.peak_radius_um,
        chosen_on=card.post.chosen_on,
    )
    own = {
        "name": NAME,
        "kind": "points",
        "post": post.model_dump(),
        "step": detector.step,
        "margin": detector.margin,
    }
    card = Card.model_validate({**card.model_dump(), **own})
    annotated = ((pixels, sample.mpp or bank.mpp, sample.instances()) for sample, pixels in check)
    tissue = check[0][1]
    judged = judge(graph, card, annotated)
    return deliver(graph, card, inputs, judged=judged, choices=CHOICES, by=("f1",), tissue=tissue)
