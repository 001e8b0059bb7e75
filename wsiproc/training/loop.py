"""The loop that all methods share: optimise, average, check, remember, go on.

One call of `fit` is one stage of a training.  A step's batch comes from a generator seeded by
(seed, step), so that a stage that was killed and gone on with sees the batches it would have seen.
`drive` is the loop itself, for what learns otherwise than by one loss of one network
(`wsiproc.training.adversarial`).
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from wsiproc.methods import TrainingChecked, TrainingEvent, TrainingResumed, TrainingStep
from wsiproc.training import checkpoint
from wsiproc.training.descent import autocast, descend, device, groups
from wsiproc.training.settings import Schedule, rate

Batch = Mapping[str, np.ndarray[Any, Any]]


@dataclass(frozen=True, slots=True)
class Stage:
    """What one stage of a training learns, and where it keeps its state.

    Parameters
    ----------
    name
        For progress, and the name of its checkpoint.
    batch
        The arrays of a step, from that step's own generator.
    loss
        Of the network on a batch of tensors.
    check
        Measures a network; called with the averaged weights, in evaluation mode.
    better
        Which of `check`'s numbers chooses, and whether more of it is better; None: the last
        weights are kept, for methods whose labels are too few to choose by.
    """

    name: str
    batch: Callable[[np.random.Generator], Batch]
    loss: Callable[[nn.Module, Mapping[str, Tensor]], Tensor]
    check: Callable[[nn.Module], Mapping[str, float]]
    better: tuple[str, bool] | None


class Course(Protocol):
    """What `drive` has to know of a stage; see `Stage`, which is one."""

    @property
    def name(self) -> str: ...
    @property
    def batch(self) -> Callable[[np.random.Generator], Batch]: ...
    @property
    def check(self) -> Callable[[nn.Module], Mapping[str, float]]: ...
    @property
    def better(self) -> tuple[str, bool] | None: ...


class Learner(Protocol):
    """Who takes the steps of a stage, and what they need beyond the network that is kept."""

    @property
    def net(self) -> nn.Module:
        """What is averaged, checked and kept."""

    def learn(
        self, batch: Mapping[str, Tensor], average: nn.Module, step: int
    ) -> Mapping[str, float]:
        """Take one step; `average` is that of the steps before.

        Returns the ``loss``, and whatever else is to be on the curves.
        """

    def state(self) -> dict[str, Any]:
        """What a checkpoint holds besides the network and its average."""

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a checkpoint, which has what `state` gave."""


@dataclass(frozen=True, slots=True)
class Fitted:
    """The network at its best, and how it got there.

    `history` has a row a validation: step, loss, seconds and what `check` measured.
    """

    net: nn.Module
    step: int
    history: tuple[Mapping[str, float], ...]


def fit(
    net: nn.Module,
    stage: Stage,
    schedule: Schedule,
    *,
    folder: Path,
    seed: int,
    listener: Callable[[TrainingEvent], None],
    betas: tuple[float, float] = (0.9, 0.999),
    rate_of: Callable[[int, Schedule], float] = rate,
    save_seconds: float = 60.0,
) -> Fitted:
    """Train `net` (AdamW, one cycle), or go on training it, and return it at its best.

    Parameters
    ----------
    betas
        Of the optimiser.
    rate_of
        The rate of a step.

    Raises
    ------
    StoreError
        If a checkpoint cannot be written, or the one found is damaged.
    FloatingPointError
        If the loss is no longer finite.
    """
    net = net.to(device(), memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimiser = torch.optim.AdamW(groups(net, schedule.weight_decay), betas=betas)
    return drive(
        Alone(net, stage, schedule, optimiser, rate_of),
        stage,
        schedule,
        folder=folder,
        seed=seed,
        listener=listener,
        save_seconds=save_seconds,
    )


def drive(
    learner: Learner,
    course: Course,
    schedule: Schedule,
    *,
    folder: Path,
    seed: int,
    listener: Callable[[TrainingEvent], None],
    save_seconds: float = 60.0,
) -> Fitted:
    """Let `learner` take all steps of `course`, or those that are left; see `fit`.

    Its networks are on `device` already.
    """
    net = learner.net
    average = copy.deepcopy(net).eval()
    path = folder / f"{course.name}.pt"
    state = _restore(path, learner, average, seed)
    step, began, saved = state.step, time.monotonic(), time.monotonic()
    first = step
    if step:
        listener(TrainingResumed(course.name, step, schedule.steps))
    while step < schedule.steps:
        arrays = course.batch(np.random.default_rng((seed, step)))
        batch = {name: torch.from_numpy(array).to(device()) for name, array in arrays.items()}
        net.train()
        parts = learner.learn(batch, average, step)
        step += 1
        _blend(average, net, _keep(schedule.ema, step))
        value = parts["loss"]
        if not math.isfinite(value):
            raise FloatingPointError(f"the loss of step {step} is {value}: lower the rate")
        state.losses.append(dict(parts))
        seconds = time.monotonic() - began
        left = seconds / (step - first) * (schedule.steps - step)
        listener(TrainingStep(course.name, step, schedule.steps, value, left))
        checked = None
        if step % schedule.check_every == 0 or step == schedule.steps:
            checked = _check(course, state, average, step)
        if checked or time.monotonic() - saved > save_seconds:
            _save(path, state, learner, average, step)
            saved = time.monotonic()
        if checked:
            listener(checked)
    average.load_state_dict(state.best)
    return Fitted(average.cpu().eval(), state.best_step, tuple(state.history))


class Alone:
    """One network, one loss, one optimiser: the learner of `fit`.

    Parameters
    ----------
    net, stage, schedule
        As `fit` has them.
    optimiser
        Of `net`; a group of its parameters may say how much ``faster`` than the rate it goes.
    rate_of
        The rate of a step.
    """

    def __init__(
        self,
        net: nn.Module,
        stage: Stage,
        schedule: Schedule,
        optimiser: torch.optim.Optimizer,
        rate_of: Callable[[int, Schedule], float],
    ) -> None:
        self.net, self.stage, self.schedule = net, stage, schedule
        self.optimiser, self.rate_of = optimiser, rate_of

    def learn(
        self, batch: Mapping[str, Tensor], average: nn.Module, step: int
    ) -> Mapping[str, float]:
        """See `Learner`."""
        for group in self.optimiser.param_groups:
            group["lr"] = self.rate_of(step, self.schedule) * group.get("faster", 1.0)
        with autocast():
            loss = self.stage.loss(self.net, batch)
        descend(loss, [(self.optimiser, self.net)], self.schedule.clip)
        return {"loss": float(loss.detach())}

    def state(self) -> dict[str, Any]:
        """See `Learner`."""
        return {"optimiser": self.optimiser.state_dict()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """See `Learner`."""
        self.optimiser.load_state_dict(state["optimiser"])


def masked_mean(values: Tensor, known: Tensor) -> Tensor:
    """Mean of `values` over where `known` is true; 0 where nothing is."""
    weight = known.to(values.dtype)
    return (values * weight).sum() / weight.sum().clamp(min=1.0)


@dataclass(slots=True)
class _State:
    step: int
    best: dict[str, Tensor]
    best_step: int
    best_value: float
    history: list[dict[str, float]]
    losses: list[dict[str, float]]


def _restore(path: Path, learner: Learner, average: nn.Module, seed: int) -> _State:
    found = checkpoint.load(path)
    if found is None:
        torch.manual_seed(seed)
        return _State(0, copy.deepcopy(average.state_dict()), 0, math.nan, [], [])
    learner.net.load_state_dict(found["net"])
    average.load_state_dict(found["average"])
    learner.restore(found)
    torch.set_rng_state(found["rng"])
    return _State(**{name: found[name] for name in _State.__slots__})


def _save(path: Path, state: _State, learner: Learner, average: nn.Module, step: int) -> None:
    state.step = step
    checkpoint.save(
        path,
        {
            **{name: getattr(state, name) for name in _State.__slots__},
            **learner.state(),
            "net": learner.net.state_dict(),
            "average": average.state_dict(),
            "rng": torch.get_rng_state(),
        },
    )


def _check(course: Course, state: _State, average: nn.Module, step: int) -> TrainingChecked:
    with torch.inference_mode():
        metrics = dict(course.check(average))
    value = float(step)
    if course.better is not None:
        name, more = course.better
        value = metrics[name] if more else -metrics[name]
    best = math.isnan(state.best_value) or value >= state.best_value
    if best:
        state.best, state.best_step = copy.deepcopy(average.state_dict()), step
        state.best_value = value
    mean = {
        name: sum(parts[name] for parts in state.losses) / len(state.losses)
        for name in state.losses[0]
    }
    state.losses.clear()
    state.history.append({"step": float(step), **mean, **metrics})
    return TrainingChecked(course.name, step, metrics, best)


def _keep(ema: float, step: int) -> float:
    """The average forgets faster at first, so as not to remember the random beginning."""
    return min(ema, step / (step + 9))


@torch.no_grad()
def _blend(average: nn.Module, net: nn.Module, keep: float) -> None:
    for mean, new in zip(average.state_dict().values(), net.state_dict().values(), strict=True):
        if mean.dtype.is_floating_point:
            mean.mul_(keep).add_(new, alpha=1 - keep)
        else:
            mean.copy_(new)
