"""Backbones, and the pyramid of features on them that detection looks at (Lin et al. 2017)."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from wsiproc.training.mask_rcnn_settings import MaskRCNNSettings
from wsiproc.training.nets import Residual
from wsiproc.training.vision import (
    FeaturePyramidNetwork,
    FrozenBatchNorm2d,
    resnet50,
    resnext101_64x4d,
)


class SmallBody(nn.Module):
    """A residual block a level behind a convolution that halves the resolution.

    Returns its levels, finest (2 px apart) first.
    """

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        before = [widths[0] // 2, *widths]
        self.stem = _convolved(3, before[0], 1)
        self.stages = nn.ModuleList(
            nn.Sequential(_convolved(a, b, 2), Residual(b)) for a, b in pairwise(before)
        )
        self.widths = tuple(widths)

    def forward(self, x: Tensor, after: nn.ModuleList) -> list[Tensor]:
        """``[n, 3, h, w]`` in [-1, 1]; each stage is followed by its layer of `after`."""
        x = self.stem(x)
        levels = []
        for stage, layer in zip(self.stages, after, strict=True):
            x = layer(stage(x))
            levels.append(x)
        return levels


class ResNetBody(nn.Module):
    """torchvision's ResNet or ResNeXt without its classifier; levels 4, 8, 16 and 32 px apart."""

    mean: Tensor
    std: Tensor

    def __init__(self, name: str, *, frozen: bool) -> None:
        super().__init__()
        make = {"resnet50": resnet50, "resnext101_64x4d": resnext101_64x4d}[name]
        net = make(weights=None, norm_layer=FrozenBatchNorm2d if frozen else nn.BatchNorm2d)
        self.conv1, self.bn1 = net.conv1, net.bn1
        self.layer1, self.layer2 = net.layer1, net.layer2
        self.layer3, self.layer4 = net.layer3, net.layer4
        self.widths = (256, 512, 1024, 2048)
        self.register_buffer("mean", torch.tensor((0.485, 0.456, 0.406)).view(3, 1, 1))
        self.register_buffer("std", torch.tensor((0.229, 0.224, 0.225)).view(3, 1, 1))
        if frozen:
            for part in (self.conv1, self.bn1, self.layer1):
                part.requires_grad_(False)

    def forward(self, x: Tensor, after: nn.ModuleList) -> list[Tensor]:
        """``[n, 3, h, w]`` in [-1, 1]; each stage is followed by its layer of `after`."""
        x = functional.relu(self.bn1(self.conv1((x * 0.5 + 0.5 - self.mean) / self.std)))
        x = functional.max_pool2d(x, 3, 2, 1)
        levels = []
        stages = (self.layer1, self.layer2, self.layer3, self.layer4)
        for stage, layer in zip(stages, after, strict=True):
            x = layer(stage(x))
            levels.append(x)
        return levels


class FeaturePyramid(nn.Module):
    """A backbone and the pyramid on it; `stage_layers` and `level_layers` may be replaced.

    Parameters
    ----------
    settings
        The number of its ``anchors_um`` says whether a coarser level is added at the top.
    """

    def __init__(self, settings: MaskRCNNSettings) -> None:
        super().__init__()
        if settings.backbone == "small":
            self.body: SmallBody | ResNetBody = SmallBody(settings.widths)
            norm = nn.BatchNorm2d
        else:
            self.body = ResNetBody(settings.backbone, frozen=settings.weights is not None)
            norm = None
        widths = self.body.widths
        self.fpn = FeaturePyramidNetwork(list(widths), settings.channels, norm_layer=norm)
        self.stage_layers = nn.ModuleList(nn.Identity() for _ in widths)
        self.level_layers = nn.ModuleList(nn.Identity() for _ in widths)
        self.top = len(settings.anchors_um) > len(widths)

    def forward(self, x: Tensor) -> OrderedDict[str, Tensor]:
        """``[n, 3, h, w]`` in [-1, 1] -> levels ``"0"``, ``"1"``, ..., finest first, float32."""
        levels = self.body(x, self.stage_layers)
        named = OrderedDict((str(i), level) for i, level in enumerate(levels))
        out = list(self.fpn(named).values())
        out = [layer(level) for layer, level in zip(self.level_layers, out, strict=True)]
        if self.top:
            out.append(functional.max_pool2d(out[-1], 1, 2))
        return OrderedDict((str(i), level.float()) for i, level in enumerate(out))


def _convolved(a: int, b: int, stride: int) -> nn.Sequential:
    convolution = nn.Conv2d(a, b, 3, stride=stride, padding=1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(b), nn.ReLU(inplace=True))
