"""The N boxes that are all this method is told of nuclei.

They are read from ``--templates FILE`` (``image,x0,y0,x1,y1``, px of the image, as
``OUT/templates.csv`` has them), or asked of a data set's instances: N places are found without any
label, as unlike as can be, and of each the nucleus there, or the one nearest to it, is boxed.  So
the rule sees as much as a person who draws N boxes tells it, and no other label.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from wsiproc.errors import ConfigError
from wsiproc.stain import optical_density
from wsiproc.training import checkpoint
from wsiproc.training.augment import HED
from wsiproc_mcf.config import MCFConfig
from wsiproc_mcf.images import Field

HEADER = ["image", "x0", "y0", "x1", "y1"]
_PLACES = 40
"""Dark places looked at in an image."""
_SIGMA_UM, _APART_UM, _EDGE_UM, _LEAST_SPOT = 2.0, 5.0, 10.0, 0.1
"""A nucleus is a spot about so wide; two are so far apart; one at the edge would be cut; and it is
so much denser than what is around it."""


@dataclass(frozen=True, slots=True)
class Template:
    """A nucleus' box on an image.

    Parameters
    ----------
    image
        Id of the image in its data set.
    box
        x0, y0, x1, y1 in px of the image's file: pixel (0, 0) covers [0, 1) x [0, 1).
    """

    image: str
    box: tuple[float, float, float, float]


def read_templates(path: Path) -> tuple[Template, ...]:
    """What a person has boxed.

    Raises
    ------
    ConfigError
        If it is no such table, with the line that is wrong.
    """
    try:
        rows = list(csv.reader(io.StringIO(path.read_text(encoding="utf-8"))))
    except (OSError, UnicodeDecodeError, csv.Error):
        raise ConfigError(f"--templates {path.name} cannot be read as CSV") from None
    if not rows or [name.strip() for name in rows[0]] != HEADER:
        raise ConfigError(f"--templates must begin with the line '{','.join(HEADER)}'")
    found = []
    for line, row in enumerate(rows[1:], 2):
        if not any(cell.strip() for cell in row):
            continue
        try:
            image, *edges = row
            x0, y0, x1, y1 = (float(edge) for edge in edges)
        except ValueError:
            raise ConfigError(f"--templates, line {line}: a name and four numbers wanted") from None
        if not (np.isfinite([x0, y0, x1, y1]).all() and x1 > x0 and y1 > y0):
            raise ConfigError(f"--templates, line {line}: the box is empty")
        found.append(Template(image.strip(), (x0, y0, x1, y1)))
    if not found:
        raise ConfigError("--templates names no box")
    return tuple(found)


def write_templates(path: Path, templates: Sequence[Template]) -> None:
    """Write them as `read_templates` reads them."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(HEADER)
    table.writerows([t.image, *(f"{edge:g}" for edge in t.box)] for t in templates)
    checkpoint.write_atomically(path, text.getvalue().encode())


def located(
    templates: Sequence[Template], fields: Sequence[Field], mpp: float
) -> tuple[tuple[int, tuple[float, float, float, float]], ...]:
    """Index of each template's field, and its box in px of `mpp`.

    Raises
    ------
    ConfigError
        If an image is none of ``--data``'s train splits, or a box lies outside of it.
    """
    index = {field.sample.id: i for i, field in enumerate(fields) if field.labelled}
    found = []
    for template in templates:
        if template.image not in index:
            raise ConfigError(
                f"the template on {template.image}: no such image in a train split of --data"
            )
        field = fields[index[template.image]]
        x0, y0, x1, y1 = (edge * field.mpp / mpp for edge in template.box)
        height, width = field.raw.shape[:2]
        if x0 < -1 or y0 < -1 or x1 > width + 1 or y1 > height + 1:
            raise ConfigError(f"the template on {template.image} lies outside of the image")
        found.append((index[template.image], (x0, y0, x1, y1)))
    return tuple(found)


def chosen(fields: Sequence[Field], config: MCFConfig, seed: int) -> tuple[Template, ...]:
    """N templates, see the module's docstring.

    The dark round places of all images of ``--data`` are described (`describe`) and divided into
    N clusters; the place nearest to each cluster's mean is asked about.

    Raises
    ------
    ConfigError
        If the data has no instances to ask, or fewer places than templates.
    """
    rng = np.random.default_rng((seed, 12))
    places: list[tuple[int, int, int]] = []
    described: list[NDArray[np.float32]] = []
    for index, field in enumerate(fields):
        if not field.labelled:
            continue
        if field.sample.label_kind != "instances":
            raise ConfigError(
                f"{field.sample.label_kind} cannot be boxed: give --templates, or instances"
            )
        for x, y in dark_places(field.normal, config.mpp):
            places.append((index, x, y))
            described.append(describe(field.normal, x + 0.5, y + 0.5, config.mpp))
    if len(places) < config.templates:
        raise ConfigError(f"--data shows only {len(places)} places that may be nuclei")
    features = np.stack(described)
    found: list[Template] = []
    for nearest in _clusters(features, config.templates, rng):
        for i in nearest:
            box = _asked(fields[places[i][0]], places[i][1], places[i][2], config.mpp)
            if box is not None and box not in found:
                found.append(box)
                break
    return tuple(found)


def dark_places(image: NDArray[np.uint8], mpp: float) -> list[tuple[int, int]]:
    """Pixels (x, y) where haematoxylin gathers in a spot as large as a nucleus, darkest first."""
    blue = haematoxylin(image)
    sigma = _SIGMA_UM / mpp
    spot = ndimage.gaussian_filter(blue, sigma) - ndimage.gaussian_filter(blue, 2.5 * sigma)
    size = 2 * round(_APART_UM / mpp / 2) + 1
    edge = round(_EDGE_UM / mpp)
    peak = (spot == ndimage.maximum_filter(spot, size)) & (spot > _LEAST_SPOT)
    peak[:edge] = peak[len(peak) - edge :] = False
    peak[:, :edge] = peak[:, peak.shape[1] - edge :] = False
    y, x = np.nonzero(peak)
    order = np.argsort(-spot[y, x], kind="stable")[:_PLACES]
    return [(int(a), int(b)) for a, b in zip(x[order], y[order], strict=True)]


def haematoxylin(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Optical density ``[h, w]`` of haematoxylin, by the stain vectors of Ruifrok and Johnston."""
    return np.asarray(optical_density(image) @ np.linalg.inv(HED)[:, 0].astype(np.float32))


def describe(
    image: NDArray[np.uint8], x: float, y: float, mpp: float, *, edge_um: float = 14.0
) -> NDArray[np.float32]:
    """What a place looks like, to tell unlike nuclei apart: ``[192]`` float32.

    Optical densities of the square of `edge_um` around (x, y), averaged to 8 x 8; px of `image`.
    """
    half = edge_um / mpp / 2
    rows = np.clip(np.floor(y + np.linspace(-half, half, 17)[:-1]), 0, image.shape[0] - 1)
    columns = np.clip(np.floor(x + np.linspace(-half, half, 17)[:-1]), 0, image.shape[1] - 1)
    square = optical_density(image[np.ix_(rows.astype(np.intp), columns.astype(np.intp))])
    return np.asarray(square.reshape(8, 2, 8, 2, 3).mean(axis=(1, 3)).ravel())


def farthest_first(
    features: NDArray[np.float32], begun: NDArray[np.float32], count: int
) -> list[int]:
    """`count` rows of `features`, each the farthest from `begun` and from those before it.

    Gonzalez 1985: within twice the best covering radius.
    """
    far = np.full(len(features), np.inf)
    for other in begun:
        far = np.minimum(far, np.linalg.norm(features - other, axis=1))
    picked: list[int] = []
    while len(picked) < min(count, len(features)):
        next_ = int(np.argmax(far))
        picked.append(next_)
        far = np.minimum(far, np.linalg.norm(features - features[next_], axis=1))
        far[picked] = -1
    return picked


def _clusters(
    features: NDArray[np.float32], count: int, rng: np.random.Generator
) -> list[NDArray[np.intp]]:
    """Of each of `count` clusters, its rows from the mean outwards (Lloyd, k-means++ seeds)."""
    mean = features[[int(rng.integers(len(features)))]]
    while len(mean) < count:
        near = _squared(features, mean).min(axis=1)
        new = rng.choice(len(features), p=near / near.sum())
        mean = np.concatenate([mean, features[[new]]])
    for _ in range(50):
        cluster = _squared(features, mean).argmin(axis=1)
        moved = np.stack(
            [
                features[cluster == k].mean(axis=0) if (cluster == k).any() else mean[k]
                for k in range(count)
            ]
        )
        if np.array_equal(moved, mean):
            break
        mean = moved
    return list(np.argsort(_squared(features, mean), axis=0, kind="stable").T)


def _squared(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float64]:
    d = (a**2).sum(1)[:, None] - 2 * a @ b.T + (b**2).sum(1)[None]
    return np.asarray(np.maximum(d, 0), np.float64)


def _asked(field: Field, x: int, y: int, mpp: float) -> Template | None:
    """The box of the nucleus at, or nearest to, pixel (x, y) of `mpp`; None without nuclei."""
    labels = field.sample.instances()
    if not (labels > 0).any():
        return None
    row, column = (
        min(size - 1, int((at + 0.5) * mpp / field.mpp))
        for at, size in zip((y, x), labels.shape, strict=True)
    )
    nearest = ndimage.distance_transform_edt(
        labels <= 0, return_distances=False, return_indices=True
    )
    nucleus = labels[nearest[0, row, column], nearest[1, row, column]]
    rows, columns = np.nonzero(labels == nucleus)
    edges = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
    x0, y0, x1, y1 = (float(edge) for edge in edges)
    return Template(field.sample.id, (x0, y0, x1, y1))
