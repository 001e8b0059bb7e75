"""Several networks learn at once, each from its own loss, and go on as if never stopped."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import Tensor, nn  # noqa: E402

from wsiproc.methods import TrainingEvent, TrainingResumed  # noqa: E402
from wsiproc.training.adversarial import Play, Players, Rivals, fit_together  # noqa: E402
from wsiproc.training.settings import Schedule  # noqa: E402

SCHEDULE = Schedule(steps=24, lr=0.02, check_every=8, ema=0.9)


class KilledError(Exception):
    pass


def batch(rng: np.random.Generator) -> dict[str, np.ndarray]:
    return {"x": rng.normal(size=(32, 2)).astype(np.float32)}


def loss(
    players: Players, tensors: Mapping[str, Tensor], step: int
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The partner undoes what the network does; the critic is to take the result for real."""
    made = players.partner(players.net(tensors["x"]))
    assert not any(p.requires_grad for p in players.critics.parameters())
    apart = (made - tensors["x"]).abs().mean()
    fooled = nn.functional.softplus(players.critics(made)).mean()
    return {"loss": apart + 0.1 * fooled, "loss_apart": apart}, {
        "real": tensors["x"],
        "made": made,
    }


def criticise(critics: nn.Module, made: Mapping[str, Tensor]) -> Tensor:
    assert not any(tensor.requires_grad for tensor in made.values())
    soft = nn.functional.softplus
    return soft(critics(made["real"])).mean() + soft(-critics(made["made"])).mean()


def check(net: nn.Module) -> dict[str, float]:
    assert not net.training
    return {"val_loss": float(net(torch.ones(1, 2)).square().mean())}


PLAY = Play("play", batch, loss, check, None, criticise)


def players() -> tuple[nn.Module, Rivals]:
    torch.manual_seed(3)
    net, partner, critics = nn.Linear(2, 2), nn.Linear(2, 2), nn.Linear(2, 1)
    return net, Rivals(partner, 0.05, critics, 0.01)


def learn(folder: Path, *, until: int = 10**9, play: Play = PLAY):
    events: list[TrainingEvent] = []

    def hear(event: TrainingEvent) -> None:
        events.append(event)
        if getattr(event, "step", 0) >= until:
            raise KilledError

    net, rivals = players()
    fitted = fit_together(
        net, play, rivals, SCHEDULE, folder=folder, seed=1, listener=hear, save_seconds=0.0
    )
    return fitted, rivals, events


def test_all_of_them_learn_and_every_part_is_on_the_curves(tmp_path: Path) -> None:
    begun = players()[1]
    fitted, rivals, _ = learn(tmp_path)
    for before, after in ((begun.partner, rivals.partner), (begun.critics, rivals.critics)):
        assert not torch.equal(next(before.parameters()), next(after.parameters()))
    first, last = fitted.history[0], fitted.history[-1]
    assert last["loss_apart"] < first["loss_apart"]
    assert {"step", "loss", "loss_apart", "loss_critics", "val_loss"} == set(last)


def test_stopped_and_gone_on_with_all_end_in_the_same_weights(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    whole, rivals, _ = learn(tmp_path / "a")
    with pytest.raises(KilledError):
        learn(tmp_path / "b", until=13)
    rest, again, events = learn(tmp_path / "b")
    assert isinstance(events[0], TrainingResumed)
    for ours, theirs in (
        (rest.net, whole.net),
        (again.partner, rivals.partner),
        (again.critics, rivals.critics),
    ):
        for a, b in zip(ours.state_dict().values(), theirs.state_dict().values(), strict=True):
            assert torch.equal(a, b)
    assert rest.history == whole.history


def test_without_critics_and_partner_a_network_learns_from_its_own_average(tmp_path: Path) -> None:
    def follow(
        players: Players, tensors: Mapping[str, Tensor], step: int
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        assert not players.average.training
        with torch.no_grad():
            wanted = players.average(tensors["x"])
        return {"loss": (players.net(-tensors["x"]) - wanted).square().mean()}, {}

    torch.manual_seed(3)
    fitted = fit_together(
        nn.Linear(2, 2),
        Play("follow", batch, follow, check, None),
        Rivals(),
        SCHEDULE,
        folder=tmp_path,
        seed=1,
        listener=lambda event: None,
    )
    assert fitted.history[-1]["loss"] < fitted.history[0]["loss"]
