"""Annotation with a computer's help: a model's outlines as few-pointed polygons to correct.

Train on some exemplars, propose, correct in QuPath, train again (Feng 2019, sec. III-D).
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import shapely
from numpy.typing import NDArray
from PIL import Image

from wsiproc import api, geojson
from wsiproc.card import Card
from wsiproc.config import Execution, RunConfig, Science
from wsiproc.datasets import PICTURES_IN_FOLDERS, Sample, read_dataset
from wsiproc.decode import contours
from wsiproc.errors import ConfigError, StoreError
from wsiproc.model import load_model
from wsiproc.slide.naming import named
from wsiproc.store.disk import write_whole
from wsiproc.store.manifest import read_manifest

PICTURES = tuple(end for end in PICTURES_IN_FOLDERS if not end.startswith(".tif"))
"""Files that are fields of view rather than slides: all of them is tissue.  A TIFF may be either,
so its tissue is searched."""
SAME = 0.5
"""Share of the smaller of two outlines from which on they are of one nucleus."""


@dataclass(frozen=True, slots=True)
class Picture:
    """An image or slide to outline nuclei in.

    Parameters
    ----------
    id
        Names the file that is written.
    path
        Of its pixels.
    mpp
        µm per px, where it is known.
    sample
        Where it is from a data set with outlines; those stay, and nothing is proposed over them.
    """

    id: str
    path: Path
    mpp: float | None
    sample: Sample | None = None


@dataclass(frozen=True, slots=True)
class Simplicity:
    """How outlines are made easy to drag.

    Parameters
    ----------
    tolerance_um
        How far an outline may move.
    least_iou
        What its intersection over union with the model's outline may not fall below.
    """

    tolerance_um: float = 0.5
    least_iou: float = 0.9


@dataclass(frozen=True, slots=True)
class Proposed:
    """What was written for one picture.

    Parameters
    ----------
    id, file
        The picture, and its GeoJSON.
    kept, predicted
        Outlines that were there, and that the model drew.
    points
        Of all predicted outlines together; `points_before` they were simplified.
    least_iou
        Of a predicted outline with what the model drew; 1 where there is none.
    """

    id: str
    file: Path
    kept: int
    predicted: int
    points: int
    points_before: int
    least_iou: float


def pictures_of(inputs: Sequence[Path], mpp: float | None) -> tuple[Picture, ...]:
    """The images of data sets, the pictures of folders, and files.

    Parameters
    ----------
    mpp
        µm per px, where neither data set nor slide says it; theirs goes first.

    Raises
    ------
    ConfigError
        If there is none, or two would be written to one file.
    """
    found: list[Picture] = []
    for path in inputs:
        if (path / "dataset.toml").is_file():
            for sample in read_dataset(path).samples:
                outlined = sample if sample.label_kind == "instances" else None
                found.append(Picture(sample.id, sample.image, sample.mpp or mpp, outlined))
        elif path.is_dir():
            files = sorted(f for f in path.iterdir() if f.suffix.lower() in PICTURES_IN_FOLDERS)
            found += [Picture(named(f), f, mpp) for f in files]
        elif path.is_file():
            found.append(Picture(named(path), path, mpp))
        else:
            raise ConfigError(f"{path.name} is neither a file nor a folder")
    if not found:
        raise ConfigError(f"there is no image to look at (of {', '.join(PICTURES_IN_FOLDERS)})")
    ids = [picture.id for picture in found]
    twice = sorted({id_ for id_ in ids if ids.count(id_) > 1})
    if twice:
        raise ConfigError(f"two images are called {twice[0]}: their outlines need two --out")
    return tuple(found)


def propose(
    pictures: Sequence[Picture],
    model: str,
    out: Path,
    *,
    least_score: float = 0.0,
    simplicity: Simplicity = Simplicity(),
    device: str = "auto",
    replace_files: bool = False,
) -> Iterator[Proposed]:
    """Run `model` over pictures and write a GeoJSON of each, one after the other.

    Parameters
    ----------
    out
        A folder, for ``ID.geojson``; or one picture's file, if its name ends so.
    least_score
        Less certain nuclei are not proposed.
    replace_files
        Whether files that are there may be written over: someone may have corrected them.

    Raises
    ------
    ConfigError
        If the model gives no outlines, or a file is there already.
    WsiprocError
        Whatever a run of the model raises.
    """
    loaded = load_model(model)
    if not loaded.card.polygons:
        raise ConfigError(f"{model} only points at nuclei; a model that outlines them is needed")
    files = _files(pictures, out)
    there = [file.name for file in files if file.exists()]
    if there and not replace_files:
        raise ConfigError(
            f"{there[0]} is there already, and may have been corrected: choose another --out, or "
            "say --replace"
        )
    for picture, file in zip(pictures, files, strict=True):
        found, mpp = _found(picture, model, loaded.card, device)
        found = [each for each in found if (each.score or 0) >= least_score]
        kept = _drawn(picture, loaded.card)
        found = _beside(found, kept)
        simple = [
            geojson.simplified(o.polygon, simplicity.tolerance_um / mpp, simplicity.least_iou)
            for o in found
        ]
        drawn = [replace(o, polygon=s) for o, (s, _) in zip(found, simple, strict=True)]
        text = geojson.written([*kept, *drawn], model=f"{loaded.card.name} {loaded.sha256[:12]}")
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            write_whole(file, text.encode())
        except OSError as error:
            raise StoreError(f"{file.name} cannot be written: {error.strerror}") from None
        yield Proposed(
            picture.id,
            file,
            kept=len(kept),
            predicted=len(drawn),
            points=_points(drawn),
            points_before=_points(found),
            least_iou=min((iou for _, iou in simple), default=1.0),
        )


def _files(pictures: Sequence[Picture], out: Path) -> list[Path]:
    if out.suffix.lower() not in (".geojson", ".json"):
        return [out / f"{picture.id}.geojson" for picture in pictures]
    if len(pictures) > 1:
        raise ConfigError(f"{len(pictures)} images need a folder for --out, not one file")
    return [out]


def _found(
    picture: Picture, model: str, card: Card, device: str
) -> tuple[list[geojson.Outline], float]:
    """What the model outlines, in px of the picture, and the picture's µm per px."""
    flat = picture.path.suffix.lower() in PICTURES
    if flat and picture.mpp is None:
        raise ConfigError(f"{picture.id} does not say its µm per px: give --mpp")
    window = _window(picture, card) if flat else None
    execution = Execution.model_validate({"device": device, "workers": 0, "window_px": window})
    science = Science(tissue=not flat, mpp=picture.mpp)
    with tempfile.TemporaryDirectory(prefix="wsiproc-") as scratch:
        result = api.run(
            picture.path.absolute(),
            model,
            scratch,
            settings=RunConfig(science=science, execution=execution),
            slide_id="picture",
        )
        table = result.nuclei()
        mpp = read_manifest(result.folder).slide.mpp
    px = shapely.transform(table.geometry.to_numpy(), lambda um: um / np.array(mpp))
    colors = {c.name: c.color for c in card.classes}
    rows = zip(px, table["nucleus_id"], table["class_name"], table["score"], strict=True)
    outlines = [
        geojson.Outline(polygon, f"{picture.id}/{key}", name, colors[name], float(score))
        for polygon, key, name, score in rows
    ]
    return outlines, float(np.mean(mpp))


def _window(picture: Picture, card: Card) -> int | None:
    """The smallest window that a small picture fits into: less of what is computed is white."""
    assert picture.mpp is not None
    with Image.open(picture.path) as image:
        longest = max(image.size) * picture.mpp / card.mpp + 2 * card.margin
    return min((window for window in card.windows if window >= longest), default=None)


def _drawn(picture: Picture, card: Card) -> list[geojson.Outline]:
    """The outlines that a data set has of a picture, as polygons."""
    if picture.sample is None:
        return []
    labels = np.maximum(picture.sample.instances(), 0)
    ids, flat = np.unique(labels, return_inverse=True)
    if ids[0] != 0:
        flat = flat + 1
    ring, start = contours(flat.reshape(labels.shape).astype(np.int32))
    first = card.classes[0]
    return [
        geojson.Outline(
            shapely.Polygon(ring[a:b]),
            f"{picture.id}/annotated/{number}",
            first.name,
            first.color,
            None,
            geojson.ANNOTATED,
        )
        for number, (a, b) in enumerate(pairwise(start))
        if b - a >= 3
    ]


def _beside(found: list[geojson.Outline], kept: Sequence[geojson.Outline]) -> list[geojson.Outline]:
    """Those that are not of a nucleus that is kept."""
    if not found or not kept:
        return found
    tree = shapely.STRtree([outline.polygon for outline in kept])
    ours = np.array([outline.polygon for outline in found], dtype=object)
    i, j = tree.query(ours, predicate="intersects")
    theirs = tree.geometries[j]
    shared = shapely.area(shapely.intersection(ours[i], theirs))
    least = np.minimum(shapely.area(ours[i]), shapely.area(theirs))
    same: NDArray[np.int64] = i[shared >= SAME * least]
    gone = set(same.tolist())
    return [outline for number, outline in enumerate(found) if number not in gone]


def _points(outlines: Sequence[geojson.Outline]) -> int:
    """Vertices that can be dragged; the last of a ring is its first."""
    rings = sum(1 + len(o.polygon.interiors) for o in outlines)
    return sum(int(shapely.get_num_coordinates(o.polygon)) for o in outlines) - rings
