"""What is decided once for a slide, and stored: every tile and every later run reads it."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import TypeAdapter, ValidationError

from wsiproc.card import Card
from wsiproc.config import Execution, Science
from wsiproc.errors import NotReadyError, StoreError
from wsiproc.geometry import Box
from wsiproc.model import SessionFacts
from wsiproc.slide import Slide, SlideFacts, Thumbnail, View, fingerprint, thumbnail, view_at
from wsiproc.slide.arrival import Seen, stamp_of
from wsiproc.stain import stain_matrix
from wsiproc.store.disk import storing, write_whole
from wsiproc.tissue import Region, find_tissue, looks_fluorescent

THUMBNAIL_UM = 8.0
"""µm per px where tissue and stain are looked for: nuclei vanish, a needle biopsy is still a
hundred pixels wide."""
PICTURE_PX = 1600
"""Longest edge of the picture kept for the overview, at least, where the slide has as many."""

PLAN, REGION, PICTURE = "plan.json", "region.npz", "picture.png"


@dataclass(frozen=True, slots=True)
class Job:
    """One slide to be run through one model; small, and all that a worker is sent.

    Parameters
    ----------
    slide
        The slide's file.  Its path never leaves the job, not even where the job is printed.
    slide_id
        What outputs and logs call the slide.
    model
        Name of a registered model, or path of an ONNX file.
    card
        Card (TOML) of a foreign ONNX file, or None.
    out
        Folder under which ``SLIDE_ID/`` is published.
    science, execution
        Settings.
    replace
        Whether a result of other settings at the same place gives way.
    seen
        The slide's fingerprint and what its files looked like then, where that is known already.
    """

    slide: Path = field(repr=False)
    slide_id: str
    model: str
    out: Path
    science: Science
    execution: Execution
    card: Path | None = None
    replace: bool = False
    seen: Seen | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """What holds for the whole slide and does not depend on how it is cut into tiles.

    Parameters
    ----------
    slide_id, job_key, fingerprint
        The slide's name; the digest of all that decides the result; the digest of its files.
    facts, view
        The slide, and how it is brought to the model's mpp.
    model, model_sha256
        Name and digest of the model.
    session
        Device, precision and numerics tag that every worker has to match.
    stain
        3 x 3 optical-density matrix, row by row, or None for a model that takes none.
    tissue_px
        Pixels of the tissue mask that are tissue.
    warnings
        What people should know.
    """

    slide_id: str
    job_key: str
    fingerprint: str
    facts: SlideFacts
    view: View
    model: str
    model_sha256: str
    session: SessionFacts
    stain: tuple[tuple[float, float, float], ...] | None
    tissue_px: int
    warnings: tuple[str, ...]

    @property
    def stain_matrix(self) -> NDArray[np.float32] | None:
        return None if self.stain is None else np.array(self.stain, np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class Planned:
    """A plan with where to look, and a picture of the slide for the overview."""

    plan: Plan
    region: Region
    picture: Thumbnail

    def touches(self, box: Box) -> bool:
        """Whether `box` (model px) may hold a pixel in which nuclei are looked for."""
        frame = self.plan.view.frame
        return self.region.touches(
            Box(
                int(np.floor(box.x0 * frame.scale_x)),
                int(np.floor(box.y0 * frame.scale_y)),
                int(np.ceil(box.x1 * frame.scale_x)),
                int(np.ceil(box.y1 * frame.scale_y)),
            )
        )

    def keeps(self, x: NDArray[np.int64], y: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which pixels (model px) lie where nuclei are looked for, by their centres."""
        centres = np.column_stack([x, y]).astype(np.float64) + 0.5
        return self.region.contains(self.plan.view.frame.model_to_level0(centres))


_JSON = TypeAdapter(Plan)


def fingerprint_of(job: Job) -> str:
    """The fingerprint of a job's slide; its files are read only if it is not known yet.

    Raises
    ------
    SlideFormatError
        If a file cannot be read.
    NotReadyError
        If the files are not those that were seen.
    """
    if job.seen is None:
        return fingerprint(job.slide)
    check_unchanged(job)
    return job.seen.fingerprint


def check_unchanged(job: Job) -> None:
    """Make sure that the slide's files are still those that its fingerprint was taken of.

    Raises
    ------
    NotReadyError
        If they are not.
    """
    if job.seen is not None and stamp_of(job.slide) != job.seen.stamp:
        raise NotReadyError("the slide's files have changed since they were looked at")


def make_plan(
    job: Job,
    slide: Slide,
    card: Card,
    model_sha256: str,
    session: SessionFacts,
    *,
    fingerprint: str,
    job_key: str,
) -> Planned:
    """Look at the whole slide once: its tissue, its stain, and what is odd about it."""
    view = view_at(slide.facts, card.mpp, exact=job.science.exact_mpp)
    small = thumbnail(slide, THUMBNAIL_UM)
    warnings = []
    if view.coarse:
        warnings.append(
            f"the slide has {max(slide.facts.mpp):.3g} µm per pixel, coarser than the "
            f"{card.mpp:g} the model was made for: expect more errors"
        )
    fluorescent = looks_fluorescent(small.pixels)
    if fluorescent:
        warnings.append(
            "the slide looks like fluorescence on a dark background, the model was made for "
            "stained tissue on a bright one: its nuclei are not to be trusted"
        )
    mask = None
    if job.science.tissue:
        mask = find_tissue(small.pixels, THUMBNAIL_UM)
        if not mask.any():
            warnings.append("no tissue was found; --no-tissue looks at the whole slide")
    region = Region(
        mask,
        small.scale_x,
        small.scale_y,
        slide.facts.width,
        slide.facts.height,
        roi=job.science.roi,
    )
    stain = None
    if card.stain_target is not None and job.science.stain:
        seen = mask if mask is not None else np.ones(small.pixels.shape[:2], np.bool_)
        found = stain_matrix(small.pixels, seen, np.array(card.stain_target))
        if not found.enough:
            warnings.append("too little tissue to estimate the stain: it is left as it is")
        stain = tuple((float(a), float(b), float(c)) for a, b, c in found.matrix)
    plan = Plan(
        slide_id=job.slide_id,
        job_key=job_key,
        fingerprint=fingerprint,
        facts=slide.facts,
        view=view,
        model=card.name,
        model_sha256=model_sha256,
        session=session,
        stain=stain,
        tissue_px=int(mask.sum()) if mask is not None else 0,
        warnings=tuple(warnings),
    )
    return Planned(plan, region, _picture(slide))


def _picture(slide: Slide) -> Thumbnail:
    facts = slide.facts
    longest_um = max(facts.width * facts.mpp[0], facts.height * facts.mpp[1])
    return thumbnail(slide, min(THUMBNAIL_UM, max(longest_um / PICTURE_PX, *facts.mpp)))


def write_plan(folder: Path, planned: Planned) -> None:
    """Store a plan; ``plan.json`` comes last, so a plan that is there is whole."""
    region, picture = planned.region, planned.picture
    packed, png = io.BytesIO(), io.BytesIO()
    mask = region.mask if region.mask is not None else np.zeros((0, 0), np.bool_)
    np.savez_compressed(
        packed,
        mask=mask,
        scale=(region.scale_x, region.scale_y),
        picture_scale=(picture.scale_x, picture.scale_y),
    )
    Image.fromarray(picture.pixels).save(png, "PNG")
    with storing("the plan"):
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(folder / REGION, packed.getvalue())
        write_whole(folder / PICTURE, png.getvalue())
        write_whole(folder / PLAN, _JSON.dump_json(planned.plan, indent=1))


def read_plan(folder: Path, science: Science) -> Planned | None:
    """The plan stored in `folder`, or None where there is none yet.

    Raises
    ------
    StoreError
        If what is stored cannot be read: the folder was damaged.
    """
    if not (folder / PLAN).exists():
        return None
    try:
        plan = _JSON.validate_json((folder / PLAN).read_bytes())
        with np.load(folder / REGION) as stored:
            mask, (scale_x, scale_y) = stored["mask"], stored["scale"]
            picture_x, picture_y = stored["picture_scale"]
        pixels = np.asarray(Image.open(folder / PICTURE).convert("RGB"))
    except (OSError, ValidationError, ValueError, KeyError) as error:
        raise StoreError(
            f"the stored plan of this run is damaged ({type(error).__name__}); "
            f"remove {folder.name} under .wsiproc in the output folder and run again"
        ) from None
    region = Region(
        mask if mask.size else None,
        float(scale_x),
        float(scale_y),
        plan.facts.width,
        plan.facts.height,
        roi=science.roi,
    )
    return Planned(plan, region, Thumbnail(pixels, float(picture_x), float(picture_y)))
