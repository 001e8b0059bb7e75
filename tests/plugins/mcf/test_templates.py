"""The boxes: a person's, or those asked of a data set at places that no label chose."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("torch")

from wsiproc.datasets import read_dataset
from wsiproc.errors import ConfigError
from wsiproc.slide._drawn_dataset import drawn_dataset
from wsiproc_mcf.config import PRESETS
from wsiproc_mcf.images import Field
from wsiproc_mcf.templates import (
    Template,
    chosen,
    farthest_first,
    located,
    read_templates,
    write_templates,
)

SMOKE = PRESETS["smoke"]


def _fields(folder: Path) -> tuple[Field, ...]:
    return tuple(
        Field(sample, 0.5, sample.pixels(), sample.pixels(), labelled=True)
        for sample in read_dataset(folder).split("train")
    )


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return drawn_dataset(tmp_path_factory.mktemp("data") / "drawn", train=3, val=1)


def test_each_chosen_box_is_a_nucleus_of_its_own(drawn: Path) -> None:
    fields = _fields(drawn)
    boxes = chosen(fields, SMOKE, seed=0)
    assert len(set(boxes)) == SMOKE.templates
    by_id = {field.sample.id: field.sample for field in fields}
    for template in boxes:
        labels = by_id[template.image].instances()
        x0, y0, x1, y1 = (int(edge) for edge in template.box)
        spans = [
            np.nonzero(labels == number) for number in np.unique(labels[y0:y1, x0:x1]) if number
        ]
        tight = [(x.min(), y.min(), x.max() + 1, y.max() + 1) for y, x in spans]
        assert (x0, y0, x1, y1) in tight


def test_the_rule_looks_at_no_other_label(drawn: Path, tmp_path: Path) -> None:
    fields = _fields(drawn)
    boxes = chosen(fields, SMOKE, seed=0)
    for sample in read_dataset(drawn).samples:
        labels = sample.instances()
        kept = np.zeros_like(labels)
        for template in boxes:
            if template.image == sample.id:
                x0, y0, x1, y1 = (int(edge) for edge in template.box)
                kept[y0:y1, x0:x1] = labels[y0:y1, x0:x1]
        (tmp_path / "instances").mkdir(exist_ok=True)
        (tmp_path / "images").mkdir(exist_ok=True)
        Image.fromarray(kept.astype(np.uint16)).save(tmp_path / "instances" / f"{sample.id}.png")
        (tmp_path / "images" / f"{sample.id}.png").write_bytes(sample.image.read_bytes())
    (tmp_path / "dataset.toml").write_bytes((drawn / "dataset.toml").read_bytes())
    assert chosen(_fields(tmp_path), SMOKE, seed=0) == boxes


def test_another_seed_asks_about_other_places(drawn: Path) -> None:
    fields = _fields(drawn)
    assert chosen(fields, SMOKE, seed=0) == chosen(fields, SMOKE, seed=0)
    assert chosen(fields, SMOKE, seed=0) != chosen(fields, SMOKE, seed=1)


def test_boxes_are_read_as_they_were_written(tmp_path: Path) -> None:
    boxes = (Template("a", (1.0, 2.0, 30.5, 40.0)), Template("b", (0.0, 0.0, 5.0, 5.0)))
    write_templates(tmp_path / "boxes.csv", boxes)
    assert read_templates(tmp_path / "boxes.csv") == boxes


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x0,y0,x1,y1\n1,2,3,4\n", "must begin with"),
        ("image,x0,y0,x1,y1\n", "no box"),
        ("image,x0,y0,x1,y1\na,1,2,3\n", "line 2"),
        ("image,x0,y0,x1,y1\na,1,2,3,4\nb,5,5,5,9\n", "line 3: the box is empty"),
        ("image,x0,y0,x1,y1\na,1,2,nan,4\n", "line 2"),
    ],
)
def test_a_file_that_is_no_such_table_is_refused(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "boxes.csv").write_text(text)
    with pytest.raises(ConfigError, match=said):
        read_templates(tmp_path / "boxes.csv")


def test_boxes_are_brought_to_the_resolution_worked_at(drawn: Path) -> None:
    fields = _fields(drawn)
    name = fields[1].sample.id
    assert located([Template(name, (10, 20, 30, 40))], fields, 1.0) == ((1, (5, 10, 15, 20)),)


@pytest.mark.parametrize("box", [(-50, 0, 10, 10), (0, 0, 10, 4000)])
def test_boxes_off_the_images_are_refused(drawn: Path, box) -> None:
    fields = _fields(drawn)
    with pytest.raises(ConfigError, match="outside"):
        located([Template(fields[0].sample.id, box)], fields, 0.5)
    with pytest.raises(ConfigError, match="no such image"):
        located([Template("elsewhere", (0, 0, 9, 9))], fields, 0.5)


def test_farthest_first_keeps_away_from_what_there_is() -> None:
    line = np.array([[0.0], [1.0], [2.0], [10.0]], np.float32)
    assert farthest_first(line, np.array([[0.0]], np.float32), 2) == [3, 2]
    assert farthest_first(line, np.array([[0.0]], np.float32), 9) == [3, 2, 1, 0]
