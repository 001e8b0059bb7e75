"""A model's nuclei against annotated ones, found the way a slide's are.

Each image of the split is a slide of the data set's mpp (of the model's, where the data set does
not say) and goes through plan, tiles, seams and store.  What is scored is read back from the
published GeoParquet and laid on the data set's own pixels.
"""

from __future__ import annotations

import csv
import math
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import reduce
from operator import add
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import shapely
from numpy.typing import NDArray
from scipy import ndimage

from wsiproc.card import Card
from wsiproc.config import Execution, Science
from wsiproc.datasets import Sample, read_dataset, wholly_annotated
from wsiproc.errors import ConfigError, StoreError
from wsiproc.finish import Work
from wsiproc.geojson import label_map
from wsiproc.metrics import (
    DetectionCounts,
    InstanceCounts,
    PixelCounts,
    detection,
    instances,
    mean_over_images,
    pixels,
)
from wsiproc.pipeline import finish_slide, plan_slide, process_tile
from wsiproc.plan import Job
from wsiproc.workbench import Workbench

INSTANCES = {
    "aji": "aji",
    "aji_plus": "aji_plus",
    "object_dice": "object_dice",
    "pq": "pq",
    "dq": "dq",
    "sq": "sq",
    "map_dsb": "dsb_map",
    "ncs": "ncs",
}
PIXELS = {
    "pa": "pixel_accuracy",
    "mpa": "mean_pixel_accuracy",
    "iou": "iou",
    "fwiou": "weighted_iou",
    "dice": "dice",
}


@dataclass(frozen=True, slots=True)
class Scored:
    """What was counted on one image; None where labels or model don't allow it."""

    id: str
    detection: DetectionCounts
    instances: InstanceCounts | None
    pixels: PixelCounts | None


def evaluate(
    model: str,
    data: Path,
    split: str,
    *,
    radius_um: float = 3.0,
    card: Path | None = None,
    device: str = "auto",
    precision: str = "auto",
    per_image: Path | None = None,
) -> dict[str, Any]:
    """Run `model` over a split and score it.

    Detection and pixels are pooled over images, instances are the mean of images (the literature
    does both; see `wsiproc.metrics`).  True points are the given ones,
    or the centres of the instances' bounding boxes.

    Parameters
    ----------
    model
        Name of a registered model, or path of an ONNX file.
    data
        Folder of the data set.
    split
        Its images that are scored.
    radius_um
        A detection counts within this distance; in a data set without mpp, at the model's.
    per_image
        CSV file for the scores of each image.

    Returns
    -------
    ``{"model", "dataset", "split", "images", "detection": {...}, "instances": {...},
    "pixels": {...}}``; None where labels or model don't allow a number.
    """
    dataset = read_dataset(data)
    samples = dataset.split(split)
    if dataset.label_kind == "none":
        raise ConfigError(f"data set {dataset.name} has no labels to compare with")
    wholly_annotated(dataset, "scoring")
    execution = Execution.model_validate({"device": device, "precision": precision, "workers": 0})
    bench = Workbench()
    try:
        with tempfile.TemporaryDirectory(prefix="wsiproc-") as scratch:
            job = Job(
                slide=Path(),
                slide_id="image",
                model=str(Path(model).absolute()) if model.endswith(".onnx") else model,
                out=Path(scratch),
                science=Science(tissue=False),
                execution=execution,
                card=card,
            )
            about = bench.model(job).card
            mpp = dataset.mpp or about.mpp
            scored = [
                _scored(sample, _found(sample, number, job, about, mpp, bench), mpp, radius_um)
                for number, sample in enumerate(samples)
            ]
    finally:
        bench.close()
    if per_image is not None:
        _write(per_image, scored, radius_um)
    return {
        "model": about.name,
        "dataset": dataset.name,
        "split": split,
        "images": len(scored),
        "detection": _detection([s.detection for s in scored], radius_um),
        "instances": _instances([s.instances for s in scored]),
        "pixels": _pixels([s.pixels for s in scored]),
    }


@dataclass(frozen=True, slots=True, eq=False)
class _Found:
    """What a model says of one image, in the image's px."""

    xy: NDArray[np.float64]
    outlines: NDArray[np.object_] | None
    score: NDArray[np.float32]


def _found(
    sample: Sample, number: int, job: Job, card: Card, mpp: float, bench: Workbench
) -> _Found:
    """Run one image through the engine, and read its table back."""
    height, width = sample.pixels().shape[:2]
    longest = max(height, width) * mpp / card.mpp + 2 * card.margin
    fitting = [window for window in card.windows if window >= longest]
    window = {"window_px": min(fitting) if fitting else None}
    mine = replace(
        job,
        slide=sample.image.absolute(),
        slide_id=f"image-{number}",
        science=Science(tissue=False, mpp=mpp),
        execution=job.execution.model_copy(update=window),
    )
    opened = plan_slide(mine, bench)
    for row, column in opened.waiting:
        process_tile(mine, opened, row, column, bench)
    finish_slide(mine, opened, Work(tiles_total=opened.tiles_total, began=time.time()), bench)
    name = "nuclei.parquet" if card.polygons else "centroids.parquet"
    columns = ["x_um", "y_um", "score", "geometry"]
    table = pq.read_table(mine.out / mine.slide_id / name, columns=columns)
    xy = np.column_stack([table["x_um"].to_numpy(), table["y_um"].to_numpy()]) / mpp
    outlines = None
    if card.polygons:
        wkb = table["geometry"].to_numpy(zero_copy_only=False)
        outlines = shapely.transform(shapely.from_wkb(wkb), lambda um: um / mpp)
    return _Found(xy, outlines, table["score"].to_numpy())


def _scored(sample: Sample, found: _Found, mpp: float, radius_um: float) -> Scored:
    radius = radius_um / mpp
    if sample.label_kind == "points":
        return Scored(sample.id, detection(sample.points().xy, found.xy, radius), None, None)
    true = sample.instances()
    counts = detection(box_centres(true), found.xy, radius)
    if found.outlines is None:
        return Scored(sample.id, counts, None, None)
    predicted = rasterised(found.outlines, found.score, true.shape)
    return Scored(sample.id, counts, instances(true, predicted), pixels(true, predicted))


def box_centres(labels: NDArray[np.int32]) -> NDArray[np.float64]:
    """Centres ``[n, 2]`` (x, y) of the bounding boxes of all instances; pixel centres at +.5."""
    spans = [span for span in ndimage.find_objects(labels) if span is not None]
    centres = [((c.start + c.stop) / 2, (r.start + r.stop) / 2) for r, c in spans]
    return np.array(centres, np.float64).reshape(-1, 2)


def rasterised(
    outlines: NDArray[np.object_], score: NDArray[np.float32], shape: tuple[int, int]
) -> NDArray[np.int32]:
    """Outlines (x, y in px) as a label map ``[h, w]``: a pixel is inside if its centre is.

    Row i of `outlines` becomes label i + 1; where two overlap the higher score is on top.
    """
    order = np.argsort(score, kind="stable")
    number = np.concatenate([[0], order + 1]).astype(np.int32)
    return number[label_map(outlines[order], shape)]


def _detection(counts: Sequence[DetectionCounts], radius_um: float) -> dict[str, float | None]:
    pooled = reduce(add, counts)
    return {
        "radius_um": radius_um,
        "precision": _number(pooled.precision),
        "recall": _number(pooled.recall),
        "f1": _number(pooled.f1),
        "mu_px": _number(pooled.mean_distance),
        "sigma_px": _number(pooled.std_distance),
    }


def _instances(counts: Sequence[InstanceCounts | None]) -> dict[str, float | None]:
    there = [count.scores() for count in counts if count is not None]
    return {
        ours: _number(mean_over_images([scores[theirs] for scores in there]))
        for ours, theirs in INSTANCES.items()
    }


def _pixels(counts: Sequence[PixelCounts | None]) -> dict[str, float | None]:
    there = [count for count in counts if count is not None]
    pooled = reduce(add, there).scores() if there else {}
    return {ours: _number(pooled.get(theirs)) for ours, theirs in PIXELS.items()}


def _number(value: float | None) -> float | None:
    """JSON has no NaN."""
    return None if value is None or math.isnan(value) else round(float(value), 6)


def _write(path: Path, scored: Sequence[Scored], radius_um: float) -> None:
    try:
        with path.open("w", encoding="utf-8", newline="") as file:
            table = csv.writer(file)
            table.writerow(["image", "tp", "fp", "fn", "f1", *INSTANCES, *PIXELS])
            for each in scored:
                seen = _detection([each.detection], radius_um)
                table.writerow(
                    [
                        each.id,
                        each.detection.tp,
                        each.detection.fp,
                        each.detection.fn,
                        seen["f1"],
                        *_instances([each.instances]).values(),
                        *_pixels([each.pixels]).values(),
                    ]
                )
    except OSError as error:
        raise StoreError(f"the scores of each image cannot be written: {error.strerror}") from None
