"""The conditional SinGAN: what its generators and critics are taught by."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from torch import Tensor, nn  # noqa: E402

from wsiproc_label_efficient.config import SynthesisConfig  # noqa: E402
from wsiproc_label_efficient.gan import (  # noqa: E402
    BETWEEN,
    COMPONENTS,
    NUCLEI,
    WHOLE,
    Critic,
    Generator,
    Painter,
    Scale,
    component,
    criticise,
    deceive,
    opinion,
    steepness,
)
from wsiproc_label_efficient.painting import sizes, tint  # noqa: E402

EVEN = dict.fromkeys(COMPONENTS, 1.0)


def critics(*names: str) -> nn.ModuleDict:
    torch.manual_seed(1)
    return nn.ModuleDict({name: Critic(6, 3, batch_norm=False) for name in names})


def scene(n: int = 2, edge: int = 24) -> tuple[Tensor, Tensor]:
    """Images and masks, the nuclei a block in the middle."""
    torch.manual_seed(0)
    mask = torch.zeros(n, 1, edge, edge)
    mask[:, :, 6:14, 6:14] = 1
    return torch.rand(n, 3, edge, edge) * 2 - 1, mask


@pytest.mark.parametrize("name", COMPONENTS)
def test_the_generator_learns_from_each_critic(name: str) -> None:
    """In the paper's public code images pass through uint8 before two of the three see them."""
    generator, (before, mask) = Generator(6, 3), scene()
    fake = generator(mask, torch.zeros_like(before), before)
    deceive(critics(name), EVEN, fake, mask).backward()
    slopes = [p.grad.abs().sum() for p in generator.parameters() if p.grad is not None]
    assert len(slopes) == len(list(generator.parameters()))
    assert all(slope > 0 for slope in slopes[:1] + slopes[-2:])


def test_what_all_three_say_adds_up_by_their_weights() -> None:
    image, mask = scene()
    weights = {WHOLE: 0.5, NUCLEI: 2.0, BETWEEN: 3.0}
    judges = critics(*COMPONENTS)
    parts = [
        weights[name] * opinion(judges[name], component(name, image, mask)) for name in COMPONENTS
    ]
    assert deceive(judges, weights, image, mask).item() == pytest.approx(-sum(parts).item())


def test_a_component_s_critic_sees_nothing_else_and_no_one_asks_it_of_anything_else() -> None:
    image, mask = scene()
    other = torch.where(mask > 0, image, torch.rand_like(image))
    judge = critics(NUCLEI)[NUCLEI]
    same = [opinion(judge, component(NUCLEI, each, mask)) for each in (image, other)]
    assert same[0] == same[1]

    class OneInside(nn.Module):
        def forward(self, _image: Tensor) -> Tensor:
            return mask * 3 + (1 - mask) * 100

    assert opinion(OneInside(), component(NUCLEI, image, mask)).item() == pytest.approx(3)
    assert opinion(OneInside(), component(BETWEEN, image, mask)).item() == pytest.approx(100)


def test_a_patch_without_nuclei_has_an_opinion_of_nothing() -> None:
    image, mask = scene()
    judges = critics(*COMPONENTS)
    none = torch.zeros_like(mask)
    loss = criticise(judges, EVEN, (image[:1], none[:1]), (image, none), 0.1)
    assert torch.isfinite(loss)
    assert opinion(judges[NUCLEI], component(NUCLEI, image, none)) == 0


def test_the_penalty_is_the_slope_s_distance_from_one() -> None:
    """A critic that is linear has the same slope everywhere."""

    class Linear(nn.Module):
        def forward(self, image: Tensor) -> Tensor:
            return image.sum(1, keepdim=True) * 2

    image, mask = scene()
    true, made = component(WHOLE, image[:1], mask[:1]), component(WHOLE, -image, mask)
    said = steepness(Linear(), true, made)
    assert said.item() == pytest.approx((2 * 3**0.5 - 1) ** 2, rel=1e-4)


def test_critics_are_not_bounded() -> None:
    judge = critics(WHOLE)[WHOLE]
    image, _ = scene(1)
    near, far = judge(image).abs().max(), judge(1000 * image).abs().max()
    assert far > 100 * near


def test_critics_that_learn_come_to_prefer_what_is_real() -> None:
    judges = critics(*COMPONENTS)
    image, mask = scene(1)
    real, fake = image.clamp(min=0.2), -image.clamp(min=0.2)
    optimiser = torch.optim.Adam(judges.parameters(), 5e-3, betas=(0.5, 0.999))
    for _ in range(30):
        optimiser.zero_grad()
        criticise(judges, EVEN, (real, mask), (fake, mask), 0.1).backward()
        optimiser.step()
    for name, judge in judges.items():
        better = opinion(judge, component(name, real, mask))
        assert better > opinion(judge, component(name, fake, mask)) + 0.1


def test_scales_rise_in_equal_ratios_to_the_patch_s_own_size() -> None:
    config = SynthesisConfig(scales=5, coarsest=0.5)
    assert sizes((256, 256), config) == tuple((n, n) for n in (128, 152, 181, 215, 256))
    assert sizes((96, 64), SynthesisConfig(scales=1)) == ((96, 64),)


def test_the_first_scale_begins_from_the_two_colours_or_from_nothing() -> None:
    image, mask = scene(1)
    image = torch.where(mask > 0, -0.5, 0.25).expand_as(image)
    colours = tint(image, mask, SynthesisConfig())
    torch.testing.assert_close(Painter(colours).rough(mask, (24, 24)), image)
    assert not tint(image, mask, SynthesisConfig(tinted=False)).any()


def test_what_is_painted_follows_its_seed_and_what_is_repainted_has_no_chance_in_it() -> None:
    _, mask = scene(1)
    torch.manual_seed(0)
    scales = tuple(Scale((n, n), Generator(6, 3).eval(), 1.0) for n in (12, 24))
    painter = Painter(torch.zeros(2, 3), scales)
    drawn = [
        painter.rough(mask, (24, 24), torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)
    ]
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
    first = torch.randn(1, 3, 12, 12)
    torch.testing.assert_close(
        painter.again(mask, (24, 24), first), painter.again(mask, (24, 24), first)
    )
