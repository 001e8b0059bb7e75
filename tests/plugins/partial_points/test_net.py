"""The network is ResNet-34 by name and number, and sees no further than its margin."""

from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from wsiproc.errors import ConfigError  # noqa: E402
from wsiproc.training.nets import parameters  # noqa: E402
from wsiproc_partial_points.config import PRESETS  # noqa: E402
from wsiproc_partial_points.net import (  # noqa: E402
    ResUNet,
    exact_margin,
    load_encoder,
    pixel_statistics,
)

PAPER = PRESETS["paper"]


def _net(channels: tuple[int, ...], blocks: tuple[int, ...], stride: int) -> ResUNet:
    torch.manual_seed(0)
    return ResUNet(channels, blocks, stem_stride=stride, outputs=2).eval()


def _resnet34() -> ResUNet:
    return _net(PAPER.channels, PAPER.blocks, PAPER.stem_stride)


def test_the_papers_encoder_is_resnet_34() -> None:
    encoder = _resnet34().encoder
    assert parameters(encoder) == 21_284_672, "ResNet-34 without its last, fully connected layer"
    names = set(encoder.state_dict())
    assert {
        "conv1.weight",
        "bn1.running_var",
        "layer1.2.conv2.weight",
        "layer2.0.downsample.0.weight",
        "layer2.0.downsample.1.bias",
        "layer3.5.bn1.weight",
        "layer4.2.bn2.num_batches_tracked",
    } <= names
    assert "layer1.0.downsample.0.weight" not in names


def test_a_file_of_weights_is_taken_without_its_classifier(tmp_path: Path) -> None:
    given = {name: torch.randn_like(v.float()) for name, v in _resnet34().encoder.state_dict().items()}
    torch.save({**given, "fc.weight": torch.zeros(1000, 512)}, tmp_path / "resnet34.pth")
    net = _resnet34()
    load_encoder(net, tmp_path / "resnet34.pth")
    assert torch.equal(net.encoder.state_dict()["layer3.4.conv1.weight"], given["layer3.4.conv1.weight"])


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    torch.save(_net((8, 16), (1, 1), 2).encoder.state_dict(), tmp_path / "small.pth")
    with pytest.raises(ConfigError, match="does not fit"):
        load_encoder(_resnet34(), tmp_path / "small.pth")
    (tmp_path / "text.pth").write_text("weights")
    with pytest.raises(ConfigError, match="no file of weights"):
        load_encoder(_resnet34(), tmp_path / "text.pth")


@pytest.mark.parametrize(
    ("blocks", "stride"), [((1,), 1), ((2,), 2), ((1, 2), 1), ((2, 1), 2), ((1, 1, 2), 1)]
)
def test_within_its_margin_a_window_says_what_a_larger_image_says(
    blocks: tuple[int, ...], stride: int
) -> None:
    net = _net((4, 6, 8)[: len(blocks)], blocks, stride).double()
    for module in net.modules():  # so that nothing that is seen is lost
        if isinstance(module, torch.nn.ReLU):
            module.inplace = False
    margin, step = net.margin, net.step
    edge = 2 * margin + 2 * step
    image = torch.rand(1, 3, edge + 2 * margin, edge + 2 * margin).double() * 2 - 1
    with torch.inference_mode():
        whole = net(image)[..., margin:-margin, margin:-margin]
        apart = (net(image[..., margin:-margin, margin:-margin]) - whole).abs().amax((0, 1))
    assert apart[margin:-margin, margin:-margin].max() < 1e-12
    smaller = margin - step
    assert smaller == 0 or apart[smaller : edge - smaller, smaller : edge - smaller].max() > 1e-9


def test_the_margins_of_the_presets_fit_their_windows() -> None:
    for preset in PRESETS.values():
        margin = exact_margin(preset.blocks, preset.stem_stride, after=4)
        assert 2 * margin < min(preset.windows)


@pytest.mark.parametrize("stride", [1, 2])
def test_what_comes_out_is_as_large_as_what_goes_in(stride: int) -> None:
    net = _net((4, 6), (1, 1), stride)
    assert net(torch.zeros(1, 3, 3 * net.step, 2 * net.step)).shape[2:] == (3 * net.step, 2 * net.step)


def test_images_are_brought_to_mean_0_and_deviation_1_inside_the_network() -> None:
    generator = torch.Generator().manual_seed(3)
    images = [
        torch.randint(low, 256, (20, 30, 3), dtype=torch.uint8, generator=generator)
        for low in (0, 120)
    ]
    mean, std = pixel_statistics(images)
    values = torch.cat([image.reshape(-1, 3) for image in images]).double() / 127.5 - 1
    assert torch.allclose(torch.tensor(mean).double(), values.mean(0), atol=1e-6)
    assert torch.allclose(torch.tensor(std).double(), values.std(0, correction=0), atol=1e-6)
    net = _net((4,), (1,), 1)
    x = torch.rand(1, 3, 8, 8)
    plain = net((x - torch.tensor(mean).reshape(3, 1, 1)) / torch.tensor(std).reshape(3, 1, 1))
    net.normalise(mean, std)
    assert torch.allclose(net(x), plain, atol=1e-5)
