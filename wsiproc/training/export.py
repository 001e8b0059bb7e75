"""From a trained network to the one file that is deployed, with proof that it is the same network.

The file takes pixels as they are read and gives maps as they are decoded: normalisation and
activations are nodes of its graph.  It carries its card, and nothing of the machine it was made on.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from wsiproc.card import METADATA_KEY, Card
from wsiproc.errors import ModelError
from wsiproc.model import Model, ShiftReport, load_model, open_session, shift_check
from wsiproc.training import checkpoint
from wsiproc.training.nets import as_input, predict

OPSET = 20
TOLERANCE = 1e-3
"""Largest difference between torch and ONNX Runtime that passes, in a map of 0 to 1."""

T = TypeVar("T")
Activation = Literal["sigmoid", "softmax", "none"]

_STAIN = ((1.05, 0.04, -0.03), (-0.05, 0.9, 0.02), (0.06, -0.04, 1.1))
"""A matrix to prove files with, not so far from the identity."""


@dataclass(frozen=True, slots=True)
class Head:
    """Which channels of a network become a map, and by what activation."""

    channels: tuple[int, int]
    """First, and one past the last."""
    activation: Activation
    smooth_px: int = 1
    """Edge of the square, odd, over which the map is averaged: single pixels' whims, which would
    give a nucleus several peaks, are evened out."""


class Deployed(nn.Module):
    """A network with what has to stand before and behind it: uint8 pixels in, maps out.

    Parameters
    ----------
    net
        ``[n, 3, h, w]`` in [-1, 1] (`wsiproc.training.nets.as_input`) -> logits.
    heads
        wsiproc's name of each map (``prob``, ``centre``, ``class``), in the order of the outputs.
    stain
        Whether the graph has the input `stain`, which the engine fills with the slide's matrix.
    """

    def __init__(self, net: nn.Module, heads: Mapping[str, Head], *, stain: bool = False) -> None:
        super().__init__()
        self.net = net
        self.heads = dict(heads)
        self.stain = stain

    def forward(self, image: Tensor, stain: Tensor | None = None) -> tuple[Tensor, ...]:
        """``[n, h, w, 3]`` uint8 -> a map ``[n, c, h, w]`` for each head.

        `stain` is float32 ``[3, 3]`` (`wsiproc.stain`); None leaves colours as they are.
        """
        logits = self.net(as_input(image if stain is None else restained(image, stain)))
        maps = []
        for head in self.heads.values():
            part = logits[:, head.channels[0] : head.channels[1]]
            active = _ACTIVATIONS[head.activation](part)
            if head.smooth_px > 1:
                size, reach = head.smooth_px, head.smooth_px // 2
                active = functional.avg_pool2d(active, size, stride=1, padding=reach)
            maps.append(active)
        return tuple(maps)

    def maps(
        self, pixels: NDArray[np.uint8], *, step: int, margin: int
    ) -> dict[str, NDArray[np.float32]]:
        """The maps ``[c, h, w]`` of one ``[h, w, 3]`` image of any size, as `predict` has it."""

        def stacked(image: Tensor) -> Tensor:
            return torch.cat(self(image), 1)

        said = predict(stacked, torch.from_numpy(pixels), step=step, margin=margin).numpy()
        ends = np.cumsum([head.channels[1] - head.channels[0] for head in self.heads.values()])
        return dict(zip(self.heads, np.split(said, ends[:-1]), strict=True))


def restained(image: Tensor, stain: Tensor) -> Tensor:
    """``[n, h, w, 3]`` uint8 -> float32 in 0 to 255: `wsiproc.stain.apply_stain` as a graph."""
    density = torch.matmul(-torch.log((image.float() + 1) / 256), stain)
    return (256 * torch.exp(-density) - 1).clamp(0, 255)


_ACTIVATIONS: Mapping[Activation, Callable[[Tensor], Tensor]] = {
    "sigmoid": torch.sigmoid,
    "softmax": lambda logits: logits.softmax(1),
    "none": lambda values: values,
}


@dataclass(frozen=True, slots=True)
class Exported:
    """The file, and what was found when it was compared with torch.

    Parameters
    ----------
    path, sha256
        The carded ONNX file.
    difference
        Largest absolute difference between torch's maps and ONNX Runtime's.
    shift
        What shifted windows said; None for a model that does not claim to be local.
    """

    path: Path
    sha256: str
    difference: float
    shift: ShiftReport | None


def export(deployed: Deployed, card: Card, path: Path, pixels: NDArray[np.uint8]) -> Exported:
    """Write `deployed` with its card to `path`, after proving that it says what torch says.

    The proof: the maps of a real window, of a batch of three and of a blank one are torch's to
    within `TOLERANCE`; and, where the card says ``local``, a pixel's values are the same bits in
    every shifted window that sees it.

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
    deployed = deployed.cpu().eval()
    data = with_card(to_onnx(deployed, card), card)
    difference, shift = written(path, data, lambda model: prove(deployed, model, pixels))
    return Exported(path, hashlib.sha256(data).hexdigest(), difference, shift)


def written(path: Path, data: bytes, prove: Callable[[Model], T]) -> T:
    """Write a carded file to `path` if `prove` has nothing against it; and what that says.

    Raises
    ------
    StoreError
        If the file cannot be written.
    """
    temporary = path.with_name(path.name + ".unproven")
    checkpoint.write_atomically(temporary, data)
    try:
        said = prove(load_model(str(temporary)))
    finally:
        temporary.unlink(missing_ok=True)
    checkpoint.write_atomically(path, data)
    return said


def batches_of(real: NDArray[np.uint8]) -> dict[str, NDArray[np.uint8]]:
    """What a file is proven with, by what it is called: batches of a square window of tissue."""
    return {
        "a window of tissue": np.ascontiguousarray(real[None]),
        "a batch of three": np.stack([real, real[::-1], real[:, ::-1]]),
        "a blank window": np.full((1, *real.shape), 255, np.uint8),
    }


def to_onnx(deployed: Deployed, card: Card) -> onnx.ModelProto:
    """The graph: one file, standard operators, batch free, edges free multiples of the step."""
    step = card.step
    least = 2 * card.margin // step + 1  # of a window with something left inside its margin
    image = torch.zeros(2, (least + 1) * step, (least + 3) * step, 3, dtype=torch.uint8)
    shapes = {
        0: torch.export.Dim("n", min=1),
        1: step * torch.export.Dim("rows", min=least),
        2: step * torch.export.Dim("columns", min=least),
    }
    inputs: dict[str, Tensor] = {"image": image}
    dynamic: dict[str, dict[int, torch.export.Dim] | None] = {"image": shapes}
    if deployed.stain:
        inputs["stain"], dynamic["stain"] = torch.eye(3), None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            deployed,
            tuple(inputs.values()),
            dynamo=True,
            opset_version=OPSET,
            input_names=list(inputs),
            output_names=list(deployed.heads),
            dynamic_shapes=dynamic,
            verbose=False,
        )
    assert program is not None
    proto = program.model_proto
    forget_origin(proto)
    onnx.checker.check_model(proto, full_check=True)
    return proto


def prove(
    deployed: Deployed, model: Model, pixels: NDArray[np.uint8]
) -> tuple[float, ShiftReport | None]:
    """Compare a model file with the network it was made from; see `export`.

    Raises
    ------
    ModelError
        If they differ, or the model is not as local as its card says.
    """
    window = min(model.card.windows)
    tissue = covering(pixels, window + 4 * model.card.step)
    real = tissue[:window, :window]
    stain = torch.tensor(_STAIN) if deployed.stain else None
    worst = 0.0
    for name, batch in batches_of(real).items():
        session = open_session(model, device="cpu", window=window, batch=len(batch))
        try:
            matrix = stain.numpy() if stain is not None else None
            maps = session.run(batch, matrix)
        finally:
            session.close()
        with torch.inference_mode():
            wanted = deployed(torch.from_numpy(batch), stain)
        for head, tensor in zip(deployed.heads, wanted, strict=True):
            apart = float(np.abs(maps[head] - tensor.numpy()).max())
            if not apart <= TOLERANCE:
                raise ModelError(f"{head} of {name}: ONNX Runtime differs from torch by {apart:g}")
            worst = max(worst, apart)
    if not model.card.local:
        return worst, None
    session = open_session(model, device="cpu", window=window, batch=1)
    try:
        report = shift_check(session, model.card, tissue)
    finally:
        session.close()
    if not report.local:
        raise ModelError(
            f"the model is not local: {report.different} of {report.compared} values differ "
            f"between shifted windows, by up to {report.max_abs_diff:g}; its margin of "
            f"{model.card.margin} px is too small, or a layer looks at the whole window"
        )
    return worst, report


def covering(pixels: NDArray[np.uint8], edge: int) -> NDArray[np.uint8]:
    """At least `edge` px of the same tissue each way, continued in its mirror image."""
    missing = [max(0, edge - size) for size in pixels.shape[:2]]
    return np.pad(pixels, ((0, missing[0]), (0, missing[1]), (0, 0)), mode="symmetric")


def with_card(proto: onnx.ModelProto, card: Card) -> bytes:
    """The bytes of a graph that carries its card; the same ones each time."""
    del proto.metadata_props[:]
    entry = proto.metadata_props.add()
    entry.key, entry.value = METADATA_KEY, card.to_json()
    data: bytes = proto.SerializeToString(deterministic=True)
    return data


def forget_origin(proto: onnx.ModelProto) -> None:
    """Take out where in whose source tree each operator came from, which torch writes down."""
    proto.producer_version = proto.doc_string = ""
    graph = proto.graph
    graph.doc_string = ""
    del graph.metadata_props[:]
    for entry in (*graph.node, *graph.value_info, *graph.input, *graph.output, *graph.initializer):
        entry.doc_string = ""
        del entry.metadata_props[:]
    del graph.value_info[:]
