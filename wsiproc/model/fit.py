"""Whether a graph is what its card says: inputs, outputs, types, channels."""

from __future__ import annotations

from wsiproc.card import Card, Kind, ModelInput
from wsiproc.errors import ModelError
from wsiproc.model.graph import GraphFacts, Port

REQUIRED: dict[Kind, tuple[str, ...]] = {
    "points": ("prob",),
    "mask": ("prob",),
    "hover": ("np", "hv"),
    "instances": ("boxes", "scores", "labels", "masks"),
}
OPTIONAL: dict[Kind, tuple[str, ...]] = {
    "points": (),
    "mask": ("centre", "class"),
    "hover": ("tp",),
    "instances": ("tile",),
}
AXES = {"boxes": 2, "scores": 1, "labels": 1, "tile": 1, "masks": 4}
"""Of the outputs of the kind `instances`, whose first is one for each nucleus."""
STAIN = "stain"
_FLOATS = ("float32", "float16", "float64")


def sources(card: Card, outputs: tuple[str, ...]) -> dict[str, str]:
    """wsiproc's name of each map that the graph gives, to the graph's own name of it."""
    named = {
        name: card.outputs[name].name if name in card.outputs else name
        for name in (*REQUIRED[card.kind], *OPTIONAL[card.kind])
    }
    return {name: source for name, source in named.items() if source in outputs}


def check_fit(card: Card, graph: GraphFacts) -> None:
    """Compare the card with the graph.

    Raises
    ------
    ModelError
        That says what differs.
    """
    _check_inputs(card, {port.name: port for port in graph.inputs})
    _check_outputs(card, {port.name: port for port in graph.outputs})


def _check_inputs(card: Card, inputs: dict[str, Port]) -> None:
    wanted = card.input
    image = inputs.pop(wanted.name, None)
    if image is None:
        there = ", ".join(inputs) or "none"
        raise ModelError(f"the card names the input {wanted.name!r}; the model has: {there}")
    if image.dtype != wanted.dtype:
        raise ModelError(
            f"the model's input is {image.dtype}, its card says {wanted.dtype} ([input] dtype)"
        )
    scaled = wanted.model_copy(update={"name": "image", "layout": "NHWC", "order": "RGB"})
    if wanted.dtype == "uint8" and scaled != ModelInput():
        raise ModelError("an input of uint8 cannot be scaled: leave scale, mean and std alone")
    if image.shape is not None:
        _check_image_shape(card, image.shape)
    stain = inputs.pop(STAIN, None)
    if stain is not None and (stain.dtype != "float32" or stain.shape not in (None, (3, 3))):
        raise ModelError(f"the input {STAIN!r} must be float32 [3, 3]")
    if stain is None and card.stain_target is not None:
        raise ModelError(f"the card has a stain_target, but the model has no input {STAIN!r}")
    if inputs:
        raise ModelError(f"nothing can be given to the model's inputs {', '.join(inputs)}")


def _check_image_shape(card: Card, shape: tuple[int | str, ...]) -> None:
    layout = card.input.layout
    if len(shape) != 4:
        raise ModelError(f"the model's input has {len(shape)} axes, not the four of {layout}")
    edges = dict(zip(layout, shape, strict=True))
    if edges["C"] != 3 and (isinstance(edges["C"], int) or 3 in shape):
        raise ModelError(
            f"the model's input is {list(shape)}: no three colours where {layout} has C"
        )
    fixed = {edge for axis in "HW" if isinstance(edge := edges[axis], int)}
    if any(set(card.windows) != {edge} for edge in fixed):
        raise ModelError(
            f"the model takes images of {sorted(fixed)} px only; its card lists windows "
            f"{list(card.windows)}"
        )


def _check_outputs(card: Card, outputs: dict[str, Port]) -> None:
    known = (*REQUIRED[card.kind], *OPTIONAL[card.kind])
    if strange := [name for name in card.outputs if name not in known]:
        raise ModelError(
            f"the card describes the outputs {', '.join(strange)}; a model of kind {card.kind} "
            f"has {', '.join(known)}"
        )
    named = sources(card, tuple(outputs))
    missing = [name for name in (*REQUIRED[card.kind], *card.outputs) if name not in named]
    if missing:
        raise ModelError(
            f"the model lacks the outputs {', '.join(missing)}; it has {', '.join(outputs)} "
            "([outputs.NAME] on the card says which is which)"
        )
    if card.kind == "instances":
        _check_lists(card, {name: outputs[source] for name, source in named.items()})
        return
    for name, source in named.items():
        port = outputs[source]
        if port.dtype not in _FLOATS:
            raise ModelError(f"the output {source!r} is {port.dtype}, not a float")
        if port.shape is not None and len(port.shape) != 4:
            raise ModelError(f"the output {source!r} has {len(port.shape)} axes, not [N, C, h, w]")
        _check_channels(card, name, port)
    classes = {"mask": "class", "hover": "tp"}.get(card.kind, "prob")
    if len(card.classes) > 1 and classes not in named:
        raise ModelError(f"the card lists several classes, but the model has no output {classes!r}")


def _check_lists(card: Card, ports: dict[str, Port]) -> None:
    for name, port in ports.items():
        if port.shape is not None and len(port.shape) != AXES[name]:
            raise ModelError(
                f"the output {port.name!r} has {len(port.shape)} axes, not {AXES[name]}"
            )
    for name in ("labels", "tile"):
        if name in ports and ports[name].dtype not in ("int32", "int64"):
            raise ModelError(f"the output {ports[name].name!r} is {ports[name].dtype}, not integer")
    if any(output.channels for output in card.outputs.values()):
        raise ModelError("outputs of the kind instances have no channels to choose from")


def _check_channels(card: Card, name: str, port: Port) -> None:
    """Compare an output's channels, where the file fixes them, with what `name` must have."""
    given = None if port.shape is None else port.shape[1]
    chosen = card.outputs[name].channels if name in card.outputs else ()
    if isinstance(given, int) and chosen and max(chosen) >= given:
        raise ModelError(
            f"the card takes channel {max(chosen)} of {port.name!r}, which has {given}"
        )
    kept = len(chosen) or given
    wanted = channels(card, name)
    if isinstance(kept, int) and wanted is not None and kept != wanted:
        raise ModelError(
            f"the output {name!r} has {kept} channels and should have {wanted}; "
            f"[outputs.{name}] channels on the card chooses"
        )


def channels(card: Card, name: str) -> int | None:
    """How many channels a map of this card has; None where that is the decoder's matter."""
    match card.kind, name:
        case ("mask", "prob" | "centre") | ("hover", "np"):
            return 1
        case ("points", "prob") | ("mask", "class") | ("hover", "tp"):
            return len(card.classes)
        case "hover", "hv":
            return 2
        case _:
            return None
