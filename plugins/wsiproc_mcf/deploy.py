"""What is deployed as ``mcf.onnx``: the segmenter, or the response where there is none."""

from __future__ import annotations

from torch import Tensor, nn

from wsiproc.training.export import Deployed, Head
from wsiproc.training.labels import odd_px
from wsiproc_mcf.config import MCFConfig
from wsiproc_mcf.filters import Bank
from wsiproc_mcf.response import Response


def centre_px(config: MCFConfig) -> int:
    """Edge, odd, of the square over which p1 is averaged to find centres."""
    return odd_px(config.centre_um, config.mpp)


def segmenter(net: nn.Module, config: MCFConfig) -> Deployed:
    """Maps ``prob`` and ``centre`` of a network with one logit.

    Averaged over a square as wide as a small nucleus, p1 has one peak in each of two that touch.
    """
    prob = Head((0, 1), "sigmoid")
    return Deployed(
        net, {"prob": prob, "centre": Head((0, 1), "sigmoid", centre_px(config))}, stain=True
    )


def response_alone(bank: Bank, config: MCFConfig) -> tuple[Deployed, int]:
    """The detection branch in the segmenter's place (Table 3, "-seg"), and its reach in px."""
    net = _Response(bank)
    maps = {"prob": Head((0, 1), "none"), "centre": Head((0, 1), "none", centre_px(config))}
    return Deployed(net, maps, stain=True), net.response.reach + centre_px(config) // 2


class _Response(nn.Module):
    """``[n, 3, h, w]`` in [-1, 1] -> S~ ``[n, 1, h, w]``."""

    def __init__(self, bank: Bank) -> None:
        super().__init__()
        self.response = Response(bank)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        said: Tensor = self.response((x + 1) * 127.5)
        return said
