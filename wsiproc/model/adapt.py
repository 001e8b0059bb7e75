"""Between wsiproc's arrays and those of a foreign graph, as its card says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from wsiproc.card import Activation, Card, ModelInput
from wsiproc.errors import ModelError
from wsiproc.model.fit import channels, sources


def image_for(images: NDArray[np.uint8], wanted: ModelInput) -> NDArray[np.uint8 | np.float32]:
    """RGB pixels ``[n, H, W, 3]`` as the graph wants them.

    In this order: channels turned, scaled, `mean` subtracted, divided by `std`, axes moved.
    """
    turned = images[..., ::-1] if wanted.order == "BGR" else images
    if wanted.dtype == "uint8":
        fed: NDArray[np.uint8 | np.float32] = turned
    else:
        scale, mean, std = (
            np.asarray(values, np.float32) for values in (wanted.scale, wanted.mean, wanted.std)
        )
        fed = (turned.astype(np.float32) * scale - mean) / std
    if wanted.layout == "NCHW":
        fed = fed.transpose(0, 3, 1, 2)
    return np.ascontiguousarray(fed)


def image_shape(wanted: ModelInput, batch: int, window: int) -> tuple[int, int, int, int]:
    """Shape of the array that `image_for` gives for a full batch."""
    if wanted.layout == "NCHW":
        return (batch, 3, window, window)
    return (batch, window, window, 3)


def maps_from(
    card: Card, raw: Mapping[str, NDArray[np.generic]], count: int, window: int
) -> dict[str, NDArray[np.float32]]:
    """wsiproc's outputs for the first `count` images, from the graph's by their own names.

    Maps are ``[count, C, h, w]``.  For the kind `instances` each row is a nucleus: `boxes`
    ``[m, 4]``, `scores`, `labels` and `tile` ``[m]``, `masks` ``[m, 1, s, s]``, all float32.

    Raises
    ------
    ModelError
        If an output's shape is not what the card's kind, classes and stride make it.
    """
    named = sources(card, tuple(raw))
    if card.kind == "instances":
        return _instances(
            card, {name: raw[source] for name, source in named.items()}, count, window
        )
    edge = window // card.stride
    maps: dict[str, NDArray[np.float32]] = {}
    for name, source in named.items():
        values = np.asarray(raw[source][:count], np.float32)
        if values.ndim != 4 or values.shape[2:] != (edge, edge):
            raise ModelError(
                f"the output {source!r} is {list(values.shape)} for windows of {window} px; with "
                f"the card's stride of {card.stride} it should end in [{edge}, {edge}]"
            )
        if name in card.outputs:
            values = activated(values, card.outputs[name].activation)
            if keep := card.outputs[name].channels:
                values = values[:, keep]
        wanted = channels(card, name)
        if wanted is not None and values.shape[1] != wanted:
            raise ModelError(f"the output {name!r} has {values.shape[1]} channels, not {wanted}")
        maps[name] = np.ascontiguousarray(values)
    return maps


def activated(values: NDArray[np.float32], activation: Activation) -> NDArray[np.float32]:
    """Logits ``[n, C, h, w]`` to probabilities; softmax goes over C."""
    match activation:
        case "none":
            return values
        case "sigmoid":
            # Both branches stay finite: exp is only taken of what is not positive.
            small = np.exp(-np.abs(values))
            upper: NDArray[np.float32] = np.where(values >= 0, np.float32(1), small) / (1 + small)
            return upper
        case "softmax":
            grown = np.exp(values - values.max(axis=1, keepdims=True))
            shares: NDArray[np.float32] = grown / grown.sum(axis=1, keepdims=True)
            return shares


def _instances(
    card: Card, raw: dict[str, NDArray[np.generic]], count: int, window: int
) -> dict[str, NDArray[np.float32]]:
    """Leave out what was found on the images that only filled the batch up."""
    rows = len(raw["boxes"])
    # A graph that does not say of which image it speaks is given one at a time.
    said = {"tile": np.zeros(rows, np.int64), **raw}
    shapes = {name: np.shape(values)[1:] for name, values in said.items()}
    edge = shapes["masks"][-1] if shapes["masks"] else 0
    wanted = {"boxes": (4,), "scores": (), "labels": (), "tile": (), "masks": (1, edge, edge)}
    fits = shapes == wanted and all(len(values) == rows for values in said.values())
    if not fits or not 0 < edge < window:
        given = ", ".join(f"{name} {list(np.shape(values))}" for name, values in said.items())
        raise ModelError(
            "the outputs of a model of kind instances are boxes [m, 4], scores, labels and tile "
            f"[m], masks [m, 1, s, s] of what is inside the boxes; these are {given}"
        )
    real = (np.asarray(said["tile"]) >= 0) & (np.asarray(said["tile"]) < count)
    found = {name: np.asarray(values[real], np.float32) for name, values in said.items()}
    for name in ("scores", "masks"):
        if name in card.outputs and card.outputs[name].activation == "sigmoid":
            found[name] = activated(found[name], "sigmoid")
    return found


def joined(
    card: Card, parts: Sequence[dict[str, NDArray[np.float32]]], counts: Sequence[int]
) -> dict[str, NDArray[np.float32]]:
    """The outputs of several batches as those of one; `counts` says how many images each had."""
    if card.kind == "instances":
        before = np.cumsum([0, *counts[:-1]])
        parts = [
            {**part, "tile": part["tile"] + np.float32(n)}
            for part, n in zip(parts, before, strict=True)
        ]
    if len(parts) == 1:
        return parts[0]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
