"""The two stages: from points alone, then beside images without (sec. III-C, IV-A)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from wsiproc.card import Card
from wsiproc.training.adversarial import Play, Players, Rivals
from wsiproc.training.choose import judge, measure, with_post
from wsiproc.training.export import Deployed
from wsiproc.training.labels import odd_px
from wsiproc.training.loop import Batch, Stage
from wsiproc.training.nets import as_input
from wsiproc.training.settings import Schedule, rate
from wsiproc_lair.config import LAIRConfig
from wsiproc_lair.images import Images, believed, with_points, without_points
from wsiproc_lair.losses import (
    deceiving,
    detection_loss,
    instance_mask,
    judged_made,
    judged_real,
    sparse,
)
from wsiproc_lair.networks import Critic, Detector, Reconstruction

Check = Callable[[nn.Module], Mapping[str, float]]
Parts = dict[str, Tensor]

BETAS = (0.5, 0.999)
"""Of all of Adam's moments (sec. IV-A)."""
_THRESHOLDS = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)
"""Tried at each check, so that a network is chosen by its best F1 and not by its calibration."""
_WARM_UP = 200
"""Steps of the paper's rates that rise: at 0.01 Adam's first steps lead nowhere good."""
_LEVEL = 3 / 7
"""Part of the paper's second stage before its rate falls (30 of 70 epochs)."""


def pretraining(config: LAIRConfig, images: Images, check: Check) -> Stage:
    """The detector learns from points alone."""

    def batch(rng: np.random.Generator) -> Batch:
        return with_points(images.labelled, rng, config.pretrain, config)

    def loss(net: nn.Module, tensors: Mapping[str, Tensor]) -> Tensor:
        return _from_points(net, tensors, config)

    return Stage("pretrain", batch, loss, check, better=("f1", True))


def joining(
    config: LAIRConfig,
    images: Images,
    check: Check,
    beliefs: Sequence[NDArray[np.uint8]] = (),
) -> Play:
    """The second stage.  Its crops with points are the same whatever the strategy.

    Parameters
    ----------
    beliefs
        ``self_training``: of each unlabelled image (`wsiproc_lair.images.certain`).
    """
    schedule = config.joint

    def batch(rng: np.random.Generator) -> Batch:
        drawn = with_points(images.labelled, rng, schedule, config)
        if config.strategy == "self_training":
            return {**drawn, **believed(images.unlabelled, beliefs, rng, schedule, config)}
        if config.strategy == "mean_teacher":
            stains = ("unlabelled", "again")
            more = without_points(images.unlabelled, rng, schedule, config, stains)
            return {**drawn, **more, "turns": rng.integers(0, 4, 1), "flip": rng.integers(0, 2, 1)}
        if config.strategy == "lair" and config.use_rec:
            more = without_points(images.unlabelled, rng, schedule, config, ("unlabelled",))
            return {**drawn, **more}
        return drawn

    def loss(players: Players, tensors: Mapping[str, Tensor], step: int) -> tuple[Parts, Parts]:
        risen = min(1.0, (step + 1) / max(1.0, config.ramp * schedule.steps))
        det = _from_points(players.net, tensors, config)
        parts: Parts = {"loss_points": det}
        made: Parts = {}
        more = det.new_zeros(())
        if config.strategy == "self_training":
            logits = players.net(as_input(tensors["unlabelled"]))
            more = parts["loss_believed"] = detection_loss(
                logits, tensors["believed"], config.positive_weight
            )
        elif config.strategy == "mean_teacher":
            more = parts["loss_teacher"] = _apart_from_teacher(players, tensors)
            more = config.consistency_weight * more
        elif config.strategy == "lair" and config.use_rec:
            more, painted, made = reconstructed(players, tensors, config)
            parts.update(painted)
        return {"loss": det + risen * more, **parts}, made

    judged = config.strategy == "lair" and config.use_rec and (config.use_dimg or config.use_dins)
    return Play("joint", batch, loss, check, ("f1", True), criticising if judged else None)


def rivals(config: LAIRConfig) -> Rivals:
    """Who learns beside the detector in the second stage."""
    if config.strategy != "lair" or not config.use_rec:
        return Rivals(betas=BETAS)
    deepest = config.width * 2**config.poolings if config.rec_input == "features" else 0
    levels = config.poolings if deepest else 3
    names = [n for n, used in (("img", config.use_dimg), ("ins", config.use_dins)) if used]
    return Rivals(
        partner=Reconstruction(config.reconstruction_width, deepest, levels),
        partner_lr=config.reconstruction_lr,
        critics=nn.ModuleDict({name: Critic(config.critic_width) for name in names}),
        critics_lr=config.critics_lr,
        betas=BETAS,
    )


def reconstructed(
    players: Players, tensors: Mapping[str, Tensor], config: LAIRConfig
) -> tuple[Tensor, Parts, Parts]:
    """What images without points cost (eq. 2 to 4 without L_det).

    Gradients pass through the reconstruction and the thinned map into the detector.

    Returns
    -------
    alpha L_1 + beta L_adv; its parts; and what `criticising` needs.
    """
    image = tensors["plain"].permute(0, 3, 1, 2).float() / 255
    prob, painted = paint(players.net, players.partner, as_input(tensors["unlabelled"]), config)
    if config.given_colour:
        painted = painted + (image - painted).mean((2, 3), keepdim=True)
    apart = (painted - image).abs().mean()
    parts: Parts = {"loss_reconstruction": apart}
    total = config.reconstruction_weight * apart
    critics = players.critics
    made: Parts = {"image": image, "painted": painted}
    saturating = config.adversarial == "saturating"
    if config.use_dimg:
        assert isinstance(critics, nn.ModuleDict)
        fooled = parts["loss_deceiving"] = deceiving(critics["img"](painted), None, saturating)
        total = total + config.adversarial_weight * fooled
    if config.use_dins:
        assert isinstance(critics, nn.ModuleDict)
        edge = odd_px(config.instance_um, config.mpp)
        here = there = instance_mask(prob, config.instance_threshold, edge)
        if config.instance_mask == "own":
            with torch.no_grad():
                again = torch.sigmoid(players.net(painted * 2 - 1))
            there = instance_mask(again, config.instance_threshold, edge)
        some = (there.amax((1, 2, 3)) > 0).float()
        made |= {"here": here, "there": there}
        fooled = deceiving(critics["ins"](painted * there), some, saturating)
        parts["loss_deceiving_instances"] = fooled
        total = total + config.adversarial_weight * config.instance_weight * fooled
    return total, parts, made


def paint(
    net: nn.Module, partner: nn.Module, image: Tensor, config: LAIRConfig
) -> tuple[Tensor, Tensor]:
    """Probabilities ``[n, 1, h, w]`` of an image, and what is painted, ``[n, 3, h, w]``."""
    assert isinstance(net, Detector)
    levels = net.encoded(image)
    prob = torch.sigmoid(net.decoded(levels).float())
    if config.rec_input == "features":
        return prob, partner(levels[-1]).float()
    edge = odd_px(config.sparsify_um, config.mpp)
    return prob, partner(sparse(prob, config.sparsify, edge, config.least_peak)).float()


def criticising(critics: nn.Module, made: Mapping[str, Tensor]) -> Tensor:
    """The discriminators' own loss: images are real, what is painted is not."""
    assert isinstance(critics, nn.ModuleDict)
    total = made["image"].new_zeros(())
    if "img" in critics:
        critic = critics["img"]
        total = total + judged_real(critic(made["image"])) + judged_made(critic(made["painted"]))
    if "ins" in critics:
        critic = critics["ins"]
        for image, mask, judged in (
            (made["image"], made["here"], judged_real),
            (made["painted"], made["there"], judged_made),
        ):
            some = (mask.amax((1, 2, 3)) > 0).float()
            total = total + judged(critic(image * mask), some)
    return total


def checking(images: Images, deploy: Callable[[nn.Module], Deployed], card: Card) -> Check:
    """F1 on val at the best of a few thresholds, and the loss there."""

    def check(net: nn.Module) -> dict[str, float]:
        found = judge(deploy(net), card, (field.annotated() for field in images.fields.check))
        scores = [measure(with_post(card, {"threshold": t}), found) for t in _THRESHOLDS]
        best = max(scores, key=lambda score: np.nan_to_num(score["f1"], nan=-1.0))
        return {name: float(np.nan_to_num(value)) for name, value in best.items()}

    return check


def paper_rate(step: int, schedule: Schedule, *, falling: bool) -> float:
    """The paper's: level, and a tenth for the last four sevenths of the second stage."""
    if falling and step >= _LEVEL * schedule.steps:
        return schedule.lr / 10
    return schedule.lr * min(1.0, (step + 1) / _WARM_UP)


def rate_of(config: LAIRConfig, *, falling: bool) -> Callable[[int, Schedule], float]:
    """How the rates of a stage change."""
    if config.rates == "cycle":
        return rate
    return lambda step, schedule: paper_rate(step, schedule, falling=falling)


def _from_points(net: nn.Module, tensors: Mapping[str, Tensor], config: LAIRConfig) -> Tensor:
    logits = net(as_input(tensors["image"]))
    return detection_loss(logits, tensors["target"], config.positive_weight)


def _apart_from_teacher(players: Players, tensors: Mapping[str, Tensor]) -> Tensor:
    """Mean squared difference of probabilities; the student's crops are turned and stained
    otherwise, and what it says is turned back."""
    turns, flip = int(tensors["turns"]), bool(tensors["flip"])
    with torch.no_grad():
        wanted = torch.sigmoid(players.average(as_input(tensors["again"])).float())
    image = as_input(tensors["unlabelled"]).rot90(turns, (2, 3))
    said = players.net(image.flip(3) if flip else image)
    said = (said.flip(3) if flip else said).rot90(-turns, (2, 3))
    return functional.mse_loss(torch.sigmoid(said.float()), wanted)
