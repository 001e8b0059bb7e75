"""The whole training: a detector, the points that it adds, a segmenter, and the two files."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from wsiproc import __version__
from wsiproc.card import Card, MaskPost, NucleusClass, PointsPost
from wsiproc.methods import TrainingInputs, TrainingNote
from wsiproc.model import load_model
from wsiproc.training import checkpoint
from wsiproc.training.fields import Fields, look
from wsiproc.training.sets import licence_of_weights, on_card
from wsiproc_partial_points.config import PartialPointsConfig
from wsiproc_partial_points.deploy import deliver_detector, deliver_segmenter
from wsiproc_partial_points.detection import all_points, learn_detector
from wsiproc_partial_points.images import Images, Points, given
from wsiproc_partial_points.net import ResUNet, exact_margin, load_encoder, pixel_statistics
from wsiproc_partial_points.segmentation import learn_segmenter, outputs

NAME = "partial_points"
DETECTOR = "partial_points_detector"
THRESHOLD = 0.35
"""Of a segmenter whose val split has no outlines: what lies between nuclei and background of the
labels is unknown, and outlines of TNBC and Kumar's set chose .25 to .4."""


def train(config: PartialPointsConfig, inputs: TrainingInputs) -> tuple[Path, ...]:
    """See `wsiproc.methods.Method.train`."""
    torch.set_num_threads(inputs.threads or torch.get_num_threads())
    files = segmenter, detector = tuple(inputs.out / f"{name}.onnx" for name in (NAME, DETECTOR))
    begun = checkpoint.claim(NAME, config, inputs)
    if begun and all(file.is_file() for file in files):
        inputs.listener(TrainingNote("export", "finished before; nothing is left to do"))
        return files
    fields = look(inputs, to_mpp=config.mpp)
    fraction = 1.0 if config.strategy == "full" else config.fraction
    images = given(fields, fraction, inputs.seed)
    note = f"{sum(map(len, images.given))} points given in {len(images.fields)} images"
    inputs.listener(TrainingNote("data", f"{note}; the detector learns by {config.strategy}"))
    card = carded(config, fields, images, inputs.command)
    points = detections(config, fields, images, card, inputs, detector)
    torch.manual_seed(inputs.seed + 1)
    net = learn_segmenter(
        network(config, images, outputs(config)), images, points, fields, card, config, inputs
    )
    if not segmenter.is_file():
        deliver_segmenter(net, card, fields, config, inputs)
    return files


def detections(
    config: PartialPointsConfig,
    fields: Fields,
    images: Images,
    card: Card,
    inputs: TrainingInputs,
    file: Path,
) -> list[Points]:
    """Stage 1 to its end: the detector's file, and the points that the segmenter learns from.

    Both are on disk before they are used, so a training that goes on in stage 2 skips all this.
    """
    path = inputs.out / "points.npz"
    kept = checkpoint.kept(path) if file.is_file() else None
    if kept is not None:
        return kept
    about = Card.model_validate(
        {
            **card.model_dump(),
            "name": DETECTOR,
            "kind": "points",
            "post": PointsPost(
                threshold=config.detected_above, radius_um=2.0, chosen_on=fields.chosen_on
            ).model_dump(),
            "margin": exact_margin(config.blocks, config.stem_stride),
        }
    )
    torch.manual_seed(inputs.seed)
    net = learn_detector(network(config, images, 1), images, fields, about, config, inputs)
    if not file.is_file():
        deliver_detector(net, about, fields, inputs)
    post = load_model(str(file)).card.post
    assert isinstance(post, PointsPost)
    points = all_points(net, post, images, config)
    checkpoint.keep(path, points)
    more = sum(map(len, points)) - sum(map(len, images.given))
    inputs.listener(TrainingNote("detect", f"{more} detections are added to the points given"))
    return points


def network(config: PartialPointsConfig, images: Images, channels: int) -> nn.Module:
    """A network that has learnt nothing of nuclei."""
    net = ResUNet(
        config.channels,
        config.blocks,
        stem_stride=config.stem_stride,
        outputs=channels,
        dropout=config.dropout,
    )
    net.normalise(*pixel_statistics([torch.from_numpy(f.pixels) for f in images.fields]))
    if config.encoder_weights is not None:
        load_encoder(net, config.encoder_weights)
    return net


def carded(config: PartialPointsConfig, fields: Fields, images: Images, command: str) -> Card:
    """What is known of the segmenter before its post-processing is chosen."""
    listed = tuple(
        entry
        for dataset in fields.sets
        if dataset.name in fields.seen
        for entry in on_card([dataset], fields.seen[dataset.name], fields.assumed)
    )
    weights = config.encoder_weights
    if weights is not None:
        command = command.replace(str(weights), weights.name)
    count = sum(map(len, images.given))
    every = sum(len(field.points) for field in images.fields if field.points is not None)
    return Card(
        name=NAME,
        method=NAME,
        kind="mask",
        mpp=config.mpp,
        step=config.stem_stride << len(config.blocks),
        windows=config.windows,
        margin=exact_margin(config.blocks, config.stem_stride),
        largest_nucleus_um=config.largest_nucleus_um,
        classes=(NucleusClass(name="nucleus", color=(0, 160, 80)),),
        post=MaskPost(threshold=THRESHOLD, seed_threshold=0.2, chosen_on=fields.chosen_on),
        local=True,
        data=listed,
        licence=licence_of_weights([d for d in fields.sets if d.name in fields.seen]),
        code_version=f"wsiproc {__version__}, torch {torch.__version__}",
        command=command,
        note=f"{count} points of {every} nuclei are all that was learnt from of labels; masks of "
        "the val split chose thresholds, if there are any",
    )
