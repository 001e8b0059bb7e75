"""The card: everything a model says of itself.

A card travels inside the ONNX file (metadata key ``wsiproc``, JSON) or, for a model made
elsewhere, beside it as TOML.  Lengths of nuclei are in µm, windows and margins in model px.
"""

from __future__ import annotations

import json
import math
import tomllib
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from wsiproc.errors import ModelError
from wsiproc.frozen import Frozen, canonical, faults

METADATA_KEY = "wsiproc"
SCHEMA_VERSION = 1

Kind = Literal["points", "mask", "hover", "instances"]
Activation = Literal["none", "sigmoid", "softmax"]


class NucleusClass(Frozen):
    """One class of nuclei; its index on the card is its `class_id`."""

    name: str = Field(min_length=1, max_length=64)
    color: tuple[int, int, int]
    """Red, green, blue, 0 to 255."""


class PointsPost(Frozen):
    """Peaks of a probability map become centroids (`decode.points`)."""

    kind: Literal["points"] = "points"
    threshold: float = Field(gt=0, lt=1)
    radius_um: float = Field(gt=0)
    """A peak is the largest value within this distance."""
    chosen_on: str
    """The data and split on which these constants were chosen."""


class MaskPost(Frozen):
    """Probabilities, and a map of centres where there is one, become outlines (`decode.mask`)."""

    kind: Literal["mask"] = "mask"
    threshold: float = Field(gt=0, lt=1)
    """A pixel belongs to a nucleus where `prob` exceeds this."""
    seed_threshold: float = Field(default=0.5, gt=0, lt=1)
    """With a `centre` output: a peak of it seeds a nucleus where it exceeds this."""
    seed_radius_um: float = Field(default=2.0, gt=0)
    """A seed is the largest value within this distance."""
    levels: tuple[float, ...] = ()
    """Falling values of `centre`: nuclei grow down to each before the next, so that the valley
    between two touching nuclei becomes their border.  Empty: by distance alone."""
    min_area_um2: float = Field(default=8.0, ge=0)
    chosen_on: str


class HoverPost(Frozen):
    """Nuclear pixels and distances to the centre become outlines (`decode.hover`).

    After HoVer-Net (Graham et al. 2019, sec. 3.2), with constants where it normalises by the
    extremes of its tile.
    """

    kind: Literal["hover"] = "hover"
    threshold: float = Field(default=0.5, gt=0, lt=1)
    """A pixel belongs to a nucleus where `np` exceeds this."""
    marker_threshold: float = Field(default=0.15, gt=0, lt=1)
    """A pixel belongs to a marker where it is less of a border than this.  A border of 1 is that
    of two touching nuclei, where a map of the target's own kind falls from 1 to -1; .5 is that
    of a nucleus alone; 0 is inside of one, where the maps rise."""
    slope_um: float = Field(default=0.56, gt=0, le=10)
    """Sigma of the Gaussian under which slopes are taken: that of HoVer-Net's Sobel filter of 21
    px, which is sqrt(20) / 2 px at .25 µm."""
    marker_depth_um: float = Field(default=0.5, ge=0, le=10)
    """What is taken off a marker on all sides: bridges break and specks vanish.  HoVer-Net opens
    markers by an ellipse of 5 px at .25 µm."""
    min_area_um2: float = Field(default=8.0, ge=0)
    chosen_on: str
    """The data and split on which these constants were chosen."""


class InstancesPost(Frozen):
    """Boxes with small masks become outlines (`decode.instances`)."""

    kind: Literal["instances"] = "instances"
    score_threshold: float = Field(default=0.5, gt=0, lt=1)
    """A detection counts where its score exceeds this."""
    mask_threshold: float = Field(default=0.5, gt=0, lt=1)
    """A pixel belongs to a nucleus where the mask, laid into its box, exceeds this."""
    dilation_um: float = Field(default=0.0, ge=0, le=5)
    """Masks are made larger by a disc of this radius; under one px, not at all."""
    most_lost: float = Field(default=0.7, gt=0, lt=1)
    """A nucleus that loses more than this share of its pixels to more certain ones is dropped."""
    first_label: int = Field(default=0, ge=0)
    """The label of the card's first class: 1 where a foreign graph counts background as 0."""
    min_area_um2: float = Field(default=8.0, ge=0)
    chosen_on: str
    """The data and split on which these constants were chosen."""


Post = Annotated[PointsPost | MaskPost | HoverPost | InstancesPost, Field(discriminator="kind")]


class ModelInput(Frozen):
    """How the network wants its pixels; the defaults are wsiproc's own contract."""

    name: str = "image"
    layout: Literal["NHWC", "NCHW"] = "NHWC"
    order: Literal["RGB", "BGR"] = "RGB"
    dtype: Literal["uint8", "float32"] = "uint8"
    scale: float = 1.0
    """Multiplied into the pixels first (1/255 for networks fed with 0 to 1)."""
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Subtracted after scaling, in the network's channel order."""
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    """Divided by, last."""

    @property
    def native(self) -> bool:
        """Whether the network takes uint8 RGB as it is read."""
        return self == ModelInput(name=self.name)


class ModelOutput(Frozen):
    """Where one of wsiproc's maps comes from in a foreign graph."""

    name: str
    """The graph's own name of the output."""
    activation: Activation = "none"
    """Applied by the session; softmax goes over the channels."""
    channels: tuple[int, ...] = ()
    """The channels to keep, in order; empty keeps all."""


class TrainingSet(Frozen):
    """Data a model has seen."""

    name: str
    split: str = "train"
    images: int = Field(ge=0)
    licence: str
    source: str = ""
    note: str = ""


class Card(Frozen):
    """What a model is, how to feed it, and what may be done with it (DESIGN 3.2)."""

    schema_version: Literal[1] = 1
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_.-]{0,63}$")
    version: str = "1"
    method: str
    """The plugin that trained it, or ``foreign``."""
    kind: Kind
    mpp: float = Field(gt=0.05, lt=20)
    """µm per model px."""
    step: int = Field(ge=1)
    """Origins and sizes of windows must be multiples of this."""
    windows: tuple[int, ...] = Field(min_length=1)
    """Edges of the square windows it may be given, preferred one first."""
    margin: int = Field(ge=0)
    """Radius of the receptive field in model px, rounded up to a multiple of `step`; for the kind
    `instances` the largest nucleus, or more."""
    stride: int = Field(default=1, ge=1)
    """Model px per output px."""
    largest_nucleus_um: float = Field(gt=0, le=200)
    """Longest nucleus that the model and its decoder are meant for; give it some slack.  Of a
    longer one the kinds with maps keep the middle, and `instances` nothing."""
    classes: tuple[NucleusClass, ...] = Field(min_length=1, max_length=255)
    post: Post
    local: bool
    """Whether a pixel's output depends on nothing further than `margin` away, proven by shifted
    windows, bit for bit.  What follows from it: the same nuclei whatever the tiles.  False for the
    kind `instances`, which gets the same from windows that never move."""
    fp16: bool = False
    """Whether half precision keeps the accuracy."""
    input: ModelInput = ModelInput()
    outputs: dict[str, ModelOutput] = {}
    """For a foreign graph: wsiproc's name of a map (`prob`, `centre`, ...) to the graph's own."""
    stain_target: tuple[tuple[float, float, float], ...] | None = None
    """For a model with the input `stain`: 2 x 3 optical-density vectors (haematoxylin, eosin) that
    slides are brought to, times the 99th percentile of their concentrations."""
    data: tuple[TrainingSet, ...] = ()
    metrics: dict[str, float] = {}
    """Measured on the split named in the key, e.g. ``tnbc/val/aji``."""
    licence: str = "unknown"
    """Of the weights."""
    code_version: str = ""
    command: str = ""
    """What trained it."""
    note: str = ""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.post.kind != self.kind:
            raise ValueError(f"kind is {self.kind!r} but the post-processing is {self.post.kind!r}")
        if self.margin % self.step:
            raise ValueError(f"margin {self.margin} is no multiple of step {self.step}")
        for window in self.windows:
            if window % self.step or window % self.stride:
                raise ValueError(f"window {window} is no multiple of step {self.step}")
            if window <= 2 * self.margin:
                raise ValueError(f"window {window} has nothing left inside margin {self.margin}")
        if self.kind == "instances":
            self._sees_whole_nuclei()
        return self

    def _sees_whole_nuclei(self) -> None:
        """What fixed windows rest on (`decode.instances`)."""
        if self.local:
            raise ValueError("a model of kind 'instances' looks at its whole window: local = false")
        if self.stride != 1:
            raise ValueError("boxes are in px of the window: a stride has no meaning for them")
        if self.margin < self.largest_nucleus_px:
            raise ValueError(
                f"margin {self.margin} is less than the largest nucleus, "
                f"{self.largest_nucleus_px} px: some would be cut by every window"
            )

    @property
    def polygons(self) -> bool:
        """Whether the model outlines nuclei, or only points at them."""
        return self.kind != "points"

    @property
    def fixed_windows(self) -> bool:
        """Whether windows lie on one lattice of the slide, whatever its tiles: so for networks
        that look at the whole window, and name nuclei rather than pixels."""
        return self.kind == "instances"

    @property
    def tiles_agree(self) -> bool:
        """Whether all tiles that see a nucleus say the same of it, bit for bit."""
        return self.local or self.fixed_windows

    @property
    def largest_nucleus_px(self) -> int:
        """Longest nucleus in model px, rounded up."""
        return math.ceil(self.largest_nucleus_um / self.mpp)

    def to_json(self) -> str:
        """Canonical JSON: sorted keys, no spaces."""
        return canonical(self)


def card_from_json(text: str) -> Card:
    """The card in an ONNX file's metadata.

    Raises
    ------
    ModelError
        If it is no card, or a card of another version.
    """
    try:
        return _checked(json.loads(text))
    except json.JSONDecodeError as error:
        raise ModelError(f"the model's card is not JSON: {error}") from None


def card_from_toml(text: str) -> Card:
    """The card that a user wrote for a foreign model.

    Raises
    ------
    ModelError
        With every field that is missing or wrong.
    """
    try:
        return _checked(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise ModelError(f"the card is not TOML: {error}") from None


def _checked(fields: dict[str, Any]) -> Card:
    if not isinstance(fields, dict):
        raise ModelError("the model's card is no JSON object")
    if fields.get("schema_version", SCHEMA_VERSION) != SCHEMA_VERSION:
        raise ModelError(
            f"the card's schema_version is {fields['schema_version']!r}, this wsiproc reads "
            f"{SCHEMA_VERSION}; use the wsiproc that the model was made for"
        )
    post = fields.get("post")
    if isinstance(post, dict) and "kind" in fields:
        fields = {**fields, "post": {"kind": fields["kind"], **post}}
    try:
        return Card.model_validate(fields)
    except ValidationError as error:
        raise ModelError(f"the model's card is not valid: {faults(error, 'card')}") from None
