"""The file that is deployed says what torch says, or there is no file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")

from torch import nn  # noqa: E402

from wsiproc.card import Card, MaskPost, NucleusClass  # noqa: E402
from wsiproc.errors import ModelError  # noqa: E402
from wsiproc.model import load_model, open_session  # noqa: E402
from wsiproc.slide._drawn import draw_image  # noqa: E402
from wsiproc.stain import apply_stain  # noqa: E402
from wsiproc.training.export import Deployed, Head, covering, export, to_onnx  # noqa: E402
from wsiproc.training.nets import ResidualUNet, aligned_margin, as_input, predict  # noqa: E402

HEADS = {"prob": Head((0, 1), "sigmoid"), "centre": Head((1, 2), "sigmoid")}


def card(**changes) -> Card:
    fields = {
        "name": "tiny",
        "method": "unet",
        "kind": "mask",
        "mpp": 0.5,
        "step": 4,
        "windows": (128,),
        "margin": 24,
        "largest_nucleus_um": 20.0,
        "classes": (NucleusClass(name="nucleus", color=(0, 0, 0)),),
        "post": MaskPost(threshold=0.5, chosen_on="nothing"),
        "local": True,
    }
    return Card.model_validate({**fields, **changes})


@pytest.fixture(scope="module")
def net() -> ResidualUNet:
    torch.manual_seed(0)
    net = ResidualUNet(4, 2, 2)
    for block in net.modules():
        if isinstance(block, nn.BatchNorm2d):
            nn.init.uniform_(block.weight, 0.5, 1.5)
            nn.init.uniform_(block.running_mean, -0.2, 0.2)
            nn.init.uniform_(block.running_var, 0.5, 2.0)
    return net.eval()


@pytest.fixture(scope="module")
def tissue() -> np.ndarray:
    return draw_image(96, 80, seed=4, mpp=0.5)[0]


def test_the_margin_covers_the_receptive_field(net: ResidualUNet) -> None:
    assert (net.step, net.margin) == (4, 24)
    x = torch.zeros(1, 3, 64, 64)
    bumped = x.clone()
    bumped[..., 32, 32] = 1.0
    with torch.inference_mode():
        changed = (net(bumped) - net(x)).abs().amax((0, 1)) > 0
    rows = torch.nonzero(changed.any(1)).flatten()
    assert rows.min() >= 32 - net.margin
    assert rows.max() <= 32 + net.margin
    assert rows.max() - rows.min() > net.margin, "and not much more than that"


def test_a_filter_behind_the_network_costs_margin_only_where_it_reaches_further() -> None:
    assert [aligned_margin(3, after) for after in (0, 1, 2, 3, 8)] == [48, 48, 48, 56, 56]
    assert aligned_margin(2) == 24


def test_a_smoothed_map_is_the_mean_of_its_surroundings(
    net: ResidualUNet, tissue: np.ndarray
) -> None:
    smooth = {**HEADS, "centre": Head((1, 2), "sigmoid", smooth_px=3)}
    plain = Deployed(net, HEADS).maps(tissue, step=4, margin=24)
    maps = Deployed(net, smooth).maps(tissue, step=4, margin=24)
    assert maps["prob"].shape == maps["centre"].shape == (1, 80, 96)
    assert np.allclose(maps["prob"], plain["prob"], atol=1e-6)
    mean = plain["centre"][0, 40:43, 50:53].mean()
    assert maps["centre"][0, 41, 51] == pytest.approx(mean, abs=1e-6)


def test_past_its_edges_an_image_is_white(net: ResidualUNet) -> None:
    image = torch.from_numpy(draw_image(50, 42, seed=1, mpp=0.5)[0])
    white = torch.full((42 + 96, 50 + 96, 3), 255, dtype=torch.uint8)
    white[48:90, 48:98] = image
    wanted = net(as_input(white[None, :136, :144]))[0, :, 48:90, 48:98]
    said = predict(lambda x: net(as_input(x)), image, step=net.step, margin=48)
    assert torch.allclose(said, wanted, atol=1e-5)


def test_the_file_is_proven_and_carries_its_card(
    net: ResidualUNet, tissue: np.ndarray, tmp_path: Path
) -> None:
    exported = export(Deployed(net, HEADS), card(), tmp_path / "tiny.onnx", tissue)
    assert exported.difference < 1e-3
    assert exported.shift is not None
    assert exported.shift.local
    assert exported.shift.compared > 0
    model = load_model(str(exported.path))
    assert model.sha256 == exported.sha256
    assert model.card == card()
    assert [file.name for file in tmp_path.iterdir()] == ["tiny.onnx"]


def test_the_file_holds_nothing_of_the_machine(net: ResidualUNet, tmp_path: Path) -> None:
    data = to_onnx(Deployed(net, HEADS), card()).SerializeToString()
    assert str(Path(__file__).parents[2]).encode() not in data
    assert b".py" not in data


def test_a_margin_that_is_too_small_is_found_out(
    net: ResidualUNet, tissue: np.ndarray, tmp_path: Path
) -> None:
    with pytest.raises(ModelError, match="not local"):
        export(Deployed(net, HEADS), card(margin=4), tmp_path / "x.onnx", tissue)
    assert list(tmp_path.iterdir()) == []


class ByWindow(nn.Module):
    """Normalises by the whole window: what a model that is sold as local must not do."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x - x.mean((2, 3), keepdim=True))[:, :2]


def test_a_layer_that_looks_at_the_whole_window_is_found_out(
    tissue: np.ndarray, tmp_path: Path
) -> None:
    with pytest.raises(ModelError, match="not local"):
        export(Deployed(ByWindow(), HEADS), card(), tmp_path / "x.onnx", tissue)
    honest = export(Deployed(ByWindow(), HEADS), card(local=False), tmp_path / "x.onnx", tissue)
    assert honest.shift is None


def test_small_tissue_is_continued_by_its_mirror_image(tissue: np.ndarray) -> None:
    large = covering(tissue, 200)
    assert large.shape == (200, 200, 3)
    assert (large[:80, :96] == tissue).all()
    assert (large[80:100, :96] == tissue[:-21:-1]).all()


@pytest.mark.slow
def test_the_stain_input_does_in_the_file_what_the_engine_s_own_function_does(
    net: ResidualUNet, tissue: np.ndarray, tmp_path: Path
) -> None:
    deployed = Deployed(net, HEADS, stain=True)
    stained = card(stain_target=((0.65, 0.70, 0.29), (0.07, 0.99, 0.11)))
    export(deployed, stained, tmp_path / "tiny.onnx", tissue)
    model = load_model(str(tmp_path / "tiny.onnx"))
    matrix = np.array([[1.1, 0.1, 0], [0, 0.8, 0.05], [0.02, 0, 1.2]], np.float32)
    window = covering(tissue, 128)[:128, :128]
    session = open_session(model, device="cpu", window=128, batch=1)
    try:
        turned, plain = session.run(window[None], matrix), session.run(window[None])
    finally:
        session.close()
    with torch.inference_mode():
        wanted = torch.sigmoid(
            net(as_input(torch.from_numpy(apply_stain(window, matrix))[None]))
        ).numpy()
    assert np.abs(turned["prob"] - wanted[:, :1]).max() < 1e-3
    assert np.abs(turned["prob"] - plain["prob"]).max() > 0.01


def test_without_an_activation_a_map_is_what_the_network_says(
    net: ResidualUNet, tissue: np.ndarray
) -> None:
    image = torch.from_numpy(tissue[None, :64, :64])
    with torch.inference_mode():
        said = Deployed(net, {"prob": Head((0, 1), "none")})(image)[0]
        assert torch.equal(said, net(as_input(image))[:, :1])
