"""The whole training: templates, rounds, and the two files that it ends in."""

from __future__ import annotations

from pathlib import Path

import torch

from wsiproc import __version__
from wsiproc.card import Card, MaskPost, NucleusClass, TrainingSet
from wsiproc.datasets import Dataset
from wsiproc.methods import TrainingInputs, TrainingNote
from wsiproc.training import checkpoint
from wsiproc.training.choose import judge
from wsiproc.training.deliver import deliver
from wsiproc.training.nets import ResidualUNet, aligned_margin
from wsiproc.training.sets import licence_of_weights, on_card
from wsiproc_mcf.config import CHOICES, MCFConfig
from wsiproc_mcf.deploy import centre_px, response_alone, segmenter
from wsiproc_mcf.detector import deliver_detector
from wsiproc_mcf.images import Images, look
from wsiproc_mcf.rounds import Known, Learnt, detect, known, learn, missing
from wsiproc_mcf.templates import Template, chosen, located, read_templates, write_templates

FILES = ("mcf.onnx", "mcf_detector.onnx")


def train(config: MCFConfig, inputs: TrainingInputs) -> tuple[Path, ...]:
    """See `wsiproc.methods.Method.train`."""
    torch.set_num_threads(inputs.threads or torch.get_num_threads())
    files = _, detector = tuple(inputs.out / name for name in FILES)
    begun = checkpoint.claim("mcf", config, inputs, templates=True)
    if begun and all(file.is_file() for file in files):
        inputs.listener(TrainingNote("export", "finished before; nothing is left to do"))
        return files
    images = look(config, inputs)
    templates = boxed(images, config, inputs)
    now, learnt = complemented(images, templates, config, inputs)
    card = carded(config, images, templates, inputs.command)
    if not detector.is_file():
        deliver_detector(now.bank, inputs, check=images.check, card=card)
    if learnt is None:
        deployed, reach = response_alone(now.bank, config)
        margin = -(-reach // card.step) * card.step
        card = card.model_copy(update={"margin": margin})
    else:
        deployed = segmenter(learnt.net, config)
    annotated = (
        (pixels, sample.mpp or config.mpp, sample.instances()) for sample, pixels in images.check
    )
    tissue = images.check[0][1]
    by = ("aji", "f1", "dice")
    judged = judge(deployed, card, annotated)
    deliver(deployed, card, inputs, judged=judged, choices=CHOICES, by=by, tissue=tissue)
    return files


def boxed(images: Images, config: MCFConfig, inputs: TrainingInputs) -> tuple[Template, ...]:
    """The templates: a person's, or those asked of the data; written to ``OUT/templates.csv``."""
    path = inputs.out / "templates.csv"
    if path.is_file():
        return read_templates(path)
    if inputs.templates is not None:
        templates = read_templates(inputs.templates)
        said = f"{len(templates)} boxes from {inputs.templates.name}"
    else:
        templates = chosen(images.fields, config, inputs.seed)
        said = f"{len(templates)} nuclei boxed at places chosen without labels"
    write_templates(path, templates)
    inputs.listener(TrainingNote("templates", said))
    return templates


def complemented(
    images: Images,
    templates: tuple[Template, ...],
    config: MCFConfig,
    inputs: TrainingInputs,
) -> tuple[Known, Learnt | None]:
    """All rounds: the detection branch that the last one used, and the segmenter that it taught.

    There is no segmenter where ``config.segmentation`` is off.
    """
    places = located(templates, images.fields, config.mpp)
    begun, learnt = len(places), None
    torch.manual_seed(inputs.seed)
    fresh = ResidualUNet(config.width, config.poolings, outputs=1)
    number = 1
    while True:
        folder = inputs.out / f"round-{number}"
        folder.mkdir(parents=True, exist_ok=True)
        now = known(places, begun, images, config, folder / "bank.pt")
        masks = detect(now, images, config, inputs, number)
        if not config.segmentation:
            return now, None
        learnt = learn(learnt, fresh, images, masks, config, inputs, number)
        inputs.listener(TrainingNote(f"round {number}", f"Dice on val {learnt.dice:.3f}"))
        if number == config.rounds:
            return now, learnt
        later = inputs.out / f"round-{number + 1}" / "bank.pt"
        if later.is_file():
            places = known(now.places, begun, images, config, later).places
        else:
            more = missing(now, learnt, images, masks, config, inputs, number)
            if not more:
                inputs.listener(TrainingNote(f"round {number}", "no template is missing any more"))
                return now, learnt
            places = (*now.places, *more)
        number += 1


def carded(
    config: MCFConfig, images: Images, templates: tuple[Template, ...], command: str
) -> Card:
    """What is known of the segmenter before its post-processing is chosen."""
    listed = tuple(
        _as_used(entry, dataset, images)
        for dataset in images.sets
        if dataset.name in images.seen
        for entry in on_card([dataset], images.seen[dataset.name], images.assumed)
    )
    return Card(
        name="mcf",
        method="mcf",
        kind="mask",
        mpp=config.mpp,
        step=2**config.poolings,
        windows=config.windows,
        margin=aligned_margin(config.poolings, centre_px(config) // 2),
        largest_nucleus_um=config.largest_nucleus_um,
        classes=(NucleusClass(name="nucleus", color=(0, 160, 80)),),
        post=MaskPost(threshold=0.5, levels=(0.6, 0.3), chosen_on=images.chosen_on),
        local=True,
        stain_target=images.stain_target,
        data=listed,
        licence=licence_of_weights([d for d in images.sets if d.name in images.seen]),
        code_version=f"wsiproc {__version__}, torch {torch.__version__}",
        command=command,
        note=f"{len(templates)} boxed nuclei are all that was learnt from of labels; masks of the "
        "val split chose thresholds",
    )


def _as_used(entry: TrainingSet, dataset: Dataset, images: Images) -> TrainingSet:
    """The entry of a train split, less the images that were left out for their stain."""
    if entry.split != "train":
        return entry
    there = {id(sample) for sample in dataset.samples}
    used = sum(id(field.sample) in there for field in images.fields)
    if used == entry.images:
        return entry
    left_out = f"{entry.images - used} more left out, their stain being too unlike"
    return entry.model_copy(update={"images": used, "note": f"{entry.note}; {left_out}"})
