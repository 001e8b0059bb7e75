"""The segmenter that draws HoVer-Net's maps (sec. IV of the paper; Graham et al. 2019)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from wsiproc.card import Card, HoverPost
from wsiproc.decode import decode
from wsiproc.geometry import Box
from wsiproc.methods import TrainingInputs
from wsiproc.nuclei import Nuclei
from wsiproc.training.choose import Judged, choose, measure
from wsiproc.training.deliver import deliver
from wsiproc.training.export import Deployed
from wsiproc.training.fields import Field
from wsiproc.training.hover import Weights, hover_loss, stacked_targets
from wsiproc.training.hover_nets import HEADS, HoverNet, HoverUNet
from wsiproc.training.loop import Batch, Stage
from wsiproc.training.nets import as_input
from wsiproc.training.settings import Schedule
from wsiproc_label_efficient.images import Bytes, Learnt, draw_cuts
from wsiproc_label_efficient.segmenter_config import HOVER_CHOICES, HoverConfig
from wsiproc_label_efficient.segmenting import BY, Said

Maps = Mapping[str, NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class HoverSegmenter:
    """See `wsiproc_label_efficient.segmenting.Segmenter`."""

    config: HoverConfig

    @property
    def schedule(self) -> Schedule:
        return self.config.schedule

    @property
    def synthetic_share(self) -> float:
        return self.config.synthetic_share

    def network(self) -> nn.Module:
        if self.config.network == "monai":
            return HoverNet(self.config.encoder_weights)
        return HoverUNet(self.config.width, self.config.poolings)

    def about(self, net: nn.Module, chosen_on: str) -> dict[str, Any]:
        assert isinstance(net, HoverUNet | HoverNet)
        return {
            "kind": "hover",
            "mpp": self.config.mpp,
            "step": net.step,
            "margin": net.margin,
            "windows": self.config.windows,
            "post": HoverPost(chosen_on=chosen_on).model_dump(),
            "local": True,
        }

    def stage(self, name: str, learnt: Learnt, seen: Sequence[Field], card: Card) -> Stage:
        schedule, augmentation = self.config.schedule, self.config.augmentation
        weights = Weights(hv=self.config.distance_weight, gradient=self.config.gradient_weight)

        def batch(rng: np.random.Generator) -> Batch:
            count, size = schedule.batch, schedule.crop_px
            cuts = draw_cuts(learnt, rng, count=count, size=size, augmentation=augmentation)
            return {
                "image": np.stack([cut.pixels for cut in cuts]),
                "inside": np.stack([cut.inside for cut in cuts]),
                **stacked_targets([cut.instances for cut in cuts]),
            }

        def loss(net: nn.Module, tensors: Mapping[str, Tensor]) -> Tensor:
            said = net(as_input(tensors["image"]))
            inside, hv, known = tensors["inside"], tensors["hv"], tensors["hv_known"]
            return hover_loss(said[:, 0], said[:, 1:], inside, hv, known, weights)

        def check(net: nn.Module) -> dict[str, float]:
            scores = measure(card, self._judged(net, card, seen))
            return {key: scores[key] for key in ("aji", "dice", "f1")}

        return Stage(name, batch, loss, check, better=("aji", True))

    def chosen(
        self, net: nn.Module, card: Card, check: Sequence[Field]
    ) -> tuple[Card, dict[str, float]]:
        return choose(card, self._judged(net, card, check), HOVER_CHOICES, by=BY)

    def said(self, net: nn.Module, card: Card, pixels: Bytes) -> Said:
        rim = card.margin
        around = np.pad(pixels, ((rim, rim), (rim, rim), (0, 0)), mode="symmetric")
        height, width = pixels.shape[:2]
        inner = (..., slice(rim, rim + height), slice(rim, rim + width))
        maps = {name: said[inner] for name, said in _maps(net, card, around).items()}
        return Said(_decoded(card, maps, height, width), maps["np"][0])

    def deliver(
        self, net: nn.Module, card: Card, check: Sequence[Field], inputs: TrainingInputs
    ) -> Path:
        return deliver(
            Deployed(net, HEADS),
            card,
            inputs,
            judged=self._judged(net, card, check),
            choices={},
            by=BY,
            tissue=check[0].pixels,
        )

    def _judged(self, net: nn.Module, card: Card, fields: Sequence[Field]) -> list[Judged]:
        return [Judged(_maps(net, card, f.pixels), f.mpp, f.truth()) for f in fields]


@torch.inference_mode()
def _maps(net: nn.Module, card: Card, pixels: Bytes) -> Maps:
    """What the finished graph will say of an image of any size."""
    return Deployed(net, HEADS).eval().maps(pixels, step=card.step, margin=card.margin)


def _decoded(card: Card, maps: Maps, height: int, width: int) -> Nuclei:
    box = Box(0, 0, width, height)
    return decode(card, maps, box, box)
