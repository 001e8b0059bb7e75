"""Learning the model of one patch, scale by scale."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from wsiproc.methods import TrainingEvent
from wsiproc.training.descent import device
from wsiproc.training.labels import resample_pixels
from wsiproc.training.loop import Batch, drive
from wsiproc.training.settings import Schedule
from wsiproc_label_efficient.config import SynthesisConfig
from wsiproc_label_efficient.gan import (
    BETWEEN,
    COMPONENTS,
    NUCLEI,
    WHOLE,
    Critic,
    Generator,
    Painter,
    Scale,
    criticise,
    deceive,
    noise_like,
    shrunk,
)
from wsiproc_label_efficient.masks import Labels

_SAVE_SECONDS = 30.0
_BETAS = (0.5, 0.999)


def sizes(shape: tuple[int, int], config: SynthesisConfig) -> tuple[tuple[int, int], ...]:
    """Height and width of each scale, the coarsest first, in equal ratios."""
    steps = max(1, config.scales - 1)
    factors = [config.coarsest ** ((config.scales - 1 - n) / steps) for n in range(config.scales)]
    return tuple((max(8, round(shape[0] * f)), max(8, round(shape[1] * f))) for f in factors)


def width_of(scale: int, config: SynthesisConfig) -> int:
    """Channels at a scale."""
    return min(config.widest, config.width << (scale // config.widen_every))


def learn_patch(
    pixels: NDArray[np.uint8],
    labels: Labels,
    masks: Sequence[Labels],
    config: SynthesisConfig,
    *,
    name: str,
    folder: Path,
    seed: int,
    listener: Callable[[TrainingEvent], None],
) -> Painter:
    """Learn to paint like ``pixels`` ``[h, w, 3]``, or go on at the scale where it was stopped.

    Parameters
    ----------
    labels
        The patch's own instances; negative is unknown, and taken for what lies between.
    masks
        Instances to paint, as large as the patch.
    name
        Of the patch, for progress and for its checkpoints in `folder`, one a scale.
    """
    torch.manual_seed(seed)
    mask, drawn = as_mask([labels]), as_mask(masks)
    painter = Painter(tint(as_image(pixels), mask, config))
    first: Tensor | None = None
    before: _Rivals | None = None
    for n, size in enumerate(sizes((labels.shape[0], labels.shape[1]), config)):
        real = as_image(resample_pixels(pixels, *size))
        sigma = config.first_noise
        if first is None:
            rng = torch.Generator().manual_seed(seed)
            first = noise_like(real, sigma, first=True, rng=rng)
        else:
            error = functional.mse_loss(painter.again(mask, size, first), real).item()
            sigma = config.noise * math.sqrt(error)
        sight = _Sight(painter, size, sigma, real, mask, drawn, first)
        rivals = _Rivals(sight, config, n, before)
        course = _Course(
            name=f"{name}-scale-{n}",
            batch=lambda rng: _batch(len(drawn), config, rng),
            check=rivals.check,
        )
        schedule = Schedule(
            steps=config.steps,
            batch=config.batch,
            lr=config.lr,
            ema=0.0,
            check_every=config.steps,
        )
        fitted = drive(
            rivals,
            course,
            schedule,
            folder=folder,
            seed=seed * 1009 + n,
            listener=listener,
            save_seconds=_SAVE_SECONDS,
        )
        scale = Scale(size, fitted.net.to(device()).eval(), sigma)
        painter = Painter(painter.tint, (*painter.scales, scale))
        before = rivals
    return painter


def tint(real: Tensor, mask: Tensor, config: SynthesisConfig) -> Tensor:
    """``[2, 3]``: mean colours of what lies between nuclei and of these, or none at all."""
    if not config.tinted:
        return real.new_zeros(2, 3)
    means = [(real * part).sum((0, 2, 3)) / part.sum().clamp(min=1) for part in (1 - mask, mask)]
    return torch.stack(means)


def as_image(pixels: NDArray[np.uint8]) -> Tensor:
    """``[h, w, 3]`` uint8 -> ``[1, 3, h, w]`` in [-1, 1]."""
    image = torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1)[None]
    return (image.float() / 127.5 - 1).to(device())


def as_pixels(image: Tensor) -> NDArray[np.uint8]:
    """The reverse of `as_image`, of ``[n, 3, h, w]``: ``[n, h, w, 3]``."""
    pixels: NDArray[np.uint8] = (
        ((image.clamp(-1, 1) + 1) * 127.5 + 0.5).byte().permute(0, 2, 3, 1).cpu().numpy()
    )
    return pixels


def as_mask(labels: Sequence[Labels]) -> Tensor:
    """Label maps -> ``[n, 1, h, w]`` of 0 and 1."""
    return torch.from_numpy(np.stack(labels)[:, None] > 0).float().to(device())


@dataclass(frozen=True, slots=True, eq=False)
class _Sight:
    """All that a scale is learnt from; masks are at the patch's size."""

    below: Painter
    size: tuple[int, int]
    sigma: float
    real: Tensor
    mask: Tensor
    drawn: Tensor
    first: Tensor


@dataclass(frozen=True, slots=True)
class _Course:
    """A scale, as `drive` sees it; what is learnt in it `_Rivals` knows.  The last weights stay."""

    name: str
    batch: Callable[[np.random.Generator], Batch]
    check: Callable[[nn.Module], Mapping[str, float]]
    better: None = None


class _Rivals:
    """Generator and critics of a scale: the learner of `wsiproc.training.loop.drive`."""

    def __init__(
        self, sight: _Sight, config: SynthesisConfig, scale: int, before: _Rivals | None
    ) -> None:
        self.sight, self.config = sight, config
        width = width_of(scale, config)
        names = COMPONENTS if config.how == "csingan" else (WHOLE,)
        norm = config.critic_norm == "batch"
        self.net: nn.Module = Generator(width, config.blocks)
        self.critics = nn.ModuleDict(
            {name: Critic(width, config.blocks, batch_norm=norm) for name in names}
        )
        if before is not None and width_of(scale - 1, config) == width:
            self.net.load_state_dict(before.net.state_dict())
            self.critics.load_state_dict(before.critics.state_dict())
        for each in (self.net, self.critics):
            each.to(device(), memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.weights = {
            WHOLE: config.whole_weight,
            NUCLEI: config.nuclei_weight,
            BETWEEN: config.between_weight,
        }
        self.optimisers = {
            "net": torch.optim.Adam(self.net.parameters(), config.lr, betas=_BETAS),
            "critics": torch.optim.Adam(self.critics.parameters(), config.lr, betas=_BETAS),
        }

    def learn(
        self, batch: Mapping[str, Tensor], average: nn.Module, step: int
    ) -> Mapping[str, float]:
        """Some steps of the critics, then one of the generator."""
        *others, own = batch["masks"]
        config, sight = self.config, self.sight
        real = sight.real, shrunk(sight.mask, sight.size)
        self.critics.requires_grad_(True)
        for i, chosen in enumerate(others):
            large, small, rough, noise = self._given(chosen)
            with torch.no_grad():
                fake = self.net(small, noise, rough)
            turn = (step * len(others) + i) % config.penalty_every == 0
            penalty = config.penalty * config.penalty_every if turn else 0.0
            loss = criticise(self.critics, self.weights, real, (fake, small), penalty)
            self._descend("critics", loss)
        self.critics.requires_grad_(False)
        large, small, rough, noise = self._given(own)
        # The patch itself is one more of the batch, so that normalisation sees what it will see.
        both = self.net(
            torch.cat([small, real[1]]),
            torch.cat([noise, self._own_noise()]),
            torch.cat([rough, self._own_rough()]),
        )
        made, again = both[: len(large)], both[len(large) :]
        deceived = deceive(self.critics, self.weights, made, small)
        error = functional.mse_loss(again, sight.real)
        total = deceived + config.reconstruction * error
        self._descend("net", total)
        judged = float(loss.detach())
        return {"loss": float(total.detach()), "mse": float(error.detach()), "critics": judged}

    def check(self, net: nn.Module) -> Mapping[str, float]:
        """How unlike the patch is what is made of its own mask."""
        small = shrunk(self.sight.mask, self.sight.size)
        again = net(small, self._own_noise(), self._own_rough())
        return {"rmse": math.sqrt(functional.mse_loss(again, self.sight.real).item())}

    def state(self) -> dict[str, Any]:
        """Critics, and both optimisers."""
        return {
            "critics": self.critics.state_dict(),
            "optimisers": {name: each.state_dict() for name, each in self.optimisers.items()},
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """What `state` gave."""
        self.critics.load_state_dict(state["critics"])
        for name, optimiser in self.optimisers.items():
            optimiser.load_state_dict(state["optimisers"][name])

    def _given(self, chosen: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Masks at the patch's size and at the scale's, and what is painted on, and noise."""
        sight = self.sight
        large = sight.drawn[chosen]
        rough = sight.below.rough(large, sight.size)
        noise = noise_like(rough, sight.sigma, first=not sight.below.scales, rng=None)
        return large, shrunk(large, sight.size), rough, noise

    def _own_rough(self) -> Tensor:
        sight = self.sight
        return sight.below.again(sight.mask, sight.size, sight.first)

    def _own_noise(self) -> Tensor:
        return torch.zeros_like(self.sight.real) if self.sight.below.scales else self.sight.first

    def _descend(self, name: str, loss: Tensor) -> None:
        optimiser = self.optimisers[name]
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()


def _batch(masks: int, config: SynthesisConfig, rng: np.random.Generator) -> Batch:
    return {"masks": rng.integers(masks, size=(config.critic_steps + 1, config.batch))}
