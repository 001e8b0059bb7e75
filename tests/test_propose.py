"""A model's outlines are proposed with few points, and what people drew stays."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import shapely
from PIL import Image
from typer.testing import CliRunner

from wsiproc.cli.app import app
from wsiproc.datasets import read_dataset
from wsiproc.errors import ConfigError
from wsiproc.geojson import label_map, outlines_in
from wsiproc.metrics import instances
from wsiproc.propose import Proposed, Simplicity, pictures_of, propose
from wsiproc.slide._drawn_dataset import drawn_dataset
from wsiproc.testing.models import haematoxylin_model

MPP = 0.5


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("model") / "drawn.onnx"
    path.write_bytes(haematoxylin_model(mpp=MPP))
    return str(path)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return drawn_dataset(tmp_path / "data", train=1, val=1, size=160)


def unlabelled(folder: Path) -> Path:
    toml = folder / "dataset.toml"
    toml.write_text(toml.read_text().replace('labels = "instances"', 'labels = "none"'))
    return folder


def run(folder: Path, model: str, out: Path) -> list[Proposed]:
    return list(propose(pictures_of([folder], None), model, out, device="cpu"))


def test_outlines_of_few_points_are_nearly_those_of_the_model(
    data: Path, model: str, tmp_path: Path
) -> None:
    pictures = pictures_of([unlabelled(data)], None)
    exact = list(
        propose(pictures, model, tmp_path / "a", simplicity=Simplicity(0.0, 1.0), device="cpu")
    )
    simple = list(propose(pictures, model, tmp_path / "b", device="cpu"))
    for a, b in zip(exact, simple, strict=True):
        assert a.predicted == b.predicted > 5
        assert b.points < 0.7 * b.points_before == 0.7 * a.points
        assert b.least_iou >= 0.9
        whole, few = (outlines_in(p.file.read_text(), p.id) for p in (a, b))
        for first, second in zip(whole, few, strict=True):
            both = shapely.intersection(first, second).area
            assert both / shapely.union(first, second).area >= 0.89, "written to 1/100 px"


def test_proposals_read_back_are_what_the_model_sees(
    data: Path, model: str, tmp_path: Path
) -> None:
    truth = {s.id: s.instances() for s in read_dataset(data).samples}
    run(unlabelled(data), model, data / "geojson")
    toml = data / "dataset.toml"
    toml.write_text(toml.read_text().replace('labels = "none"', 'labels = "geojson"'))
    for sample in read_dataset(data).samples:
        assert instances(truth[sample.id], sample.instances()).scores()["aji"] > 0.6


def test_nothing_is_proposed_over_what_people_drew(data: Path, model: str, tmp_path: Path) -> None:
    for path in (data / "instances").iterdir():
        labels = np.array(Image.open(path))
        ids = np.unique(labels[labels > 0])
        Image.fromarray(np.where(np.isin(labels, ids[::2]), labels, 0)).save(path)
    toml = data / "dataset.toml"
    toml.write_text(toml.read_text().replace("[splits]", "complete = false\n[splits]"))
    drawn = {s.id: np.maximum(s.instances(), 0) for s in read_dataset(data).samples}
    for each in run(data, model, tmp_path / "out"):
        features = json.loads(each.file.read_text())["features"]
        sources = [f["properties"]["metadata"]["source"] for f in features]
        assert each.kept == sources.count("annotated") == len(np.unique(drawn[each.id])) - 1
        assert each.predicted == sources.count("predicted") > 0
        outlines = outlines_in(each.file.read_text(), each.id)
        kept = label_map(outlines[: each.kept], drawn[each.id].shape)
        assert instances(drawn[each.id], kept).scores()["aji"] == 1, "to the pixel"
        for outline in outlines[each.kept :]:
            shared = shapely.intersection(outline, outlines[: each.kept])
            assert (shapely.area(shared) < 0.55 * outline.area).all()


def test_what_may_have_been_corrected_is_not_written_over(
    data: Path, model: str, tmp_path: Path
) -> None:
    (first, *_) = run(data, model, tmp_path / "out")
    first.file.write_text("corrected")
    with pytest.raises(ConfigError, match="may have been corrected"):
        run(data, model, tmp_path / "out")
    assert first.file.read_text() == "corrected"


def test_one_file_is_for_one_image(data: Path, model: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="need a folder"):
        run(data, model, tmp_path / "a.geojson")
    with pytest.raises(ConfigError, match="give --mpp"):
        run(data / "images", model, tmp_path / "out")
    with pytest.raises(ConfigError, match="two images are called drawn_000"):
        pictures_of([data, data / "images"], 0.5)


def test_the_command_writes_a_file_an_image(data: Path, model: str, tmp_path: Path) -> None:
    image = data / "images" / "drawn_000.png"
    out = tmp_path / "one.geojson"
    words = ["propose", str(image), "--model", model, "--mpp", "0.5", "--out", str(out), "--json"]
    done = CliRunner().invoke(app, [*words, "--device", "cpu", "--score", "0.2"])
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout)
    assert said["predicted"] == len(json.loads(out.read_text())["features"]) > 5
    assert said["least_iou"] >= 0.9
