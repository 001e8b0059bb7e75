"""Mask R-CNN: targets, losses that learn, and inference that says what torchvision's blocks say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("wsiproc.training.vision", exc_type=ImportError)

from torch import Tensor, nn  # noqa: E402

from wsiproc.card import Card, InstancesPost, NucleusClass  # noqa: E402
from wsiproc.errors import ConfigError, ModelError  # noqa: E402
from wsiproc.geometry import Box  # noqa: E402
from wsiproc.model import load_model, open_session  # noqa: E402
from wsiproc.slide._drawn import draw_image  # noqa: E402
from wsiproc.training.export_instances import compared, export_instances  # noqa: E402
from wsiproc.training.judging import windows_over  # noqa: E402
from wsiproc.training.mask_rcnn import MaskRCNN, as_images, targets_of  # noqa: E402
from wsiproc.training.mask_rcnn_settings import MaskRCNNSettings  # noqa: E402
from wsiproc.training.mask_rcnn_windows import OUTPUTS, WindowDetector, suppress  # noqa: E402
from wsiproc.training.nets import as_input  # noqa: E402
from wsiproc.training.vision import nms  # noqa: E402

TINY = MaskRCNNSettings(
    widths=(8, 12, 16),
    channels=12,
    anchors_um=(5.0, 10.0, 20.0),
    box_features=24,
    mask_convolutions=1,
    mask_channels=12,
    regions_sampled=32,
    candidates=120,
    proposals=80,
)
EDGE = 96


def drawn(count: int) -> tuple[Tensor, Tensor]:
    made = [draw_image(EDGE, EDGE, seed=i, mpp=0.5, density_per_mm2=3500.0) for i in range(count)]
    labels = np.stack([label for _, label in made]).astype(np.int32)
    return torch.from_numpy(np.stack([pixels for pixels, _ in made])), torch.from_numpy(labels)


@pytest.fixture(scope="module")
def detector() -> WindowDetector:
    """Two classes, and a few steps, so that boxes are where nuclei are."""
    torch.manual_seed(0)
    net = MaskRCNN(TINY, 0.5, classes=2)
    image, labels = drawn(2)
    optimiser = torch.optim.AdamW(net.parameters(), 4e-3)
    complete = torch.ones(2, dtype=torch.bool)
    targets = targets_of(labels, complete)
    for target in targets:
        target["labels"][::2] = 2
    first = last = 0.0
    for step in range(25):
        loss = torch.stack(list(net(as_input(image), targets).values())).sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        last = float(loss.detach())
        first = first or last
        assert step or first > 0
    assert last < 0.7 * first, "it learns"
    return WindowDetector(net.eval(), EDGE).eval()


def of_tile(said: tuple[Tensor, ...], tile: int) -> list[Tensor]:
    mine = (said[3] == tile) & (said[1] > 0)
    return [column[mine] for column in said]


def test_windows_say_what_torchvisions_own_lists_say(detector: WindowDetector) -> None:
    image, _ = drawn(3)
    net = detector.net
    with torch.inference_mode():
        said = detector(image)
        x = as_input(image)
        features = net.backbone(x)
        proposals, _ = net.rpn(as_images(x), net.rpn.head.shared(features))
        wanted, _ = net.roi_heads(features, proposals, as_images(x).image_sizes)
    for tile, theirs in enumerate(wanted):
        boxes, scores, labels, _, masks = of_tile(said, tile)
        # Theirs are sorted over classes, ours within each.
        order = torch.argsort(scores, descending=True, stable=True)
        assert len(boxes) == len(theirs["boxes"]) > 0
        assert torch.allclose(scores[order], theirs["scores"], atol=1e-6)
        assert torch.allclose(boxes[order], theirs["boxes"], atol=1e-4)
        assert torch.equal(labels[order] + 1, theirs["labels"])
        assert torch.allclose(masks[order], theirs["masks"], atol=1e-5)


def test_a_window_says_the_same_alone_and_in_a_batch(detector: WindowDetector) -> None:
    image, _ = drawn(3)
    with torch.inference_mode():
        together = detector(image)
        for tile in range(3):
            alone = detector(image[tile : tile + 1])
            for ours, theirs in zip(of_tile(together, tile), of_tile(alone, 0), strict=True):
                if ours.dtype.is_floating_point:
                    assert torch.allclose(ours, theirs, atol=1e-5)
                else:
                    assert ours.shape == theirs.shape


def test_where_nothing_is_found_one_dummy_row_is_left(detector: WindowDetector) -> None:
    net = MaskRCNN(TINY.model_copy(update={"least_score": 0.999}), 0.5).eval()
    with torch.inference_mode():
        said = WindowDetector(net, EDGE)(torch.full((2, EDGE, EDGE, 3), 255, dtype=torch.uint8))
    assert [tuple(column.shape) for column in said] == [(1, 4), (1,), (1,), (1,), (1, 1, 28, 28)]
    assert float(said[1]) == 0


def card_of(detector: WindowDetector) -> Card:
    classes = ("a", "b")
    return Card(
        name="drawn",
        method="drawn",
        kind="instances",
        mpp=0.5,
        step=8,
        windows=(detector.edge,),
        margin=24,
        largest_nucleus_um=12,
        classes=tuple(NucleusClass(name=name, color=(0, 0, 0)) for name in classes),
        post=InstancesPost(chosen_on="nothing"),
        local=False,
    )


def test_the_file_says_what_torch_says_and_nothing_of_this_machine(
    detector: WindowDetector, tmp_path: Path
) -> None:
    image, _ = drawn(3)
    done = export_instances(detector, card_of(detector), tmp_path / "m.onnx", image[0].numpy())
    assert done.difference < 1e-3
    model = load_model(str(done.path))
    assert str(Path(__file__).parents[2]).encode() not in model.data
    for count in (1, 3):
        session = open_session(model, device="cpu", window=EDGE, batch=count)
        said = session.run(image[:count].numpy())
        session.close()
        with torch.inference_mode():
            wanted = dict(zip(OUTPUTS, detector(image[:count]), strict=True))
        for name, values in said.items():
            there = wanted[name].numpy()
            assert values.shape == there.shape
            assert np.abs(values - there).max() < 1e-2


def test_a_file_that_says_something_else_is_not_passed(detector: WindowDetector) -> None:
    image, _ = drawn(1)
    with torch.inference_mode():
        said = {k: v.float().numpy() for k, v in zip(OUTPUTS, detector(image), strict=True)}
    assert compared(said, said, "a window", above=0.3, alone=0.02) == 0
    certain = int((said["scores"] > 0.3).sum())
    assert certain > 2
    moved = {**said, "boxes": said["boxes"] + np.float32(0.05)}
    with pytest.raises(ModelError, match="boxes of a window"):
        compared(moved, said, "a window", above=0.3, alone=0.02)
    fewer = {name: values[: certain // 2] for name, values in said.items()}
    with pytest.raises(ModelError, match="alike"):
        compared(fewer, said, "a window", above=0.3, alone=0.02)


def test_suppression_of_a_batch_is_that_of_each_image_and_class() -> None:
    torch.manual_seed(1)
    corner = torch.rand(2, 30, 2) * 30
    boxes = torch.cat([corner, corner + 4 + torch.rand(2, 30, 2) * 8], 2)
    scores = torch.rand(2, 3, 30)
    rows = suppress(boxes, scores, 7, 0.4, 0.2)
    wanted = []
    for i in range(2):
        for c in range(3):
            certain = torch.where(scores[i, c] > 0.2)[0]
            kept = certain[nms(boxes[i, certain], scores[i, c, certain], 0.4)][:7]
            wanted += [[i, c, int(k)] for k in kept]
    assert rows.tolist() == wanted


def test_boxes_and_masks_are_those_of_the_labels() -> None:
    labels = torch.zeros(2, 12, 12, dtype=torch.int32)
    labels[0, 2:5, 3:9] = 7
    labels[0, 6:10, 0:2] = 3
    labels[0, 11, 5:9] = 4
    labels[1] = -1
    first, second = targets_of(labels, torch.tensor([True, False]))
    assert first["boxes"].tolist() == [[0, 6, 2, 10], [3, 2, 9, 5]], "4 is less than 2 px high"
    assert torch.equal(first["masks"][1], labels[0] == 7)
    assert first["labels"].tolist() == [1, 1]
    assert bool(first["complete"])
    assert not bool(second["complete"])
    assert second["boxes"].shape == (0, 4)


def test_a_batch_without_any_nucleus_teaches_background() -> None:
    torch.manual_seed(0)
    net = MaskRCNN(TINY, 0.5)
    image, labels = drawn(1)
    losses = net(as_input(image), targets_of(labels * 0, torch.tensor([True])))
    total = torch.stack(list(losses.values())).sum()
    assert torch.isfinite(total)
    total.backward()


def test_windows_cover_an_image_with_their_inner_parts_once() -> None:
    seen = np.zeros((70, 130), int)
    for window in windows_over((70, 130), 64, 16):
        assert window.read == window.valid.grown(16)
        rows, columns = (window.valid & Box(0, 0, 130, 70)).slices_in(Box(0, 0, 130, 70))
        seen[rows, columns] += 1
    assert (seen == 1).all()


def test_weights_of_a_backbone_are_taken_and_others_refused(tmp_path: Path) -> None:
    path = tmp_path / "resnet.pth"
    settings = MaskRCNNSettings(
        backbone="resnet50", channels=16, anchors_um=(2.0, 4.0, 8.0, 16.0, 32.0), box_features=16
    )
    given = MaskRCNN(settings, 0.5).backbone.body.state_dict()
    names = {n: v + 1 for n, v in given.items() if n.startswith("layer") and "num" not in n}
    torch.save(names, path)
    net = MaskRCNN(settings.model_copy(update={"weights": path}), 0.5)
    own = net.backbone.body.state_dict()
    assert torch.equal(own["layer3.0.conv1.weight"], names["layer3.0.conv1.weight"])
    assert not net.backbone.body.layer1[0].conv1.weight.requires_grad
    assert net.backbone.body.layer2[0].conv1.weight.requires_grad
    torch.save({"layer1.0.conv1.weight": torch.zeros(3)}, path)
    with pytest.raises(ConfigError, match="no backbone of the kind resnet50"):
        MaskRCNN(settings.model_copy(update={"weights": path}), 0.5)


def test_levels_without_anchors_are_refused() -> None:
    with pytest.raises(ValueError, match="as many anchors_um"):
        MaskRCNNSettings(widths=(8, 16), anchors_um=(4.0,))
    assert isinstance(MaskRCNN(TINY, 0.5).backbone.stage_layers[0], nn.Identity)
