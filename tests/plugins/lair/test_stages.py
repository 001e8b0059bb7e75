"""Reconstruction teaches the detector, every switch does what it says, and a kill loses nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from wsiproc.methods import TrainingEvent, TrainingInputs, TrainingStep  # noqa: E402
from wsiproc.slide._drawn_dataset import drawn_dataset  # noqa: E402
from wsiproc.training.adversarial import Players  # noqa: E402
from wsiproc_lair.config import PRESETS, LAIRConfig  # noqa: E402
from wsiproc_lair.images import Images, see  # noqa: E402
from wsiproc_lair.networks import Detector, Reconstruction  # noqa: E402
from wsiproc_lair.stages import criticising, joining, paper_rate, reconstructed, rivals  # noqa: E402
from wsiproc_lair.train import train  # noqa: E402

SHORT = {"steps": 4, "batch": 2, "crop_px": 32, "check_every": 2}
TINY = LAIRConfig.model_validate(
    {
        **PRESETS["smoke"].model_dump(),
        "labelled": 2,
        "width": 4,
        "critic_width": 4,
        "pretrain": SHORT,
        "joint": SHORT,
        "instance_threshold": 0.02,
        "least_peak": 0.0,
        "windows": (128,),
    }
)


def changed(**changes: object) -> LAIRConfig:
    return LAIRConfig.model_validate({**TINY.model_dump(), **changes})


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return drawn_dataset(tmp_path_factory.mktemp("data") / "drawn", train=4, val=1, size=96)


@pytest.fixture(scope="module")
def images(data: Path) -> Images:
    return see(TINY, TrainingInputs((data,), data))


def players(config: LAIRConfig) -> Players:
    torch.manual_seed(1)
    net, beside = Detector(config.width, config.poolings), rivals(config)
    return Players(net, Detector(config.width, config.poolings), beside.partner, beside.critics)


def drawn(config: LAIRConfig, images: Images, step: int = 0) -> dict[str, torch.Tensor]:
    beliefs = [np.ones(f.pixels.shape[:2], np.uint8) for f in images.unlabelled]
    play = joining(config, images, lambda net: {}, beliefs)
    batch = play.batch(np.random.default_rng((3, step)))
    return {name: torch.from_numpy(array) for name, array in batch.items()}


def first_layer(net: nn.Module) -> torch.Tensor:
    return next(iter(net.parameters()))


@pytest.mark.parametrize("sparsify", ["peaks", "stamped", "maxpool"])
def test_the_reconstruction_loss_reaches_the_detectors_first_layer(
    images: Images, sparsify: str
) -> None:
    config = changed(sparsify=sparsify, use_dimg=False, use_dins=False)
    all_ = players(config)
    _, parts, _ = reconstructed(all_, drawn(config, images), config)
    (grad,) = torch.autograd.grad(parts["loss_reconstruction"], first_layer(all_.net))
    assert float(grad.abs().max()) > 0


@pytest.mark.parametrize("part", ["loss_deceiving", "loss_deceiving_instances"])
def test_so_do_the_losses_of_both_discriminators(images: Images, part: str) -> None:
    all_ = players(TINY)
    _, parts, _ = reconstructed(all_, drawn(TINY, images), TINY)
    (grad,) = torch.autograd.grad(parts[part], first_layer(all_.net))
    assert float(grad.abs().max()) > 0


def test_from_features_it_reaches_the_encoder_and_leaves_the_decoder_alone(
    images: Images,
) -> None:
    config = changed(rec_input="features", use_dimg=False, use_dins=False)
    all_ = players(config)
    assert isinstance(all_.net, Detector)
    _, parts, _ = reconstructed(all_, drawn(config, images), config)
    parts["loss_reconstruction"].backward()
    assert first_layer(all_.net).grad.abs().max() > 0
    assert all_.net.head.weight.grad is None


def test_discriminators_learn_from_images_that_carry_no_gradient_back(images: Images) -> None:
    all_ = players(TINY)
    _, _, made = reconstructed(all_, drawn(TINY, images), TINY)
    criticising(all_.critics, {name: tensor.detach() for name, tensor in made.items()}).backward()
    assert all(p.grad is not None for p in all_.critics.parameters())
    assert all(p.grad is None for p in all_.net.parameters())


def test_switches_take_networks_and_losses_away(images: Images) -> None:
    for switches, critics, losses in (
        ({}, {"img", "ins"}, {"loss_deceiving", "loss_deceiving_instances"}),
        ({"use_dins": False}, {"img"}, {"loss_deceiving"}),
        ({"use_dimg": False}, {"ins"}, {"loss_deceiving_instances"}),
        ({"use_dimg": False, "use_dins": False}, set(), set()),
    ):
        config = changed(**switches)
        all_ = players(config)
        assert isinstance(all_.critics, nn.ModuleDict)
        assert set(all_.critics) == critics
        play = joining(config, images, lambda net: {})
        parts, _ = play.loss(all_, drawn(config, images), 0)
        assert set(parts) == {"loss", "loss_points", "loss_reconstruction", *losses}
        assert (play.criticise is None) == (not critics)
    config = changed(use_rec=False)
    assert not isinstance(players(config).partner, Reconstruction)
    parts, _ = joining(config, images, lambda net: {}).loss(
        players(config), drawn(config, images), 0
    )
    assert set(parts) == {"loss", "loss_points"}


def test_alpha_beta_and_lambda_weigh_the_parts(images: Images) -> None:
    config = changed(reconstruction_weight=2.0, adversarial_weight=3.0, instance_weight=5.0)
    total, parts, _ = reconstructed(players(config), drawn(config, images), config)
    printed = 2 * parts["loss_reconstruction"] + 3 * (
        parts["loss_deceiving"] + 5 * parts["loss_deceiving_instances"]
    )
    assert float(total.detach()) == pytest.approx(float(printed.detach()))


def test_given_the_colour_a_crop_without_structure_costs_nothing(images: Images) -> None:
    level = {"image": torch.zeros(0), "plain": torch.full((2, 32, 32, 3), 200, dtype=torch.uint8)}
    level["unlabelled"] = level["plain"]
    switched_off = {"use_dimg": False, "use_dins": False, "least_peak": 0.9}
    costs = []
    for given in (True, False):
        config = changed(given_colour=given, **switched_off)
        all_ = players(config)
        all_.partner.eval()
        nn.init.zeros_(all_.partner.head.weight)
        _, parts, _ = reconstructed(all_, level, config)
        costs.append(float(parts["loss_reconstruction"].detach()))
    assert costs[0] < 1e-6
    assert costs[1] > 0.1


def test_weights_of_what_is_learnt_without_points_rise(images: Images) -> None:
    config = changed(ramp=1.0, use_dimg=False, use_dins=False)
    play = joining(config, images, lambda net: {})
    shares = []
    for step in range(4):
        parts, _ = play.loss(players(config), drawn(config, images), step)
        more = parts["loss"] - parts["loss_points"]
        shares.append(float((more / (0.1 * parts["loss_reconstruction"])).detach()))
    assert shares == pytest.approx([0.25, 0.5, 0.75, 1.0], rel=1e-3)


def test_all_strategies_see_the_same_crops_with_points(images: Images) -> None:
    for step in range(2):
        seen = [
            drawn(changed(strategy=strategy), images, step)
            for strategy in ("supervised", "lair", "self_training", "mean_teacher")
        ]
        for other in seen[1:]:
            assert torch.equal(other["image"], seen[0]["image"])
            assert torch.equal(other["target"], seen[0]["target"])
        assert "unlabelled" not in seen[0]


def test_a_student_that_is_its_teacher_is_not_corrected(images: Images) -> None:
    config = changed(strategy="mean_teacher")
    all_ = players(config)
    net = all_.net.eval()
    same = Players(net, net, all_.partner, all_.critics)
    tensors = drawn(config, images)
    tensors["again"] = tensors["unlabelled"]
    tensors["turns"] = torch.zeros(1, dtype=torch.int64)
    play = joining(config, images, lambda net: {})
    for flip in (0, 1):
        tensors["flip"] = torch.tensor([flip])
        parts, _ = play.loss(same, tensors, 0)
        assert float(parts["loss_teacher"].detach()) < (1e-10 if not flip else 1.0)
    parts, _ = play.loss(all_, tensors, 0)
    assert float(parts["loss_teacher"].detach()) > 0


def test_the_papers_rates_are_level_and_then_a_tenth() -> None:
    schedule = PRESETS["paper"].joint
    rates = [paper_rate(step, schedule, falling=True) for step in (0, 300, 2999, 3000, 6999)]
    assert rates == pytest.approx([5e-6, 1e-3, 1e-3, 1e-4, 1e-4])
    assert paper_rate(6999, schedule, falling=False) == pytest.approx(1e-3)


class KilledError(Exception):
    pass


def weights(out: Path, stage: str) -> dict[str, torch.Tensor]:
    state = torch.load(out / f"{stage}.pt", weights_only=True)
    parts = [state["net"], state["average"]]
    parts += [state[name] for name in ("partner", "critics") if name in state]
    return {f"{i}.{name}": t for i, part in enumerate(parts) for name, t in part.items()}


@pytest.mark.slow
@pytest.mark.parametrize(
    "strategy",
    [
        "lair",
        *(
            pytest.param(other, marks=pytest.mark.variants)
            for other in ("supervised", "self_training", "mean_teacher")
        ),
    ],
)
def test_killed_at_any_stage_it_ends_in_the_same_weights(
    data: Path, tmp_path: Path, strategy: str
) -> None:
    config = changed(strategy=strategy)
    train(config, TrainingInputs((data,), tmp_path / "whole", threads=1))
    for stage in ("pretrain", "joint"):

        def kill(event: TrainingEvent, stage: str = stage) -> None:
            if isinstance(event, TrainingStep) and event.stage == stage and event.step == 3:
                raise KilledError

        with pytest.raises(KilledError):
            train(config, TrainingInputs((data,), tmp_path / "parts", threads=1, listener=kill))
    train(config, TrainingInputs((data,), tmp_path / "parts", threads=1))
    for stage in ("pretrain", "joint"):
        whole, parts = (weights(tmp_path / name, stage) for name in ("whole", "parts"))
        assert whole.keys() == parts.keys()
        assert all(torch.equal(whole[name], parts[name]) for name in whole)


@pytest.mark.slow
@pytest.mark.parametrize(
    "switches",
    [
        {"rec_input": "features"},
        {"use_dimg": False, "instance_mask": "own", "adversarial": "saturating"},
        {"sparsify": "stamped", "rates": "steps"},
        {"labelled": None, "smooth_um": 0.0},
    ],
    ids=["features", "own masks", "stamped", "all labelled"],
)
def test_every_switch_trains_to_its_end(
    data: Path, tmp_path: Path, switches: dict[str, object]
) -> None:
    (path,) = train(changed(**switches), TrainingInputs((data,), tmp_path / "out", threads=1))
    assert path.is_file()
