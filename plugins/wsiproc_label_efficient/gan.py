"""The conditional SinGAN: generators of a pyramid, and critics of an image's components.

Images are ``[n, 3, h, w]`` in [-1, 1]; masks ``[n, 1, h, w]`` of 0 and 1.  Equations are those of
Lou et al. 2022.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

WHOLE, NUCLEI, BETWEEN = "whole", "nuclei", "between"
COMPONENTS = (WHOLE, NUCLEI, BETWEEN)
_SLOPE = 0.2


class Generator(nn.Module):
    """G_n: what a mask and noise add to the image of the scale before (eq. 2).

    Parameters
    ----------
    width
        Channels between its convolutions.
    blocks
        Convolutions; their padding is done once, before the first.
    """

    def __init__(self, width: int, blocks: int) -> None:
        super().__init__()
        self.body = nn.Sequential(*_blocks(4, width, blocks - 1, batch_norm=True))
        self.last = nn.Conv2d(width, 3, 3)
        self.padding = blocks
        _begin(self)

    def forward(self, mask: Tensor, noise: Tensor, before: Tensor) -> Tensor:
        """The image; `before` is that of the scale before, enlarged."""
        x = torch.cat([before + noise, 2 * mask - 1], 1)
        x = functional.pad(x, (self.padding,) * 4)
        image: Tensor = before + torch.tanh(self.last(self.body(x)))
        return image


class Critic(nn.Module):
    """D: how real each place looks; its last layer is linear, as the Wasserstein distance wants."""

    def __init__(self, width: int, blocks: int, *, batch_norm: bool) -> None:
        super().__init__()
        self.body = nn.Sequential(*_blocks(3, width, blocks - 1, batch_norm=batch_norm))
        self.last = nn.Conv2d(width, 1, 3)
        self.padding = blocks
        _begin(self)

    def forward(self, image: Tensor) -> Tensor:
        """``[n, 1, h, w]``."""
        padded = functional.pad(image, (self.padding,) * 4)
        map_: Tensor = self.last(self.body(padded))
        return map_


def _blocks(inputs: int, width: int, count: int, *, batch_norm: bool) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for i in range(count):
        layers.append(nn.Conv2d(inputs if i == 0 else width, width, 3, bias=not batch_norm))
        layers += [nn.BatchNorm2d(width)] if batch_norm else []
        layers.append(nn.LeakyReLU(_SLOPE))
    return layers


def _begin(net: nn.Module) -> None:
    """First weights: those of DCGAN with batch normalisation, He's without, which would make
    a critic's first judgements vanish."""
    normal = any(isinstance(module, nn.BatchNorm2d) for module in net.modules())
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            if normal:
                nn.init.normal_(module.weight, 0, 0.02)
            else:
                nn.init.kaiming_normal_(module.weight, _SLOPE)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight, 1, 0.02)


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """A component of images, and where it is.

    Parameters
    ----------
    image
        ``[n, 3, h, w]``, 0 outside the component.
    where
        ``[n, 1, h, w]`` of 0 and 1.
    """

    image: Tensor
    where: Tensor


def component(name: str, image: Tensor, mask: Tensor) -> Judged:
    """What the critic of that name sees (eq. 3); gradients pass."""
    if name == WHOLE:
        return Judged(image, torch.ones_like(mask))
    where = mask if name == NUCLEI else 1 - mask
    return Judged(image * where, where)


def opinion(critic: nn.Module, judged: Judged) -> Tensor:
    """A critic's mean over the component itself: outside there is nothing to be judged."""
    return _mean(critic(judged.image), judged.where)


def deceive(
    critics: nn.ModuleDict, weights: Mapping[str, float], fake: Tensor, mask: Tensor
) -> Tensor:
    """The generator's part of eq. 3: less the better its components are taken for real."""
    loss = fake.new_zeros(())
    for name, critic in critics.items():
        loss = loss - weights[name] * opinion(critic, component(name, fake, mask))
    return loss


def criticise(
    critics: nn.ModuleDict,
    weights: Mapping[str, float],
    real: tuple[Tensor, Tensor],
    fake: tuple[Tensor, Tensor],
    penalty: float,
) -> Tensor:
    """The critics' loss (eqs. 3 and 4), each of `real` and `fake` an image and its mask.

    Parameters
    ----------
    penalty
        Lambda; 0 leaves the penalty out.
    """
    loss = real[0].new_zeros(())
    for name, critic in critics.items():
        true, made = component(name, *real), component(name, *fake)
        part = opinion(critic, made) - opinion(critic, true)
        if penalty:
            part = part + penalty * steepness(critic, true, made)
        loss = loss + weights[name] * part
    return loss


def steepness(critic: nn.Module, true: Judged, made: Judged) -> Tensor:
    """How far a critic's slope between real and made is from 1, where either component is."""
    share = torch.rand(len(made.image), 1, 1, 1, device=made.image.device)
    mixed = (share * true.image + (1 - share) * made.image).detach().requires_grad_(True)
    where = torch.maximum(true.where.expand_as(made.where), made.where)
    (slope,) = torch.autograd.grad((critic(mixed) * where).sum(), mixed, create_graph=True)
    length = (slope.square().sum(1, keepdim=True) + 1e-12).sqrt()
    return _mean((length - 1).square(), where)


def _mean(values: Tensor, where: Tensor) -> Tensor:
    mean: Tensor = (values * where).sum() / where.sum().clamp(min=1)
    return mean


@dataclass(frozen=True, slots=True, eq=False)
class Scale:
    """A scale that is learnt.

    Parameters
    ----------
    size
        Height and width, px.
    generator
        In evaluation mode.
    sigma
        Standard deviation of its noise.
    """

    size: tuple[int, int]
    generator: nn.Module
    sigma: float


@dataclass(frozen=True, slots=True, eq=False)
class Painter:
    """The model of a patch, as far as it is learnt.

    Parameters
    ----------
    tint
        ``[2, 3]``: the colour that the first scale begins from, between nuclei and inside.
    scales
        The coarsest first.
    """

    tint: Tensor
    scales: tuple[Scale, ...] = ()

    def begun(self, mask: Tensor, size: tuple[int, int]) -> Tensor:
        """What the first scale adds to: masks ``[n, 1, h, w]`` in the two colours."""
        inside = shrunk(mask, size)
        between, nuclei = self.tint[:, :, None, None]
        painted: Tensor = inside * nuclei + (1 - inside) * between
        return painted

    @torch.no_grad()
    def rough(
        self, mask: Tensor, size: tuple[int, int], rng: torch.Generator | None = None
    ) -> Tensor:
        """Images of masks by all scales there are, enlarged to `size`."""
        image = None
        for i, scale in enumerate(self.scales):
            before = self._before(image, mask, scale.size)
            noise = noise_like(before, scale.sigma, first=i == 0, rng=rng)
            image = scale.generator(shrunk(mask, scale.size), noise, before)
        return self._before(image, mask, size)

    @torch.no_grad()
    def again(self, mask: Tensor, size: tuple[int, int], first: Tensor) -> Tensor:
        """The same of the patch's own mask, with noise at the first scale alone, always `first`."""
        image = None
        for i, scale in enumerate(self.scales):
            before = self._before(image, mask, scale.size)
            noise = first if i == 0 else torch.zeros_like(before)
            image = scale.generator(shrunk(mask, scale.size), noise, before)
        return self._before(image, mask, size)

    def _before(self, image: Tensor | None, mask: Tensor, size: tuple[int, int]) -> Tensor:
        if image is None:
            return self.begun(mask, size)
        if image.shape[2:] == size:
            return image
        return functional.interpolate(image, size, mode="bilinear", align_corners=False)


def shrunk(mask: Tensor, size: tuple[int, int]) -> Tensor:
    """A mask at a scale's size, of 0 and 1 still."""
    return functional.interpolate(mask, size, mode="nearest-exact")


def noise_like(before: Tensor, sigma: float, *, first: bool, rng: torch.Generator | None) -> Tensor:
    """Noise of a scale; at the first its three channels are the same."""
    shape = (len(before), 1 if first else 3, *before.shape[2:])
    drawn = torch.randn(shape, generator=rng).to(before.device)
    return sigma * drawn.expand_as(before)
