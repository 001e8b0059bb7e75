"""Classification networks, with weights from a file, as functions that describe places."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from wsiproc.errors import ConfigError, MissingExtraError
from wsiproc_label_efficient.config import FeatureConfig

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of ImageNet's colours."""
_TIMM = "timm:"


def load_backbone(config: FeatureConfig) -> nn.Module:
    """``[n, 3, h, w]`` float32 -> ``[n, c, h / 32, w / 32]``, in evaluation mode.

    Raises
    ------
    ConfigError
        If no file of weights is named, or it does not fit the architecture, or there is no such.
    MissingExtraError
        If the library of the architecture is not installed.
    """
    if config.weights is None:
        raise ConfigError(
            "a backbone needs a file of weights (--set select.features.weights=FILE.pth); none is "
            "needed for select.features.source=self"
        )
    name = config.architecture
    net = _timm(name.removeprefix(_TIMM)) if name.startswith(_TIMM) else _torchvision(name)
    try:
        state: Any = torch.load(config.weights, map_location="cpu", weights_only=True)
    except OSError as error:
        raise ConfigError(f"{config.weights.name} cannot be read: {error.strerror}") from None
    except Exception:  # noqa: BLE001  torch raises whatever the damage leads it to
        raise ConfigError(f"{config.weights.name} is no file of weights") from None
    state = state.get("state_dict", state) if isinstance(state, dict) else state
    heads = ("fc.", "classifier.", "head.")
    try:
        missing, _ = net.load_state_dict(state, strict=False)
    except (RuntimeError, AttributeError, TypeError) as error:
        raise ConfigError(f"{config.weights.name} does not fit {name}: {error}") from None
    lacking = [key for key in missing if not key.startswith(heads)]
    if lacking:
        raise ConfigError(f"{config.weights.name} does not fit {name}: it lacks {lacking[0]}")
    return _Trunk(net).eval()


def normalised(images: NDArray[np.uint8], normalise: bool) -> Tensor:
    """``[h, w, 3]`` or ``[n, h, w, 3]`` uint8 -> ``[n, 3, h, w]``, of 0 to 1 or as ImageNet's."""
    ready = torch.from_numpy(np.ascontiguousarray(images)).float() / 255
    ready = ready[None] if ready.ndim == 3 else ready
    if normalise:
        ready = (ready - torch.tensor(MEAN)) / torch.tensor(STD)
    return ready.permute(0, 3, 1, 2)


class _Trunk(nn.Module):
    """A network up to where it averages over the image."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        net: Any = self.net
        if hasattr(net, "forward_features"):
            said: Tensor = net.forward_features(x)
        elif hasattr(net, "features"):
            said = net.features(x)
        else:
            x = net.maxpool(net.relu(net.bn1(net.conv1(x))))
            said = net.layer4(net.layer3(net.layer2(net.layer1(x))))
        if said.ndim != 4:
            raise ConfigError(
                "this architecture gives no map of features: take one of convolutions"
            )
        return said


def _torchvision(name: str) -> nn.Module:
    from wsiproc.training import vision  # noqa: F401  lets torchvision be imported

    try:
        from torchvision import models
    except ModuleNotFoundError:
        raise MissingExtraError("a backbone", "train") from None
    if name not in models.list_models():
        raise ConfigError(f"torchvision has no {name!r}; for timm's say timm:{name}")
    net: nn.Module = models.get_model(name, weights=None)
    return net


def _timm(name: str) -> nn.Module:
    try:
        import timm
    except ModuleNotFoundError:
        raise ConfigError("timm is not installed: pip install timm") from None
    if not timm.is_model(name):
        raise ConfigError(f"timm has no {name!r}")
    net: nn.Module = timm.create_model(name, pretrained=False)
    return net
