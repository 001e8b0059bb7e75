"""Annotated images: a folder with ``dataset.toml`` becomes samples, read one at a time.

::

    NAME/dataset.toml          title, mpp (where known), kind of labels, licence, splits by id
    NAME/images/ID.png         8-bit RGB
    NAME/instances/ID.png      16-bit label map: 0 background, every nucleus its own value
    NAME/geojson/ID.geojson    outlines drawn in QuPath (`wsiproc.geojson`): instances too; also .gz
    NAME/points/ID.csv         x,y,class: pixels, the origin at the CENTRE of the first pixel

``complete = false`` says that only some nuclei are outlined: what is not is unknown, and no
background.  Everything given out is in wsiproc's own convention: pixel (0, 0) covers [0, 1) x
[0, 1), so a point of the files moves by half a pixel.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import ConfigDict, Field, ValidationError

from wsiproc.errors import ConfigError
from wsiproc.frozen import Frozen, faults
from wsiproc.labels import Points, drawn, painted, points_in, reason

LabelKind = Literal["instances", "points", "none"]
PICTURES_IN_FOLDERS = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")
"""Ends of the files that are taken for images in a folder that is no data set."""
LabelFiles = Literal["instances", "geojson", "points", "none"]
UNKNOWN = -1
"""In a label map, where nobody has looked."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One annotated image; the pixels and labels are read when asked for.

    Parameters
    ----------
    id
        Its name in the data set, unique there.
    split
        ``train``, ``val``, ``test``, ...
    mpp
        µm per px, or None where the data set does not say.
    image
        The image's file.
    labels
        The file of its labels, or None where there are none.
    label_kind
        What that file holds.
    complete
        Whether every nucleus is outlined.
    """

    id: str
    split: str
    mpp: float | None
    image: Path
    labels: Path | None
    label_kind: LabelKind
    complete: bool = True

    def pixels(self) -> NDArray[np.uint8]:
        """``[h, w, 3]`` uint8 RGB.

        Raises
        ------
        ConfigError
            If the file is missing, damaged or not 8-bit RGB.
        """
        try:
            with Image.open(self.image) as picture:
                if picture.mode != "RGB":
                    raise ConfigError(
                        f"image {self.id} is {picture.mode}, not RGB: convert it to 8-bit RGB"
                    )
                return np.array(picture, np.uint8)
        except OSError as error:
            raise ConfigError(f"image {self.id} cannot be read: {reason(error)}") from None

    def instances(self) -> NDArray[np.int32]:
        """``[h, w]`` int32 label map, 0 where there is no nucleus, `UNKNOWN` where that is unknown.

        Raises
        ------
        ConfigError
            If the data set has no instances, or the file is missing or does not fit the image.
        """
        path = self._labels("instances")
        try:
            with Image.open(self.image) as picture:
                width, height = picture.size
        except OSError as error:
            raise ConfigError(f"image {self.id} cannot be read: {reason(error)}") from None
        read = drawn if path.name.endswith((".geojson", ".geojson.gz")) else painted
        labels = read(path, self.id, (height, width))
        return labels if self.complete else np.where(labels > 0, labels, UNKNOWN).astype(np.int32)

    def points(self) -> Points:
        """The annotated points, moved to wsiproc's convention (pixel centres at +.5).

        Raises
        ------
        ConfigError
            If the data set has no points, or the file is missing or no such table.
        """
        return points_in(self._labels("points"), self.id)

    def _labels(self, kind: LabelKind) -> Path:
        if self.labels is None or self.label_kind != kind:
            raise ConfigError(f"image {self.id} has {self.label_kind} for labels, not {kind}")
        return self.labels


@dataclass(frozen=True, slots=True)
class Dataset:
    """A folder of annotated images.

    Parameters
    ----------
    name, title, licence, source, note
        As ``dataset.toml`` says.
    mpp
        µm per px of every image, or None where unknown: then nothing here guesses one.
    label_kind
        What its labels are.
    samples
        All of them, in the order of the file, split after split.
    complete
        Whether every nucleus is outlined.
    """

    name: str
    title: str
    mpp: float | None
    label_kind: LabelKind
    licence: str
    source: str
    note: str
    samples: tuple[Sample, ...]
    complete: bool = True

    @property
    def splits(self) -> tuple[str, ...]:
        """Names of the splits, in the order of the file."""
        return tuple(dict.fromkeys(sample.split for sample in self.samples))

    def split(self, name: str) -> tuple[Sample, ...]:
        """The samples of one split.

        Raises
        ------
        ConfigError
            If there is no such split; the message says which there are.
        """
        chosen = tuple(sample for sample in self.samples if sample.split == name)
        if not chosen:
            raise ConfigError(
                f"data set {self.name} has no split {name!r}; it has: {', '.join(self.splits)}"
            )
        return chosen


class _Toml(Frozen):
    """``dataset.toml``; what else it says is ignored."""

    model_config = ConfigDict(extra="ignore")

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
    title: str = ""
    labels: LabelFiles
    complete: bool = True
    licence: str
    source: str = ""
    mpp: float | None = Field(default=None, ge=0.05, le=5)
    note: str = ""
    splits: dict[str, list[str]] = Field(min_length=1)


def read_dataset(folder: Path) -> Dataset:
    """The data set in `folder`; every file it names is there, none is opened yet.

    Raises
    ------
    ConfigError
        If ``dataset.toml`` is missing or wrong, an image or its labels are missing, or one image
        is in two splits.
    """
    said = _read_toml(folder)
    samples: list[Sample] = []
    seen: dict[str, str] = {}
    missing: list[str] = []
    for split, ids in said.splits.items():
        for id_ in ids:
            if id_ in seen:
                raise ConfigError(
                    f"data set {said.name}: image {id_} is in {seen[id_]!r} and again in "
                    f"{split!r}; an image belongs to one split, once"
                )
            if not id_ or "/" in id_ or "\\" in id_ or id_.startswith("."):
                raise ConfigError(f"data set {said.name}: {id_!r} is no id of an image")
            seen[id_] = split
            sample = _sample(folder, said, split, id_)
            missing += [
                f"{path.parent.name}/{path.name}"
                for path in (sample.image, sample.labels)
                if path is not None and not path.is_file()
            ]
            samples.append(sample)
    if missing:
        shown = ", ".join(missing[:3]) + (", ..." if len(missing) > 3 else "")
        raise ConfigError(f"data set {said.name}: {len(missing)} files are missing: {shown}")
    if not samples:
        raise ConfigError(f"data set {said.name}: its splits name no image")
    return Dataset(
        name=said.name,
        title=said.title,
        mpp=said.mpp,
        label_kind=_kind(said.labels),
        licence=said.licence,
        source=said.source,
        note=said.note,
        samples=tuple(samples),
        complete=said.complete,
    )


def wholly_annotated(dataset: Dataset, by: str) -> None:
    """Refuse a data set whose unknown nuclei would be taken for background.

    Parameters
    ----------
    by
        Who refuses it, for the message.

    Raises
    ------
    ConfigError
        If its nuclei are outlined only in part.
    """
    if not dataset.complete:
        raise ConfigError(
            f"{dataset.name} says `complete = false`: {by} would take its unknown nuclei for "
            "background; the method exemplar learns from such sets"
        )


def _kind(files: LabelFiles) -> LabelKind:
    return "instances" if files == "geojson" else files


def _sample(folder: Path, said: _Toml, split: str, id_: str) -> Sample:
    suffix = {"instances": "png", "geojson": "geojson", "points": "csv", "none": ""}[said.labels]
    labels = folder / said.labels / f"{id_}.{suffix}" if suffix else None
    if labels is not None and suffix == "geojson" and not labels.exists():
        packed = labels.with_name(f"{labels.name}.gz")
        labels = packed if packed.exists() else labels
    return Sample(
        id=id_,
        split=split,
        mpp=said.mpp,
        image=folder / "images" / f"{id_}.png",
        labels=labels,
        label_kind=_kind(said.labels),
        complete=said.complete,
    )


def _read_toml(folder: Path) -> _Toml:
    try:
        text = (folder / "dataset.toml").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{folder.name}: no data set, its dataset.toml cannot be read: {reason(error)}"
        ) from None
    try:
        return _Toml.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{folder.name}: dataset.toml is not TOML: {error}") from None
    except ValidationError as error:
        raise ConfigError(
            f"{folder.name}: dataset.toml is wrong: {faults(error, 'the file')} (labels are one of "
            f"{', '.join(get_args(LabelFiles))})"
        ) from None
