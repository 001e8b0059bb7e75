"""A training that is killed goes on as if it had not been."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from wsiproc.errors import StoreError  # noqa: E402
from wsiproc.methods import TrainingChecked, TrainingEvent, TrainingResumed  # noqa: E402
from wsiproc.training.loop import Stage, fit, masked_mean  # noqa: E402
from wsiproc.training.settings import Schedule, rate  # noqa: E402

SCHEDULE = Schedule(steps=30, batch=4, lr=0.05, check_every=10, ema=0.9)


def line() -> Stage:
    """Learn y = 3 x - 1."""

    def batch(rng: np.random.Generator) -> dict[str, np.ndarray]:
        x = rng.random((16, 1)).astype(np.float32)
        return {"x": x, "y": 3 * x - 1}

    def loss(net: nn.Module, tensors) -> torch.Tensor:
        return (net(tensors["x"]) - tensors["y"]).square().mean()

    def check(net: nn.Module) -> dict[str, float]:
        assert not net.training
        x = torch.linspace(0, 1, 9)[:, None]
        return {"val_loss": float((net(x) - 3 * x + 1).square().mean())}

    return Stage("line", batch, loss, check, better=("val_loss", False))


def net() -> nn.Module:
    torch.manual_seed(7)
    return nn.Sequential(nn.Linear(1, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 1))


class KilledError(Exception):
    pass


def learn(folder: Path, *, until: int = 10**9, save_seconds: float = 0.0, schedule=SCHEDULE):
    events: list[TrainingEvent] = []

    def hear(event: TrainingEvent) -> None:
        events.append(event)
        if getattr(event, "step", 0) >= until:
            raise KilledError

    fitted = fit(
        net(), line(), schedule, folder=folder, seed=1, listener=hear, save_seconds=save_seconds
    )
    return fitted, events


def test_it_learns_and_keeps_the_best(tmp_path: Path) -> None:
    longer = SCHEDULE.model_copy(update={"steps": 200, "check_every": 20})
    fitted, events = learn(tmp_path, schedule=longer)
    losses = [row["val_loss"] for row in fitted.history]
    assert losses[-1] < losses[0] / 5
    best = min(fitted.history, key=lambda row: row["val_loss"])
    assert fitted.step == best["step"]
    assert any(isinstance(e, TrainingChecked) and e.best for e in events)
    with torch.inference_mode():
        assert line().check(fitted.net)["val_loss"] == pytest.approx(best["val_loss"])


def test_stopped_and_gone_on_with_it_ends_in_the_same_weights(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    whole, _ = learn(tmp_path / "a")
    with pytest.raises(KilledError):
        learn(tmp_path / "b", until=17)
    rest, events = learn(tmp_path / "b")
    assert isinstance(events[0], TrainingResumed)
    assert events[0].step == 16
    for ours, theirs in zip(
        rest.net.state_dict().values(), whole.net.state_dict().values(), strict=True
    ):
        assert torch.equal(ours, theirs)
    assert rest.history == whole.history


def test_a_finished_training_is_not_done_again(tmp_path: Path) -> None:
    first, _ = learn(tmp_path)
    again, events = learn(tmp_path)
    assert [type(e) for e in events] == [TrainingResumed]
    assert again.history == first.history


def test_kill_9_while_checkpoints_are_written_leaves_one_that_loads(tmp_path: Path) -> None:
    code = (
        "import sys; sys.path.insert(0, sys.argv[2]); import test_loop; from pathlib import Path;"
        "s = test_loop.SCHEDULE.model_copy(update={'steps': 10**6});"
        "test_loop.learn(Path(sys.argv[1]), schedule=s)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path), str(Path(__file__).parent)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    try:
        deadline = time.monotonic() + 60
        while not (tmp_path / "line.pt").exists():
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.02)
        time.sleep(0.3)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    longer = SCHEDULE.model_copy(update={"steps": 10**6})
    with pytest.raises(KilledError):
        learn(tmp_path, schedule=longer, until=1)  # the first event is that it goes on
    assert torch.load(tmp_path / "line.pt", weights_only=True)["step"] > 0


def test_a_damaged_checkpoint_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "line.pt").write_bytes(b"half of a checkpo")
    with pytest.raises(StoreError, match=r"line\.pt is damaged; remove it"):
        learn(tmp_path)


def test_a_loss_that_is_no_number_is_loud(tmp_path: Path) -> None:
    wild = SCHEDULE.model_copy(update={"lr": 1e30, "clip": 1e30})
    with pytest.raises(FloatingPointError, match="lower the rate"):
        learn(tmp_path, schedule=wild)


def test_the_rate_rises_then_falls_to_nothing() -> None:
    rates = [rate(step, SCHEDULE) for step in range(SCHEDULE.steps)]
    top = rates.index(max(rates))
    assert max(rates) <= SCHEDULE.lr
    assert rates[: top + 1] == sorted(rates[: top + 1])
    assert rates[top:] == sorted(rates[top:], reverse=True)
    assert rates[-1] < SCHEDULE.lr / 50


def test_what_is_unknown_does_not_weigh() -> None:
    values, known = torch.tensor([1.0, 3.0, 1e9]), torch.tensor([True, True, False])
    assert float(masked_mean(values, known)) == 2
    assert float(masked_mean(values, torch.zeros(3, dtype=torch.bool))) == 0
