"""What is unknown teaches nothing; the module is where the public code has it, and small."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("wsiproc.training.vision", exc_type=ImportError)

from torch import Tensor  # noqa: E402

from wsiproc.training.mask_rcnn import MaskRCNN, as_images  # noqa: E402
from wsiproc.training.mask_rcnn_windows import WindowDetector  # noqa: E402
from wsiproc.training.nets import as_input, parameters  # noqa: E402
from wsiproc_exemplar.attention import DecomposedAttention  # noqa: E402
from wsiproc_exemplar.config import PRESETS, ExemplarConfig  # noqa: E402
from wsiproc_exemplar.net import ExemplarNet  # noqa: E402
from wsiproc_exemplar.stage import rate, steep  # noqa: E402

SMOKE = PRESETS["smoke"]
SEEN = (40.0, 40.0, 60.0, 60.0)


def network(config: ExemplarConfig = SMOKE) -> ExemplarNet:
    torch.manual_seed(0)
    return ExemplarNet(config, (20.0, 20.0)).train()


def target(*, complete: bool = False, boxes: list[list[float]], seen: list[list[float]]) -> dict:
    masks = torch.zeros(len(boxes), 96, 96, dtype=torch.bool)
    for mask, (x0, y0, x1, y1) in zip(masks, boxes, strict=True):
        mask[int(y0) : int(y1), int(x0) : int(x1)] = True
    return {
        "boxes": torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        "labels": torch.ones(len(boxes), dtype=torch.int64),
        "masks": masks,
        "complete": torch.tensor(complete),
        "seen": torch.tensor(seen, dtype=torch.float32).reshape(-1, 4),
    }


def anchors_of(net: ExemplarNet) -> Tensor:
    levels = [torch.zeros(1, 1, 96 // s, 96 // s) for s in SMOKE.net.strides]
    (anchors,) = net.rpn.anchor_generator(as_images(torch.zeros(1, 3, 96, 96)), levels)
    return anchors


def overlap(anchors: Tensor, box: tuple[float, ...]) -> Tensor:
    """Intersection over union, written out."""
    low = torch.maximum(anchors[:, :2], torch.tensor(box[:2]))
    high = torch.minimum(anchors[:, 2:], torch.tensor(box[2:]))
    both = (high - low).clamp(min=0).prod(1)
    area = (anchors[:, 2:] - anchors[:, :2]).prod(1)
    return both / (area + (box[2] - box[0]) * (box[3] - box[1]) - both)


def test_anchors_on_an_unannotated_nucleus_that_is_seen_are_no_background() -> None:
    net = network()
    anchors = anchors_of(net)
    given = [[8.0, 8.0, 28.0, 28.0]]
    plain = net.rpn.assign_targets_to_anchors([anchors], [target(boxes=given, seen=[])])[0][0]
    known = net.rpn.assign_targets_to_anchors([anchors], [target(boxes=given, seen=[list(SEEN)])])
    label = known[0][0]
    on = overlap(anchors, SEEN) >= 0.3
    assert on.any()
    assert (plain[on] == 0).all(), "without the rule they were background"
    assert (label[on] == -1).all(), "on it, or between the thresholds"
    assert ((label == 1) == (plain == 1)).all(), "nuclei stay nuclei"
    assert (label[~on] == plain[~on]).all()


def test_such_anchors_get_no_gradient() -> None:
    net = network()
    anchors = anchors_of(net)
    with_rule = target(boxes=[[8.0, 8.0, 28.0, 28.0]], seen=[list(SEEN)])
    on = overlap(anchors, SEEN) >= 0.3
    net.rpn.fg_bg_sampler.batch_size_per_image = 4 * len(anchors)
    for seen, taught in ((with_rule["seen"][:0], True), (with_rule["seen"], False)):
        objectness = torch.zeros(len(anchors), 1, requires_grad=True)
        labels, matched = net.rpn.assign_targets_to_anchors(
            [anchors], [{**with_rule, "seen": seen}]
        )
        wanted = net.rpn.box_coder.encode(matched, [anchors])
        loss, _ = net.rpn.compute_loss(objectness, torch.zeros(len(anchors), 4), labels, wanted)
        loss.backward()
        assert objectness.grad is not None
        assert bool((objectness.grad[on] != 0).all()) is taught
        assert taught or not (objectness.grad[on] != 0).any()
        assert (objectness.grad[~on & (labels[0] == 0)] != 0).all()


def test_proposals_on_something_seen_are_sampled_only_if_they_are_on_an_outline() -> None:
    net = network()
    given, seen = [8.0, 8.0, 28.0, 28.0], list(SEEN)
    proposals = torch.tensor(
        [given, seen, [42.0, 40, 60, 60], [40.0, 40, 80, 80], [70.0, 70, 90, 90], [8.0, 9, 28, 28]]
    )
    both = target(boxes=[given], seen=[seen, given])
    assert net.roi_heads.known(proposals, both).tolist() == proposals[[0, 3, 4, 5]].tolist()
    assert len(net.roi_heads.known(proposals, target(boxes=[given], seen=[]))) == 6


def test_of_a_crop_without_outlines_nothing_is_known_unless_it_is_complete() -> None:
    net = network()
    anchors = anchors_of(net)
    for complete in (False, True):
        nothing = target(complete=complete, boxes=[], seen=[])
        label = net.rpn.assign_targets_to_anchors([anchors], [nothing])[0][0]
        assert (label == (0 if complete else -1)).all()
        assert len(net.roi_heads.known(anchors, nothing)) == (len(anchors) if complete else 0)
    image = as_input(torch.full((1, 96, 96, 3), 200, dtype=torch.uint8))
    net.steps += 1000
    losses = net(image, [target(boxes=[], seen=[])])
    total = torch.stack(list(losses.values())).sum()
    assert float(total.detach()) == 0
    total.backward()
    losses = net(image, [target(boxes=[], seen=[]), target(boxes=[[8, 8, 28, 28]], seen=[])][1:])
    assert float(torch.stack(list(losses.values())).sum().detach()) > 0


def test_first_the_centre_head_learns_alone() -> None:
    net = network()
    image = as_input(torch.full((1, 96, 96, 3), 200, dtype=torch.uint8))
    given = target(boxes=[[8, 8, 28, 28]], seen=[])
    for step in range(SMOKE.centre_only + 1):
        losses = set(net(image, [given]))
        assert ({"loss_mask", "loss_classifier"} <= losses) == (step >= SMOKE.centre_only)
        assert {"loss_centre", "loss_centre_box"} <= losses


def test_what_the_centre_head_sees_is_proposed_ahead_of_all_others() -> None:
    net = network().eval()
    assert net.centre is not None
    with torch.no_grad():
        net.centre.logit.weight.zero_()
        net.centre.box.weight.zero_()
        assert net.centre.logit.bias is not None
        net.centre.logit.bias.fill_(6.0)
    image = torch.full((1, 96, 96, 3), 200, dtype=torch.uint8)
    with torch.inference_mode():
        raw = net.raw(net.backbone(as_input(image)))
        boxes, scores = WindowDetector(net, 96).proposals(raw)
    assert raw.boxes is not None
    assert float(scores[0, 0]) > 1
    size = boxes[0, scores[0] > 1]
    inner = ((size > 0) & (size < 96)).all(1)
    assert ((size[:, 2:] - size[:, :2])[inner] == 20).all(), "the median box, as it begins"
    off = SMOKE.model_copy(update={"inject": False})
    assert network(off).raw(net.backbone(as_input(image))).boxes is None


def test_attention_begins_as_nothing_and_then_is_the_sum_over_all_positions() -> None:
    torch.manual_seed(0)
    layer = DecomposedAttention(5, 3)
    x = torch.randn(2, 5, 4, 6)
    assert torch.equal(layer(x), x)
    torch.nn.init.normal_(layer.back.weight)
    flat = x.flatten(2)

    def projected(part: torch.nn.Conv2d) -> Tensor:
        return torch.einsum("oc,ncp->nop", part.weight[:, :, 0, 0], flat) + part.bias[:, None]

    bases, coefficients = projected(layer.bases), projected(layer.coefficients)
    values = projected(layer.values)
    wanted = torch.zeros(2, 3, 24)
    for n in range(2):
        for p in range(24):
            for b in range(3):
                share = torch.exp(coefficients[n, b, p]) / torch.exp(coefficients[n, :, p]).sum()
                over = torch.exp(bases[n, b]) / torch.exp(bases[n, b]).sum()
                wanted[n, :, p] += share * (over * values[n]).sum(1)
    back = torch.einsum("co,nop->ncp", layer.back.weight[:, :, 0, 0], wanted)
    assert torch.allclose(layer(x), x + back.view_as(x), atol=1e-4)


def test_the_module_adds_a_million_numbers_to_the_papers_network() -> None:
    """Table 2: 102.1 M without it, 103.1 M with it."""
    paper = PRESETS["paper"]
    with torch.device("meta"):
        whole = ExemplarNet(paper, (32.0, 32.0))
        bare = MaskRCNN(paper.net, paper.mpp)
    extra = parameters(whole) - parameters(bare)
    assert extra == pytest.approx(1.055e6, rel=1e-3)
    assert 0.0095 < extra / parameters(bare) < 0.0115


def test_switches_take_its_parts_away() -> None:
    count = {
        name: parameters(network(SMOKE.model_copy(update=change)))
        for name, change in {
            "all": {},
            "levels": {"attention": "levels"},
            "none": {"attention": "none"},
            "bare": {"attention": "none", "centre": False},
        }.items()
    }
    assert count["all"] > count["levels"] > count["none"] > count["bare"]
    torch.manual_seed(0)
    assert count["bare"] == parameters(MaskRCNN(SMOKE.net, SMOKE.mpp))


def test_the_papers_rate_rises_from_a_third_and_biases_go_twice_as_fast() -> None:
    schedule = PRESETS["paper"].schedule
    assert rate(0, schedule) == pytest.approx(schedule.lr / 3)
    assert rate(250, schedule) == pytest.approx(schedule.lr * 2 / 3)
    assert rate(500, schedule) == rate(999, schedule) == pytest.approx(schedule.lr)
    net = network()
    weights, biases = steep(net, schedule).param_groups
    assert (weights["faster"], biases["faster"]) == (1, 2)
    assert biases["weight_decay"] == 0
    assert len(weights["params"]) + len(biases["params"]) == len(list(net.parameters()))
