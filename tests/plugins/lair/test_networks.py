"""The detector is local, and the others have the shapes that the paper gives them."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from wsiproc.training.nets import aligned_margin  # noqa: E402
from wsiproc_lair.networks import Critic, Detector, Inception, Reconstruction  # noqa: E402


@pytest.mark.parametrize("poolings", [2, 3])
def test_a_pixel_of_an_aligned_window_looks_no_further_than_the_margin(poolings: int) -> None:
    torch.manual_seed(0)
    net = Detector(4, poolings).eval().double()
    for parameter in net.parameters():
        torch.nn.init.uniform_(parameter, 0.01, 0.1)  # so that no path is cut by a ReLU
    step, margin = net.step, aligned_margin(poolings)
    image = torch.rand(1, 3, 2 * step, 2 * margin + step).double().requires_grad_()
    said = net(image)[0, 0, step]
    for column in (margin, margin + step - 1):
        (grad,) = torch.autograd.grad(said[column], image, retain_graph=True)
        reached = grad.abs().sum((0, 1, 2))
        assert reached[column] > 0
        assert reached[0] == reached[-1] == 0, "so the window could end there"


def test_the_papers_detector_has_an_encoder_map_of_62_for_images_of_496() -> None:
    net = Detector(4, 3).eval()
    with torch.inference_mode():
        levels = net.encoded(torch.zeros(1, 3, 496, 496))
        assert levels[-1].shape == (1, 32, 62, 62)
        assert net.decoded(levels).shape == (1, 1, 496, 496)


def test_a_new_detector_takes_as_much_for_nuclei_as_there_is() -> None:
    torch.manual_seed(0)
    with torch.inference_mode():
        prob = torch.sigmoid(Detector(8, 2)(torch.rand(2, 3, 64, 64) * 2 - 1))
    assert 0.01 < float(prob.mean()) < 0.1


def test_a_discriminator_halves_an_image_five_times() -> None:
    assert Critic(4)(torch.zeros(2, 3, 96, 64)).shape == (2, 1, 3, 2)


def test_an_inception_block_sees_five_pixels_across_and_no_more() -> None:
    torch.manual_seed(0)
    image = torch.rand(1, 2, 11, 11).requires_grad_()
    Inception(2, 8).eval()(image)[0, :, 5, 5].sum().backward()
    assert image.grad is not None
    reached = image.grad.abs().sum((0, 1)).nonzero()
    assert int(reached.min()) >= 3
    assert int(reached.max()) <= 7


def test_an_image_is_painted_from_a_map_or_from_features() -> None:
    painted = Reconstruction(8)(torch.rand(2, 1, 32, 48)).detach()
    assert painted.shape == (2, 3, 32, 48)
    assert 0 <= float(painted.min()) <= float(painted.max()) <= 1
    assert Reconstruction(8, features=16, levels=2)(torch.rand(2, 16, 8, 12)).shape == painted.shape
