"""What the papers say, and which tables of RESULTS.md stand beside it."""

from __future__ import annotations

from layout import OUTLINES, PIXELS, POINTS_3UM, POINTS_AS_PRINTED, Gain, Section, Table
from paper_outlines import EXEMPLAR, GAINS_OF_OUTLINES, LABEL_EFFICIENT, MASKS
from rows_points import LABELLED, LAIR, POINTS

__all__ = ["GAINS", "SECTIONS"]

_MCF_SEGMENTATION = ("mcf", "no-seg", "no-self", "no-syn", "ce", "weig", *MASKS)
_MCF_DETECTION = ("mcf", "no-seg", "no-cff", "no-mff", "h1", "mean", "no-gdbp", *MASKS)
_NONE_MINED = {"no-seg": "MCF's filters, none mined"}

_MCF = Section(
    "mcf",
    "Feng et al. 2022: Tables 1, 2 and 3, its images called normal; `kumar` is its MICCAI18.",
    "Other test images than the paper's; centres within 3 µm, where the paper names no distance; "
    "half the resolution, and the widths of the preset `default`. What limits it: "
    "[its page](../../docs/models/mcf.md).",
    (
        Table(
            "kumar",
            "Segmentation, `mcf.onnx`",
            "mask",
            _MCF_SEGMENTATION,
            PIXELS,
            {
                "mcf": (0.8639, 0.8143, 0.5366, 0.7730, 0.6984),
                "no-seg": (0.7250, 0.7670, 0.4105, 0.6033, 0.5821),
                "no-self": (0.8556, 0.7871, 0.5001, 0.7595, 0.6668),
                "no-syn": (0.8438, 0.7962, 0.4971, 0.7463, 0.6641),
                "ce": (0.8632, 0.6947, 0.3863, 0.6139, 0.5573),
                "weig": (0.7369, 0.7752, 0.4099, 0.6198, 0.5814),
            },
        ),
        Table(
            "kumar",
            "Detection, `mcf_detector.onnx`",
            "points",
            _MCF_DETECTION,
            POINTS_3UM,
            {
                "mcf": (0.6540, 0.7899, 0.7156),
                "no-cff": (0.5992, 0.7957, 0.6836),
                "no-mff": (0.5027, 0.8968, 0.6443),
                "h1": (0.5512, 0.7716, 0.6430),
                "mean": (0.5384, 0.7633, 0.6314),
                "no-gdbp": (0.6436, 0.7182, 0.6789),
            },
            _NONE_MINED,
        ),
        Table(
            "tnbc",
            "Segmentation, `mcf.onnx`",
            "mask",
            _MCF_SEGMENTATION,
            PIXELS,
            {
                "mcf": (0.8995, 0.8051, 0.5794, 0.8175, 0.7337),
                "no-seg": (0.6283, 0.7252, 0.2463, 0.5303, 0.3953),
            },
        ),
        Table(
            "tnbc",
            "Detection, `mcf_detector.onnx`",
            "points",
            _MCF_DETECTION,
            POINTS_3UM,
            {"mcf": (0.6402, 0.7143, 0.6752)},
            _NONE_MINED,
        ),
    ),
)

_SEMI = tuple(f"{way}-{n}" for n in LABELLED for way in ("supervised", "lair"))
_ABLATED = tuple(row for row in LAIR if row.startswith("lair-5"))

_LAIR = Section(
    "lair",
    "Tian et al. 2022: Tables 1 to 6. Images with points are 5 to 40; the train split's others "
    "give their pixels.",
    "The paper splits the 100 images otherwise, and its 20 test images are not here: scores are of "
    "our 10 val images, which chose weights and thresholds. The paper's p and T_p look chosen on "
    "its test images. Networks of 16 channels (8 for reconstruction and discriminators), crops of "
    "96 px, and the steps of the preset `default`, for every row alike. P, R and F are at the "
    "paper's 3.3 µm.",
    (
        Table(
            "crchisto",
            "Images with points (Tables 1 and 2)",
            "points",
            (*_SEMI, "self-training-5", "mean-teacher-5", "supervised-all"),
            POINTS_AS_PRINTED,
            {
                "supervised-5": (0.691, 0.743, 0.716),
                "supervised-10": (None, None, 0.763),
                "supervised-20": (None, None, 0.805),
                "supervised-40": (None, None, 0.832),
                "lair-5": (0.767, 0.779, 0.773),
                "lair-10": (0.795, 0.798, 0.796),
                "lair-20": (0.825, 0.830, 0.828),
                "lair-40": (0.830, 0.860, 0.845),
                "self-training-5": (0.756, 0.737, 0.746),
                "mean-teacher-5": (0.754, 0.748, 0.751),
            },
            {
                "self-training-5": "self-training (.9), 5 images",
                "mean-teacher-5": "Mean Teacher, 5 images",
            },
        ),
        Table(
            "crchisto",
            "What each part gives, with 5 images (Tables 3 to 6)",
            "points",
            ("supervised-5", *_ABLATED),
            POINTS_AS_PRINTED,
            {
                "supervised-5": (0.691, 0.743, 0.716),
                "lair-5": (0.767, 0.779, 0.773),
                "lair-5-rec": (0.767, 0.758, 0.763),
                "lair-5-dimg": (0.753, 0.784, 0.768),
                "lair-5-features": (0.748, 0.758, 0.753),
                "lair-5-p7": (None, None, 0.764),
                "lair-5-p15": (None, None, 0.769),
                "lair-5-p19": (None, None, 0.765),
                "lair-5-p23": (None, None, 0.760),
                "lair-5-t75": (None, None, 0.763),
                "lair-5-t80": (None, None, 0.767),
                "lair-5-t90": (None, None, 0.766),
                "lair-5-t95": (None, None, 0.762),
            },
            {"supervised-5": "B", "lair-5": "full: +D_ins, of the map, p=11, T_p=.85"},
        ),
    ),
)

_PARTIAL_POINTS = Section(
    "partial_points",
    "Qu et al. 2020: Tables I, II and III, its multi-organ set. Of ten seeds at 10 % it says F "
    ".833 (.010) and AJI .516 (.004). What each label and the CRF loss give is drawn in its "
    "figures 6 and 7, without numbers.",
    "No ImageNet weights, and narrower networks at 0.5 µm: 16, 32 and 64 channels, with 200 steps "
    "a round, 800 for the segmenter and 80 with the CRF loss, about half of what the preset "
    "`default` learns. Scores are of our 4 val images, which chose weights and thresholds; the "
    "paper's are of 14 others of seven organs, and its public code chooses the segmenter on them. "
    "Given points are drawn without replacement (the code draws with: 10 % are 9.5 %). Nuclei that "
    "touch are separated by the decoder, which the paper does not. P, R and F are at the paper's "
    "2.75 µm; PA and Dice are pooled over pixels, where the paper takes the mean of images.",
    (
        Table(
            "kumar",
            "Detection, `partial_points_detector.onnx`",
            "points",
            [row for row in POINTS if not row.endswith(("voronoi", "cluster", "no-crf"))],
            POINTS_AS_PRINTED,
            {
                "points-5": (0.8021, 0.8441, 0.8226),
                "points-10": (0.8238, 0.8328, 0.8282),
                "points-25": (0.8259, 0.8440, 0.8349),
                "points-50": (0.8237, 0.8821, 0.8519),
                "points-100": (0.8420, 0.8665, 0.8541),
                "points-10-gaussian": (0.5574, 0.7650, 0.6449),
                "points-10-extended": (0.7932, 0.8471, 0.8193),
                "points-10-positives": (0.7754, 0.8138, 0.7941),
                "points-10-full": (0.8420, 0.8665, 0.8541),
            },
        ),
        Table(
            "kumar",
            "Segmentation, `partial_points.onnx`",
            "mask",
            (*POINTS, *MASKS),
            OUTLINES,
            {
                "points-5": (0.8951, 0.7540, 0.7015, 0.4941),
                "points-10": (0.8997, 0.7490, 0.7033, 0.5031),
                "points-25": (0.8966, 0.7511, 0.7087, 0.5120),
                "points-50": (0.8999, 0.7566, 0.7157, 0.5160),
                "points-100": (0.9097, 0.7716, 0.7242, 0.5174),
                "unet": (0.9194, 0.8100, 0.6763, 0.3919),
            },
            {"unet": "all masks: `unet` (the paper: its own network)"},
        ),
    ),
)

_F_AS_PRINTED = ("F", "detection_as_printed", "f1")
_AJI = ("AJI", "instances", "aji")
_DICE = ("Dice", "pixels", "dice")

GAINS = (
    *(
        Gain(
            f"LAIR over supervised, {number} images",
            "crchisto",
            f"lair-{number}",
            f"supervised-{number}",
            "points",
            _F_AS_PRINTED,
            paper,
        )
        for number, paper in zip(LABELLED, (0.057, 0.033, 0.023, 0.013), strict=True)
    ),
    *(
        Gain(title, "kumar", "points-10", f"points-10-{other}", "points", _F_AS_PRINTED, paper)
        for title, other, paper in (
            ("background propagation over ext-GM", "extended", 0.009),
            ("background propagation over GM", "gaussian", 0.183),
            ("background propagation over ST-nu", "positives", 0.034),
        )
    ),
    *(
        Gain(title, "kumar", "points-10", f"points-10-{other}", "mask", _AJI)
        for title, other in (
            ("both labels over the Voronoi label", "voronoi"),
            ("both labels over the cluster label", "cluster"),
            ("CRF loss over none", "no-crf"),
        )
    ),
    *GAINS_OF_OUTLINES,
    Gain("MCF over its filters", "kumar", "mcf", "no-seg", "mask", _DICE, 0.116),
    Gain("MCF over its filters", "tnbc", "mcf", "no-seg", "mask", _DICE, 0.338),
)

SECTIONS = (_LAIR, _PARTIAL_POINTS, EXEMPLAR, LABEL_EFFICIENT, _MCF)
"""In the order of RESULTS.md."""
