"""Networks of the kind hover are local, and are proven and chosen for like those of masks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")

from torch import nn  # noqa: E402

from wsiproc.card import Card, HoverPost, NucleusClass  # noqa: E402
from wsiproc.errors import ModelError  # noqa: E402
from wsiproc.model import load_model  # noqa: E402
from wsiproc.slide._drawn import draw_image  # noqa: E402
from wsiproc.training.choose import Judged, choose, measure  # noqa: E402
from wsiproc.training.export import Deployed, export  # noqa: E402
from wsiproc.training.hover import hover_targets  # noqa: E402
from wsiproc.training.hover_nets import HEADS, HoverUNet  # noqa: E402
from wsiproc.training.labels import foreground  # noqa: E402
from wsiproc.training.nets import ResidualUNet, parameters  # noqa: E402


def card(**changes: object) -> Card:
    fields = {
        "name": "tiny",
        "method": "x",
        "kind": "hover",
        "mpp": 0.5,
        "step": 4,
        "windows": (128,),
        "margin": 24,
        "largest_nucleus_um": 25.0,
        "classes": (NucleusClass(name="nucleus", color=(0, 0, 0)),),
        "post": HoverPost(chosen_on="nothing"),
        "local": True,
    }
    return Card.model_validate({**fields, **changes})


@pytest.fixture(scope="module")
def net() -> HoverUNet:
    """With random weights, none of them 0."""
    torch.manual_seed(0)
    net = HoverUNet(4, 2)
    for block in net.modules():
        if isinstance(block, nn.BatchNorm2d):
            nn.init.uniform_(block.weight, 0.5, 1.5)
            nn.init.uniform_(block.running_mean, -0.2, 0.2)
            nn.init.uniform_(block.running_var, 0.5, 2.0)
    return net.eval()


@pytest.fixture(scope="module")
def tissue() -> np.ndarray:
    return draw_image(96, 80, seed=4, mpp=0.5)[0]


def test_the_file_has_both_maps_is_torchs_and_local(
    net: HoverUNet, tissue: np.ndarray, tmp_path: Path
) -> None:
    exported = export(Deployed(net, HEADS), card(), tmp_path / "tiny.onnx", tissue)
    assert exported.difference < 1e-3
    assert exported.shift is not None
    assert exported.shift.local
    assert exported.shift.compared > 0
    assert load_model(str(exported.path)).card.kind == "hover"


def test_a_margin_that_is_too_small_is_found_out(
    net: HoverUNet, tissue: np.ndarray, tmp_path: Path
) -> None:
    assert net.margin == 24
    with pytest.raises(ModelError, match="not local"):
        export(Deployed(net, HEADS), card(margin=8), tmp_path / "tiny.onnx", tissue)
    assert not list(tmp_path.iterdir())


def test_two_decoders_cost_what_the_supervised_u_net_does() -> None:
    assert parameters(HoverUNet(20, 3)) < parameters(ResidualUNet(24, 3, 2)) < 2.5e6


def _ideal(seed: int) -> Judged:
    """What a perfect network would say, made less bold: .1 outside, .7 inside."""
    _, labels = draw_image(192, 192, seed=seed, mpp=0.5, density_per_mm2=3500)
    maps = {"np": 0.1 + 0.6 * foreground(labels)[None], "hv": hover_targets(labels)[0]}
    return Judged({name: each.astype(np.float32) for name, each in maps.items()}, 0.5, labels)


def test_targets_decoded_are_the_nuclei_that_they_were_drawn_from() -> None:
    scores = measure(card(), [_ideal(3), _ideal(4)])
    assert scores["aji"] > 0.9
    assert scores["f1"] > 0.95


def test_constants_that_find_nothing_are_left() -> None:
    wrong = card(post=HoverPost(threshold=0.9, chosen_on="x val"))
    ideal = [_ideal(3)]
    assert measure(wrong, ideal)["f1"] == 0
    best, scores = choose(wrong, ideal, {"threshold": (0.8, 0.5)}, by=("aji", "f1"))
    assert isinstance(best.post, HoverPost)
    assert best.post.threshold == 0.5
    assert scores["aji"] > 0.9
