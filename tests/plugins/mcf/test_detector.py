"""The filter bank as a file: it says what torch says, wherever its window lies."""

from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")

from wsiproc.card import Card, MaskPost, NucleusClass  # noqa: E402
from wsiproc.datasets import read_dataset  # noqa: E402
from wsiproc.evaluate import evaluate  # noqa: E402
from wsiproc.methods import TrainingInputs  # noqa: E402
from wsiproc.model import load_model  # noqa: E402
from wsiproc.slide._drawn_dataset import drawn_dataset  # noqa: E402
from wsiproc_mcf.detector import deliver_detector, deployed_detector  # noqa: E402
from wsiproc_mcf.filters import Bank  # noqa: E402

CARD = Card(
    name="mcf",
    method="mcf",
    kind="mask",
    mpp=0.5,
    step=8,
    windows=(256, 512),
    margin=48,
    largest_nucleus_um=25.0,
    classes=(NucleusClass(name="nucleus", color=(0, 160, 80)),),
    post=MaskPost(threshold=0.5, chosen_on="drawn val"),
    local=True,
    stain_target=((0.65, 0.70, 0.29), (0.07, 0.99, 0.11)),
)


def test_it_looks_no_further_than_its_margin(bank: Bank) -> None:
    detector = deployed_detector(bank).net
    size = 2 * detector.margin + 64
    torch.manual_seed(0)
    image = torch.rand(1, 3, size, size) * 2 - 1
    changed = image.clone()
    changed[..., size // 2, size // 2] = -1
    with torch.no_grad():
        there = (detector(changed) - detector(image))[0, 0] != 0
    away = (torch.nonzero(there) - size // 2).abs()
    assert len(away)
    assert int(away.max()) <= detector.margin
    assert detector.margin % detector.step == 0


@pytest.mark.slow
def test_the_file_finds_drawn_nuclei_that_its_templates_are_not_of(
    bank: Bank, tmp_path: Path
) -> None:
    drawn = drawn_dataset(tmp_path / "drawn", train=1, val=2, seed=11)
    check = [(sample, sample.pixels()) for sample in read_dataset(drawn).split("val")]
    assert {sample.mpp for sample, _ in check} == {bank.mpp}
    inputs = TrainingInputs(data=(drawn,), out=tmp_path, command="a test")
    path = deliver_detector(bank, inputs, check=check, card=CARD)
    card = load_model(str(path)).card
    assert (card.name, card.kind, card.local) == ("mcf_detector", "points", True)
    assert card.stain_target == CARD.stain_target
    assert {node.domain for node in onnx.load(path).graph.node} == {""}, "standard operators"
    unseen = drawn_dataset(tmp_path / "unseen", train=1, val=2, seed=98)
    assert evaluate(str(path), unseen, "val", device="cpu")["detection"]["f1"] > 0.75
