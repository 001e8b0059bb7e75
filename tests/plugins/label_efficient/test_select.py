"""`wsiproc select`: patches of a data set or of a folder of images, for people to outline."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

torch = pytest.importorskip("torch")

from wsiproc.cli.app import app  # noqa: E402
from wsiproc.datasets import read_dataset  # noqa: E402
from wsiproc.errors import ConfigError, StoreError  # noqa: E402
from wsiproc.slide._drawn_dataset import drawn_dataset  # noqa: E402

QUICK = ("--preset", "smoke", "--set", "select.features.steps=0", "--threads", "1")


def said(*words: str | Path) -> str:
    """What the command prints, on one line."""
    ran = CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)
    assert ran.exit_code == 0, ran.output
    return " ".join(ran.output.split())


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return drawn_dataset(tmp_path_factory.mktemp("data") / "drawn", train=4, val=1, size=208)


def table(out: Path) -> list[dict[str, str]]:
    with (out / "patches.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("method", ["cps", "kmeans", "random", "centre"])
def test_every_way_writes_the_patches_and_where_they_are(
    data: Path, tmp_path: Path, method: str
) -> None:
    out = tmp_path / "out"
    said("select", data, "--method", method, "--k", "3", "--out", out, *QUICK)
    dataset = read_dataset(data)
    pixels = {sample.id: sample.pixels() for sample in dataset.split("train")}
    rows = table(out)
    assert len(rows) == 3
    for row in rows:
        x, y, size = (int(row[name]) for name in ("x", "y", "size"))
        assert size == 96, "48 µm of 0.5 µm px"
        with Image.open(out / "patches" / f"{row['image']}_{x}_{y}.png") as picture:
            expected = pixels[row["image"]][y : y + size, x : x + size]
            np.testing.assert_array_equal(np.asarray(picture), expected)
    about = json.loads((out / "selection.json").read_text())
    assert about["share"] == pytest.approx(3 * 96**2 / (4 * 208**2))
    assert ("learnt from these images" in about["features"]) == (method in ("cps", "kmeans"))
    assert (out / "patches.png").is_file()


def test_where_labels_are_known_the_patches_are_a_data_set(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    said("select", data, "--k", "2", "--out", out, *QUICK)
    patches = read_dataset(out / "dataset")
    assert patches.mpp == 0.5
    assert [sample.split for sample in patches.samples] == ["train", "train"]
    whole = {sample.id: sample for sample in read_dataset(data).samples}
    for row, patch in zip(table(out), patches.samples, strict=True):
        x, y, size = (int(row[name]) for name in ("x", "y", "size"))
        truth = whole[row["image"]].instances()[y : y + size, x : x + size]
        labels = patch.instances()
        np.testing.assert_array_equal(labels > 0, truth > 0)
        pairs = {*zip(labels.ravel(), truth.ravel(), strict=True)}
        assert len(pairs) == len(np.unique(truth)) == len(np.unique(labels))


def test_a_folder_of_images_needs_a_scale_and_gets_patches_alone(
    data: Path, tmp_path: Path
) -> None:
    images = data / "images"
    with pytest.raises(ConfigError, match="give --mpp"):
        said("select", images, "--k", "2", "--out", tmp_path / "a", *QUICK)
    told = said("select", images, "--mpp", "0.5", "--k", "2", "--out", tmp_path / "b", *QUICK)
    assert "2 patches" in told
    assert not (tmp_path / "b" / "dataset").exists()
    assert len(table(tmp_path / "b")) == 2


def test_a_patch_has_the_same_size_in_micrometres_whatever_the_scale(
    data: Path, tmp_path: Path
) -> None:
    said("select", data / "images", "--mpp", "0.25", "--k", "1", "--out", tmp_path, *QUICK)
    assert table(tmp_path)[0]["size"] == "192"


def test_a_choice_that_was_made_is_not_made_again_and_another_is_refused(
    data: Path, tmp_path: Path
) -> None:
    words = ("select", data, "--k", "2", "--out", tmp_path, *QUICK)
    said(*words)
    before = (tmp_path / "patches.csv").read_bytes()
    assert "windows" not in said(*words)
    assert (tmp_path / "patches.csv").read_bytes() == before
    with pytest.raises(ConfigError, match="a selection with another select"):
        said("select", data, "--k", "3", "--out", tmp_path, *QUICK)
    with pytest.raises(ConfigError, match="a selection with another seed"):
        said(*words, "--seed", "1")
    (tmp_path / "selection.json").write_text("{}")
    with pytest.raises(StoreError, match=r"selection\.json is damaged; remove it"):
        said(*words)


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("--method", "best"), "select.method: Input should be 'cps'"),
        (("--k", "0"), "select.k: Input should be greater than or equal to 1"),
        (("--k", "4", "--set", "select.k=5"), "select.k= was said in another way"),
        (("--k", "200"), r"beside the \d+ patches chosen there is no room"),
        (("--by", "unet"), "unet does not select"),
        (("--mpp", "0.3"), "dataset.toml says 0.5"),
        (("--set", "select.features.source=backbone"), "needs a file of weights"),
    ],
)
def test_what_cannot_be_done_is_said(
    data: Path, tmp_path: Path, words: tuple[str, ...], why: str
) -> None:
    with pytest.raises(ConfigError, match=why):
        said("select", data, "--out", tmp_path / "out", *QUICK, *words)


@pytest.mark.parametrize("method", ["cps", "random"])
def test_what_could_not_be_chosen_may_be_asked_for_otherwise_in_the_same_folder(
    data: Path, tmp_path: Path, method: str
) -> None:
    words = ("select", data, "--out", tmp_path / "out", *QUICK, "--method", method)
    with pytest.raises(ConfigError, match="no room"):
        said(*words, "--k", "200")
    assert not list((tmp_path / "out").iterdir())
    said(*words, "--k", "2")
    assert len(list((tmp_path / "out" / "patches").iterdir())) == 2


def test_a_folder_without_images_and_one_that_is_not_there_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="holds no images"):
        said("select", tmp_path, "--mpp", "0.5", "--out", tmp_path / "out")
    with pytest.raises(ConfigError, match="there is no such folder"):
        said("select", tmp_path / "gone", "--out", tmp_path / "out")


def test_help_names_the_ways() -> None:
    told = said("select", "--help")
    for word in ("cps|kmeans|random|centre", "--mpp", "--out", "IMAGES|DATASET"):
        assert word in told
