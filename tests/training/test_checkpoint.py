"""What a training leaves on disk is whole, and belongs to that training alone."""

from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from wsiproc.errors import ConfigError, StoreError  # noqa: E402
from wsiproc.methods import MethodConfig, TrainingInputs  # noqa: E402
from wsiproc.slide._drawn_dataset import drawn_dataset  # noqa: E402
from wsiproc.training import checkpoint  # noqa: E402


class Config(MethodConfig):
    width: int = 8


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return drawn_dataset(tmp_path_factory.mktemp("d") / "drawn", train=1, val=1, size=64)


def test_the_same_training_is_gone_on_with(data: Path, tmp_path: Path) -> None:
    inputs = TrainingInputs((data,), tmp_path / "out")
    assert checkpoint.claim("unet", Config(), inputs) is False
    assert checkpoint.claim("unet", Config(), inputs) is True


def test_how_many_threads_learn_does_not_make_another_training(data: Path, tmp_path: Path) -> None:
    checkpoint.claim("unet", Config(), TrainingInputs((data,), tmp_path))
    assert checkpoint.claim("unet", Config(), TrainingInputs((data,), tmp_path, threads=1))


@pytest.mark.parametrize("what", ["method", "config", "seed", "data"])
def test_another_training_is_refused(data: Path, tmp_path: Path, what: str) -> None:
    out = tmp_path / "out"
    checkpoint.claim("unet", Config(), TrainingInputs((data,), out))
    other = drawn_dataset(tmp_path / "other", train=1, val=1, size=64, seed=1)
    with pytest.raises(ConfigError, match=f"another {what}; choose another --out"):
        checkpoint.claim(
            "mcf" if what == "method" else "unet",
            Config(width=16) if what == "config" else Config(),
            TrainingInputs((other if what == "data" else data,), out, seed=int(what == "seed")),
        )


def test_nothing_of_the_machine_is_written_down(data: Path, tmp_path: Path) -> None:
    checkpoint.claim("unet", Config(), TrainingInputs((data,), tmp_path))
    assert str(data.parent) not in (tmp_path / checkpoint.IDENTITY).read_text()


def test_a_file_is_there_whole_or_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "state.pt"
    checkpoint.save(path, {"step": 1})

    def full(fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(StoreError, match="No space left"):
        checkpoint.save(path, {"step": 2})
    assert checkpoint.load(path) == {"step": 1}


def test_a_checkpoint_cannot_run_code(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self):
            return Path.touch, (tmp_path / "sprung",)

    torch.save({"step": Trap()}, tmp_path / "state.pt")
    with pytest.raises(StoreError, match="damaged"):
        checkpoint.load(tmp_path / "state.pt")
    assert not (tmp_path / "sprung").exists()


def test_no_checkpoint_is_no_error(tmp_path: Path) -> None:
    assert checkpoint.load(tmp_path / "state.pt") is None
