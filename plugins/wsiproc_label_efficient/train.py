"""The whole training: patches chosen, multiplied, learnt from, and the rest of the images after."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from wsiproc import __version__
from wsiproc.card import Card, NucleusClass
from wsiproc.datasets import Sample, read_dataset
from wsiproc.errors import ConfigError
from wsiproc.methods import TrainingInputs, TrainingNote
from wsiproc.training import checkpoint
from wsiproc.training.fields import Field, Fields, look
from wsiproc.training.sets import licence_of_weights, on_card
from wsiproc_label_efficient.config import LabelEfficientConfig
from wsiproc_label_efficient.hover_segmenter import HoverSegmenter
from wsiproc_label_efficient.images import Image, read_image
from wsiproc_label_efficient.mask_rcnn_segmenter import MaskRCNNSegmenter
from wsiproc_label_efficient.outlines import outlined, write_sheet
from wsiproc_label_efficient.pseudo import pool_of
from wsiproc_label_efficient.rounds import Given, learn_rounds
from wsiproc_label_efficient.segmenting import Segmenter
from wsiproc_label_efficient.selection import Selection, patches_dataset, select_patches
from wsiproc_label_efficient.synthesis import synthesize

NAME = "label_efficient"


def train(config: LabelEfficientConfig, inputs: TrainingInputs) -> tuple[Path, ...]:
    """See `wsiproc.methods.Method.train`."""
    torch.set_num_threads(inputs.threads or torch.get_num_threads())
    path = inputs.out / f"{NAME}.onnx"
    if checkpoint.claim(NAME, config, inputs) and path.is_file():
        inputs.listener(TrainingNote("export", "finished before; nothing is left to do"))
        return (path,)
    segmenter, mpp = segmenter_of(config)
    fields = look(inputs, to_mpp=mpp)
    _check_labels(fields)
    given = (
        everything(fields, mpp) if config.annotated == "all" else few(config, fields, mpp, inputs)
    )
    inputs.listener(TrainingNote("data", given.note))
    torch.manual_seed(inputs.seed)
    net = segmenter.network()
    card = carded(config, fields, given, segmenter, net, inputs.command)
    best = learn_rounds(
        segmenter,
        net,
        card,
        given,
        fields.check,
        config,
        inputs,
    )
    segmenter.deliver(best.net, best.card, fields.check, inputs)
    return (path,)


def segmenter_of(config: LabelEfficientConfig) -> tuple[Segmenter, float]:
    """The segmenter that is asked for, and the mpp it works at."""
    if config.segmenter == "mask_rcnn":
        segmenter = MaskRCNNSegmenter(config.mask_rcnn, config.largest_nucleus_um)
        return segmenter, config.mask_rcnn.mpp
    return HoverSegmenter(config.hover), config.hover.mpp


def everything(fields: Fields, mpp: float) -> Given:
    """Full supervision: all outlines of the train split, and nothing made from them."""
    real = tuple(read_image(field.sample, field.mpp, mpp) for field in fields.train)
    note = f"all outlines of {len(real)} images were learnt from"
    return Given(real, (), tuple(pool_of(field, []) for field in fields.unlabelled), note)


def few(config: LabelEfficientConfig, fields: Fields, mpp: float, inputs: TrainingInputs) -> Given:
    """Some patches of the train split, and what is synthesised from them."""
    samples = [replace(field.sample, mpp=field.mpp) for field in fields.train]
    selection = select_patches(
        config.select,
        samples,
        folder=inputs.out / "select",
        seed=inputs.seed,
        listener=inputs.listener,
    )
    folder = patches_dataset(selection, inputs.out / "select" / "dataset", name="patches")
    patches = read_dataset(folder).samples
    real = tuple(_read(patch, mpp) for patch in patches)
    write_sheet(
        inputs.out / "patches.png", [outlined(i.pixels, i.instances) for i in real], across=4
    )
    synthetic: tuple[Image, ...] = ()
    if config.synthesis.how != "naive":
        made = synthesize(
            config.synthesis,
            patches,
            out=inputs.out / "synthesis",
            seed=inputs.seed,
            listener=inputs.listener,
        )
        synthetic = tuple(_read(pair, mpp) for pair in read_dataset(made).samples)
    pool = tuple(pool_of(field, _patches_of(field, selection)) for field in fields.train) + tuple(
        pool_of(field, []) for field in fields.unlabelled
    )
    return Given(real, synthetic, pool, _said(config, selection, len(synthetic)))


def carded(
    config: LabelEfficientConfig,
    fields: Fields,
    given: Given,
    segmenter: Segmenter,
    net: nn.Module,
    command: str,
) -> Card:
    """What is known of the model before its post-processing is chosen."""
    seen = [dataset for dataset in fields.sets if dataset.name in fields.seen]
    listed = tuple(
        entry
        for dataset in seen
        for entry in on_card([dataset], fields.seen[dataset.name], fields.assumed)
    )
    for weights in (config.hover.encoder_weights, config.select.features.weights):
        if weights is not None:
            command = command.replace(str(weights), weights.name)
    return Card.model_validate(
        {
            **segmenter.about(net, fields.chosen_on),
            "name": NAME,
            "method": NAME,
            "largest_nucleus_um": config.largest_nucleus_um,
            "classes": (NucleusClass(name="nucleus", color=(0, 160, 80)),),
            "data": listed,
            "licence": licence_of_weights(seen),
            "code_version": f"wsiproc {__version__}, torch {torch.__version__}",
            "command": command,
            "note": f"{given.note}; val chose weights and constants",
        }
    )


def _check_labels(fields: Fields) -> None:
    """Patches are outlined, so all that is learnt from and chosen by must be."""
    for field in (*fields.train, *fields.check):
        if field.sample.label_kind != "instances":
            raise ConfigError(
                f"instances are needed; image {field.sample.id} has {field.sample.label_kind}"
            )


def _read(sample: Sample, mpp: float) -> Image:
    assert sample.mpp is not None
    return read_image(sample, sample.mpp, mpp)


def _patches_of(field: Field, selection: Selection) -> list[tuple[slice, slice]]:
    """Rows and columns of the file in which a field is annotated."""
    return [patch.inside for patch in selection.patches if patch.sample.image == field.sample.image]


def _said(config: LabelEfficientConfig, selection: Selection, pairs: int) -> str:
    select, how = config.select, config.synthesis.how
    compared = f", compared by {selection.features}" if selection.features else ""
    made = f"{pairs} pairs were made from them by {how}" if pairs else "none were made from them"
    return (
        f"{len(selection.patches)} patches of {select.size_um:g} µm, {selection.share:.1%} of the "
        f"train split's pixels, were chosen by {select.method}{compared}; no other outlines were "
        f"learnt from; {made}"
    )
