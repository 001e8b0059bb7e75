"""What the papers of `exemplar` and `label_efficient` say, and the tables that stand beside it."""

from __future__ import annotations

from layout import Column, Gain, Section, Table
from rows_outlines import EXEMPLAR as EXEMPLAR_ROWS
from rows_outlines import LABEL_EFFICIENT as PATCH_ROWS

__all__ = ["EXEMPLAR", "GAINS_OF_OUTLINES", "LABEL_EFFICIENT", "MASKS"]

MASKS = ("unet", "unet-shipped")
"""The supervised line, below the rows of a method."""

_AJI: Column = ("AJI", "instances", "aji")
_OUTLINED: tuple[Column, ...] = (
    _AJI,
    ("mAP", "instances", "map_dsb"),
    ("PQ", "instances", "pq"),
    ("Dice", "pixels", "dice"),
    ("P at 3 µm", "detection", "precision"),
    ("R at 3 µm", "detection", "recall"),
    ("F1 at 3 µm", "detection", "f1"),
)
_PIXELWISE: tuple[Column, ...] = (
    _AJI,
    ("Dice", "pixels", "dice"),
    ("PQ", "instances", "pq"),
    ("F1 at 3 µm", "detection", "f1"),
)

EXEMPLAR = Section(
    "exemplar",
    "Feng et al. 2019: Tables 1 (its DAPI images) and 4 (TNBC, 1,425 of 5,577 nuclei of 54 images; "
    "DIST, taught all of them, .585), and the mean of its seven organs, .535, for `kumar`.",
    "A small backbone without ImageNet or COCO weights, at 0.5 µm/px, 1,000 steps of two crops of "
    "192 px, a fifth of what the preset `default` learns; the paper has ResNeXt-101 and eight "
    "crops of 512 px. Other test images. Weights and thresholds are chosen on val, which is "
    "outlined whole; the paper takes its best checkpoint on the test set. `dsb_dapi` is not the "
    "paper's DAPI set, and no held-out measure: it has no slide ids, its val split is drawn by "
    "chance, and images of one slide may be in both; its µm are half pixels.",
    tuple(
        Table(
            dataset,
            title,
            "instances",
            (*EXEMPLAR_ROWS, *(MASKS if dataset != "dsb_dapi" else ())),
            _OUTLINED,
            paper,
        )
        for dataset, title, paper in (
            ("tnbc", "Partial labels", {"exemplar-25": (0.5497,)}),
            ("kumar", "Partial labels", {"exemplar-25": (0.5353,)}),
            (
                "dsb_dapi",
                "Partial labels, no held-out measure",
                {
                    "exemplar-all-base": (0.520, 0.464),
                    "exemplar-all": (0.522, 0.461),
                    "exemplar-crop-base": (0.499, 0.384),
                    "exemplar-crop": (0.504, 0.393),
                    "exemplar-25": (0.512, 0.435),
                },
            ),
        )
    ),
)

_KUMAR_TABLES = {
    "patches": (0.4786, 0.6898),
    "pairs-singan": (0.4730, 0.6882),
    "pairs": (0.4920, 0.7105),
    "rounds": (0.6086, 0.8188),
    "all-outlines": (0.6107, 0.8211),
}

LABEL_EFFICIENT = Section(
    "label_efficient",
    "Lou et al. 2022: Tables I, II and IV. The last two lines are its HoVer-Net; the others are "
    "its Mask R-CNN, which ends at .537 (all outlines: .536), and which chooses patches with "
    "pairs: random .438, centres .464, k-means .472, CPS .492, without its third term .483, "
    "without its second .474.",
    "A residual U-Net with HoVer-Net's maps instead of HoVer-Net, without ImageNet weights, at "
    "0.5 µm/px: 600 steps of eight crops of 96 px and 300 a round, less than a third of what the "
    "preset `default` learns; generators learn for 150 steps a scale (the paper's code: 25,000). "
    "Patches are compared by a network that learnt from the pool without labels (the paper: "
    "ImageNet's ResNet-50), and ways of choosing without pairs, so that nothing else differs. Six "
    "patches of `tnbc`, nine of `kumar`. Scores are of val, which chose weights, constants and the "
    "round; the paper's are of its test images.",
    tuple(
        Table(
            dataset,
            "Selection, synthesis and pseudo-labels, one by one",
            "hover",
            (*PATCH_ROWS, *MASKS),
            _PIXELWISE,
            paper,
        )
        for dataset, paper in (
            ("tnbc", {"rounds": (0.6414, 0.7938), "all-outlines": (0.6307, 0.7819)}),
            ("kumar", _KUMAR_TABLES),
        )
    ),
)

GAINS_OF_OUTLINES = tuple(
    Gain(title, dataset, row, baseline, kind, _AJI, paper)
    for dataset in ("tnbc", "kumar")
    for title, row, baseline, kind, paper in (
        (
            "the module, at a quarter of the nuclei",
            "exemplar-25",
            "exemplar-25-base",
            "instances",
            None,
        ),
        (
            "a quarter of the nuclei over a quarter of each image",
            "exemplar-25",
            "exemplar-crop-base",
            "instances",
            None,
        ),
        ("CPS over random patches", "patches", "patches-random", "hover", None),
        (
            "CSinGAN's pairs over none",
            "pairs",
            "patches",
            "hover",
            0.013 if dataset == "kumar" else None,
        ),
        ("two rounds of pseudo-labels over none", "rounds", "pairs", "hover", None),
        (
            "patches, pairs and rounds over all outlines",
            "rounds",
            "all-outlines",
            "hover",
            -0.002 if dataset == "kumar" else 0.011,
        ),
    )
)
