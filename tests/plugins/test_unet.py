"""The worked example keeps the contract, and the model that ships is the one that was trained."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import shapely

torch = pytest.importorskip("torch")

import wsiproc_unet  # noqa: E402
from wsiproc.api import run  # noqa: E402
from wsiproc.config import Execution, RunConfig  # noqa: E402
from wsiproc.evaluate import evaluate, rasterised  # noqa: E402
from wsiproc.methods import TrainingEvent, TrainingInputs  # noqa: E402
from wsiproc.metrics import instances  # noqa: E402
from wsiproc.slide._drawn import draw_slide  # noqa: E402
from wsiproc.slide._drawn_dataset import drawn_dataset  # noqa: E402
from wsiproc.testing.methods import MethodContract  # noqa: E402

Trained = tuple[tuple[Path, ...], list[TrainingEvent], TrainingInputs]


class TestUNet(MethodContract):
    method = wsiproc_unet.METHOD

    @pytest.mark.slow
    def test_on_unseen_drawings_it_finds_nine_nuclei_in_ten(
        self, trained: Trained, tmp_path: Path
    ) -> None:
        unseen = drawn_dataset(tmp_path / "unseen", train=1, val=3, seed=99)
        scores = evaluate(str(trained[0][0]), unseen, "val", device="cpu")
        assert scores["instances"]["dq"] >= 0.9, "F1 at IoU .5"
        assert scores["detection"]["f1"] >= 0.9

    @pytest.mark.slow
    def test_on_an_unseen_slide_it_does_so_at_seams_and_edges_too(
        self, trained: Trained, tmp_path: Path
    ) -> None:
        drawn = draw_slide(tmp_path / "unseen.tiff", width=1100, height=1000, seed=77, mpp=0.5)
        settings = RunConfig(execution=Execution(workers=0, device="cpu", tile_px=64))
        result = run(drawn.path, str(trained[0][0]), tmp_path / "out", settings=settings)
        core = int(result.summary["grid"].split("-")[0][1:])
        assert result.summary["tiles_total"] > 4
        truth = drawn.truth
        rings = np.split(truth.ring, truth.ring_start[1:-1])
        true = np.array([shapely.Polygon(ring) for ring in rings])
        found = shapely.transform(result.nuclei().geometry.to_numpy(), lambda um: um / 0.5)
        shape = drawn.drawing.height, drawn.drawing.width
        labels = rasterised(true, np.ones(len(true), np.float32), shape)
        seen = rasterised(found, np.ones(len(found), np.float32), shape)
        assert instances(labels, seen).dq >= 0.9, "F1 at IoU .5"
        x0, y0, x1, y1 = shapely.bounds(true).T
        seam = (x0 // core != x1 // core) | (y0 // core != y1 // core)
        edge = (x0 <= 0) | (y0 <= 0) | (x1 >= shape[1]) | (y1 >= shape[0])
        for rows in (seam, edge):
            assert rows.sum() >= 5
            there = np.where(np.isin(labels, np.flatnonzero(rows) + 1), labels, 0)
            assert instances(there, seen).hits[0] >= 0.85 * rows.sum()

    @pytest.mark.slow
    def test_it_draws_its_curves(self, trained: Trained) -> None:
        picture = trained[2].out / "curves.png"
        assert picture.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
