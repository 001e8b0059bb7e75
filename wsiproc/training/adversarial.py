"""Several networks that learn at once: with those that judge what they make, or from an average.

A step has two halves.  First the network that is kept and its partner go down their common loss,
while critics are frozen; then the critics learn to tell what these made, detached, from what is
real.  Each has its own optimiser.  Checkpoints, averages and checks are those of
`wsiproc.training.loop`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from wsiproc.methods import TrainingEvent
from wsiproc.training.descent import autocast, descend, device, groups
from wsiproc.training.loop import Batch, Fitted, drive
from wsiproc.training.settings import Schedule, rate


@dataclass(frozen=True, slots=True, eq=False)
class Players:
    """Who takes part in a step.

    Parameters
    ----------
    net
        The network that is kept.
    average
        The average of its weights up to now, in evaluation mode: a teacher.
    partner
        Learns with it and is not kept; empty where there is none.
    critics
        Judge what the two make; empty where there are none.
    """

    net: nn.Module
    average: nn.Module
    partner: nn.Module
    critics: nn.Module


@dataclass(frozen=True, slots=True)
class Play:
    """What several networks learn in one stage; see `wsiproc.training.loop.Stage`.

    Parameters
    ----------
    name, batch, check, better
        As in a `Stage`.
    loss
        Of the network and its partner on a batch at a step: ``loss``, which is gone down, beside
        whatever is to be on the curves; and what they made, for `criticise`.  Critics are frozen,
        and pass gradients on.
    criticise
        Of the critics: the loss by which they learn to judge what was made, which is detached.
        None where there are none.
    """

    name: str
    batch: Callable[[np.random.Generator], Batch]
    loss: Callable[
        [Players, Mapping[str, Tensor], int], tuple[Mapping[str, Tensor], Mapping[str, Tensor]]
    ]
    check: Callable[[nn.Module], Mapping[str, float]]
    better: tuple[str, bool] | None
    criticise: Callable[[nn.Module, Mapping[str, Tensor]], Tensor] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Rivals:
    """The networks beside the one that is kept, and how fast all learn (Adam).

    Parameters
    ----------
    partner, partner_lr
        Its highest rate; it follows the schedule's shape, as that of the critics does.
    critics, critics_lr
        The same.
    betas
        Of all optimisers.
    """

    partner: nn.Module = field(default_factory=nn.Identity)
    partner_lr: float = 1e-3
    critics: nn.Module = field(default_factory=nn.Identity)
    critics_lr: float = 1e-5
    betas: tuple[float, float] = (0.5, 0.999)


def fit_together(
    net: nn.Module,
    play: Play,
    rivals: Rivals,
    schedule: Schedule,
    *,
    folder: Path,
    seed: int,
    listener: Callable[[TrainingEvent], None],
    rate_of: Callable[[int, Schedule], float] = rate,
    save_seconds: float = 60.0,
) -> Fitted:
    """Train `net` beside its rivals, or go on, and return it at its best.

    Parameters
    ----------
    rate_of
        The kept network's rate at a step; those of the others keep their ratio to it.

    Raises
    ------
    StoreError
        If a checkpoint cannot be written, or the one found is damaged.
    FloatingPointError
        If the loss is no longer finite.
    """
    for each in (net, rivals.partner, rivals.critics):
        each.to(device(), memory_format=torch.channels_last)  # type: ignore[call-overload]
    return drive(
        _Together(net, play, rivals, schedule, rate_of),
        play,
        schedule,
        folder=folder,
        seed=seed,
        listener=listener,
        save_seconds=save_seconds,
    )


class _Together:
    """The learner of `fit_together`."""

    def __init__(
        self,
        net: nn.Module,
        play: Play,
        rivals: Rivals,
        schedule: Schedule,
        rate_of: Callable[[int, Schedule], float],
    ) -> None:
        self.net, self.play, self.schedule, self.rate_of = net, play, schedule, rate_of
        self.beside = {"partner": rivals.partner, "critics": rivals.critics}
        decay = {"net": schedule.weight_decay}
        self.lr = {"net": schedule.lr, "partner": rivals.partner_lr, "critics": rivals.critics_lr}
        self.optimisers = {
            name: torch.optim.AdamW(groups(player, decay.get(name, 0.0)), betas=rivals.betas)
            for name, player in {"net": net, **self.beside}.items()
            if any(p.requires_grad for p in player.parameters())
        }

    def learn(
        self, batch: Mapping[str, Tensor], average: nn.Module, step: int
    ) -> Mapping[str, float]:
        """Both halves of a step."""
        ratio = self.rate_of(step, self.schedule) / self.schedule.lr
        for name, optimiser in self.optimisers.items():
            for group in optimiser.param_groups:
                group["lr"] = self.lr[name] * ratio
        partner, critics = self.beside["partner"].train(), self.beside["critics"].train()
        critics.requires_grad_(False)
        with autocast():
            losses, made = self.play.loss(Players(self.net, average, partner, critics), batch, step)
        pairs = [
            (self.optimisers[name], player)
            for name, player in (("net", self.net), ("partner", partner))
            if name in self.optimisers
        ]
        descend(losses["loss"], pairs, self.schedule.clip)
        critics.requires_grad_(True)
        parts = {name: float(value.detach()) for name, value in losses.items()}
        if self.play.criticise is not None:
            with autocast():
                loss = self.play.criticise(critics, {k: v.detach() for k, v in made.items()})
            if loss.requires_grad:
                descend(loss, [(self.optimisers["critics"], critics)], self.schedule.clip)
            parts["loss_critics"] = float(loss.detach())
        return parts

    def state(self) -> dict[str, Any]:
        """The other networks, and all optimisers."""
        return {
            **{name: player.state_dict() for name, player in self.beside.items()},
            "optimisers": {name: each.state_dict() for name, each in self.optimisers.items()},
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """What `state` gave."""
        for name, player in self.beside.items():
            player.load_state_dict(state[name])
        for name, optimiser in self.optimisers.items():
            optimiser.load_state_dict(state["optimisers"][name])
