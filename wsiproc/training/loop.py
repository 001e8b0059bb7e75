"""The loop that all methods share: optimise, average, check, remember, go on.

One call of `fit` is one stage of a training.  A step's batch comes from a generator seeded by
(seed, step), so that a stage that was killed and gone on with sees the batches it would have seen.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from wsiproc.methods import (
    TrainingChecked,
    TrainingEvent,
    TrainingResumed,
    TrainingStep,
)
from wsiproc.training import checkpoint
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
    save_seconds: float = 60.0,
) -> Fitted:
    """Train `net` (AdamW, one cycle), or go on training it, and return it at its best.

    Raises
    ------
    StoreError
        If a checkpoint cannot be written, or the one found is damaged.
    FloatingPointError
        If the loss is no longer finite.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    net = net.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    average = copy.deepcopy(net).eval()
    optimiser = torch.optim.AdamW(_groups(net, schedule.weight_decay), lr=schedule.lr)
    path = folder / f"{stage.name}.pt"
    state = _restore(path, net, average, optimiser, seed)
    step, began, saved = state.step, time.monotonic(), time.monotonic()
    first = step
    if step:
        listener(TrainingResumed(stage.name, step, schedule.steps))
    while step < schedule.steps:
        for group in optimiser.param_groups:
            group["lr"] = rate(step, schedule)
        arrays = stage.batch(np.random.default_rng((seed, step)))
        batch = {name: torch.from_numpy(array).to(device) for name, array in arrays.items()}
        net.train()
        with _autocast(device):
            loss = stage.loss(net, batch)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(net.parameters(), schedule.clip)
        optimiser.step()
        step += 1
        _blend(average, net, _keep(schedule.ema, step))
        value = float(loss.detach())
        if not math.isfinite(value):
            raise FloatingPointError(f"the loss of step {step} is {value}: lower the rate")
        state.losses.append(value)
        seconds = time.monotonic() - began
        left = seconds / (step - first) * (schedule.steps - step)
        listener(TrainingStep(stage.name, step, schedule.steps, value, left))
        checked = None
        if step % schedule.check_every == 0 or step == schedule.steps:
            checked = _check(stage, state, average, step)
        if checked or time.monotonic() - saved > save_seconds:
            _save(path, state, net, average, optimiser, step)
            saved = time.monotonic()
        if checked:
            listener(checked)
    average.load_state_dict(state.best)
    return Fitted(average.cpu().eval(), state.best_step, tuple(state.history))


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
    losses: list[float]


def _restore(
    path: Path, net: nn.Module, average: nn.Module, optimiser: torch.optim.Optimizer, seed: int
) -> _State:
    found = checkpoint.load(path)
    if found is None:
        torch.manual_seed(seed)
        return _State(0, copy.deepcopy(average.state_dict()), 0, math.nan, [], [])
    net.load_state_dict(found["net"])
    average.load_state_dict(found["average"])
    optimiser.load_state_dict(found["optimiser"])
    torch.set_rng_state(found["rng"])
    return _State(**{name: found[name] for name in _State.__slots__})


def _save(
    path: Path,
    state: _State,
    net: nn.Module,
    average: nn.Module,
    optimiser: torch.optim.Optimizer,
    step: int,
) -> None:
    state.step = step
    checkpoint.save(
        path,
        {
            **{name: getattr(state, name) for name in _State.__slots__},
            "net": net.state_dict(),
            "average": average.state_dict(),
            "optimiser": optimiser.state_dict(),
            "rng": torch.get_rng_state(),
        },
    )


def _check(stage: Stage, state: _State, average: nn.Module, step: int) -> TrainingChecked:
    with torch.inference_mode():
        metrics = dict(stage.check(average))
    value = float(step)
    if stage.better is not None:
        name, more = stage.better
        value = metrics[name] if more else -metrics[name]
    best = math.isnan(state.best_value) or value >= state.best_value
    if best:
        state.best, state.best_step = copy.deepcopy(average.state_dict()), step
        state.best_value = value
    mean = sum(state.losses) / len(state.losses)
    state.losses.clear()
    state.history.append({"step": float(step), "loss": mean, **metrics})
    return TrainingChecked(stage.name, step, metrics, best)


def _groups(net: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Weights decay; biases and the scales of normalisation don't."""
    parameters = [p for p in net.parameters() if p.requires_grad]
    return [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]


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


def _autocast(device: torch.device) -> AbstractContextManager[Any]:
    """bfloat16 where the hardware multiplies it (1.8 times float32's speed on AVX-512 BF16); on
    other CPUs it is slower than float32."""
    fast = device.type == "cuda" or any(
        getattr(torch.cpu, supported, bool)()
        for supported in ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
    )
    return torch.autocast(device.type, torch.bfloat16) if fast else nullcontext()
