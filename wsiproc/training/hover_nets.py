"""Networks of the kind `hover`: a small one of our own, and HoVer-Net itself as MONAI has it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from wsiproc.errors import ConfigError, MissingExtraError
from wsiproc.training.export import Head
from wsiproc.training.nets import ResidualEncoder, enlarged, enlarging

HEADS: Mapping[str, Head] = {"np": Head((0, 1), "sigmoid"), "hv": Head((1, 3), "none")}
"""What the three channels of these networks become in the graph."""


class HoverUNet(ResidualEncoder):
    """One encoder and two decoders: the one says what is nucleus, the other where in it.

    A `ResidualUNet` of which the half that enlarges is there twice, as HoVer-Net's is.

    Parameters
    ----------
    width, poolings
        See `ResidualEncoder`.
    """

    def __init__(self, width: int, poolings: int) -> None:
        super().__init__(width, poolings)
        self.decoders = nn.ModuleList(_Decoder(self.widths, channels) for channels in (1, 2))

    def forward(self, x: Tensor) -> Tensor:
        """``[n, 3, h, w]`` -> ``[n, 3, h, w]``: the logit of nuclei, the maps of x and of y."""
        levels = self.encoded(x)
        return torch.cat([decoder(levels) for decoder in self.decoders], 1)


class _Decoder(nn.Module):
    """From the coarsest features back to full resolution."""

    def __init__(self, widths: Sequence[int], outputs: int) -> None:
        super().__init__()
        self.narrow, self.up = enlarging(widths)
        self.head = nn.Conv2d(widths[0], outputs, 1)

    def forward(self, levels: Sequence[Tensor]) -> Tensor:
        out: Tensor = self.head(enlarged(levels, self.narrow, self.up))
        return out


class HoverNet(nn.Module):
    """HoVer-Net in its mode ``fast`` (Graham 2019), for windows of any size.

    MONAI's layers, put together here: its own `forward` takes 256 px alone.  They are enlarged
    without aligning corners, for which a pixel's place would depend on the size of its window; so
    the network is local.  Decoders take no padding, and what they don't reach, 46 px along each
    edge, is 0.

    Parameters
    ----------
    encoder_weights
        File of ImageNet's ResNet-50 with torchvision's names, or None.

    Raises
    ------
    MissingExtraError
        Without MONAI.
    ConfigError
        If the file is none of such weights.
    """

    step = 8
    margin = 120
    mean: Tensor
    """Of ImageNet's pixels, which ResNet's weights were learnt from, and `std`."""
    std: Tensor

    def __init__(self, encoder_weights: Path | None = None) -> None:
        super().__init__()
        try:
            from monai.networks.nets.hovernet import HoVerNet as Layers
        except ImportError as error:
            raise MissingExtraError("HoVer-Net", "train") from error
        self.layers = Layers(mode="fast", adapt_standard_resnet=True)
        for layer in self.layers.modules():
            if isinstance(layer, nn.Upsample):
                layer.align_corners = False
        if encoder_weights is not None:
            load_encoder(self.layers, encoder_weights)
        for name, values in (("mean", (0.485, 0.456, 0.406)), ("std", (0.229, 0.224, 0.225))):
            self.register_buffer(name, torch.tensor(values)[:, None, None])

    def forward(self, x: Tensor) -> Tensor:
        """``[n, 3, h, w]`` -> ``[n, 3, h, w]``: the logit of nuclei, the maps of x and of y."""
        layers = self.layers
        height = x.shape[-2]
        x = layers.conv0(((x + 1) / 2 - self.mean) / self.std)
        skips = []
        for block in layers.res_blocks:
            x = block(x)
            skips.append(x)
        x = layers.upsample(layers.bottleneck(x))
        pixels = layers.nucleus_prediction(x, skips[:3])
        hv = layers.horizontal_vertical(x, skips[:3])
        said = torch.cat([pixels[:, 1:] - pixels[:, :1], hv], 1)
        return functional.pad(said, [(height - said.shape[-2]) // 2] * 4)


def load_encoder(layers: nn.Module, path: Path) -> None:
    """Put ResNet-50's weights from a file of torchvision's names into MONAI's layers.

    MONAI's blocks normalise what they are given, ResNet's what they give: a block's last
    normalisation goes to the block behind it, as MONAI's own loader, which fetches, has it.

    Raises
    ------
    ConfigError
        If the file holds something else.
    """
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
        weights = dict(_monai_names(found))
    except Exception:  # noqa: BLE001  torch raises whatever the file leads it to
        weights = {}
    own = layers.state_dict()
    fitting = {
        name: value
        for name, value in weights.items()
        if name in own and own[name].shape == value.shape
    }
    if len(fitting) < _FITTING:
        raise ConfigError(
            f"{path.name} is no ResNet-50 with torchvision's names: {len(fitting)} of its tensors "
            f"fit, and {_FITTING} should"
        )
    layers.load_state_dict({**own, **fitting})


_FITTING = 298
"""Tensors of a ResNet-50 that have a place in HoVer-Net's encoder."""


def _monai_names(weights: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    for name, value in weights.items():
        first = re.fullmatch(r"(conv|bn)1\.(.+)", name)
        inner = re.fullmatch(r"layer(\d)\.(\d+)\.(conv|bn)(\d)\.(.+)", name)
        short = re.fullmatch(r"layer(\d)\.0\.downsample\.(\d)\.(.+)", name)
        if first:
            yield f"conv0.{first[1]}.{first[2]}", value
        elif short:
            place = "shortcut" if short[2] == "0" else "bna_block.bn"
            yield f"res_blocks.d{int(short[1]) - 1}.{place}.{short[3]}", value
        elif inner:
            layer, block, number = int(inner[1]) - 1, int(inner[2]), int(inner[4])
            place = f"conv{number}" + ("/bn" if inner[3] == "bn" else "")
            if place == "conv3/bn":
                block, place = block + 1, "preact/bn"
            yield f"res_blocks.d{layer}.layers.denselayer_{block}.layers.{place}.{inner[5]}", value
