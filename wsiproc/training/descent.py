"""One step of an optimiser: where, in which precision, and which weights decay."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn


def device() -> torch.device:
    """Where networks learn: the first GPU, where there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def autocast() -> AbstractContextManager[Any]:
    """bfloat16 where the hardware multiplies it (1.8 times float32's speed on AVX-512 BF16); on
    other CPUs it is slower than float32."""
    kind = device().type
    fast = kind == "cuda" or any(
        getattr(torch.cpu, supported, bool)()
        for supported in ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
    )
    return torch.autocast(kind, torch.bfloat16) if fast else nullcontext()


def groups(net: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Weights decay; biases and the scales of normalisation don't."""
    parameters = [p for p in net.parameters() if p.requires_grad]
    return [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]


def descend(
    loss: Tensor, learning: Sequence[tuple[torch.optim.Optimizer, nn.Module]], clip: float
) -> None:
    """One step down `loss`, with the gradient of each network at most `clip` long."""
    for optimiser, _ in learning:
        optimiser.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    for optimiser, net in learning:
        nn.utils.clip_grad_norm_(net.parameters(), clip)
        optimiser.step()
