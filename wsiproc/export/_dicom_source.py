"""Which slide DICOM annotations are of: its header, or what stands in for one."""

from __future__ import annotations

import logging
import uuid
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from wsiproc.errors import ConfigError
from wsiproc.export._names import SPACE, dicom_uid
from wsiproc.export._slide import check_same
from wsiproc.results.stored import StoredResult
from wsiproc.slide.files import files_of

if TYPE_CHECKING:
    from pydicom import Dataset

_WHOLE_SLIDE: Final = "1.2.840.10008.5.1.4.1.1.77.1.6"
_TYPE_2: Final = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "AccessionNumber",
    "StudyID",
    "StudyDate",
    "StudyTime",
)
"""What a DICOM header may leave empty, and some leave out."""


@contextmanager
def discreet() -> Iterator[None]:
    """Keep what pydicom and highdicom say of odd values to themselves: a name may be one."""
    loggers = [logging.getLogger(name) for name in ("pydicom", "highdicom")]
    before = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.CRITICAL)
        try:
            yield
        finally:
            for logger, level in zip(loggers, before, strict=True):
                logger.setLevel(level)


def header_of(result: StoredResult, slide: Path) -> Dataset:
    """What the slide's full-resolution image says of itself, but for its pixels.

    Raises
    ------
    ConfigError
        If it is another slide than the result's, or has no such image in DICOM.
    """
    from pydicom import dcmread
    from pydicom.errors import InvalidDicomError

    check_same(result, slide)
    for file in files_of(slide):
        try:
            header = dcmread(file, stop_before_pixels=True)
        except (InvalidDicomError, OSError):
            continue
        size = (header.get("TotalPixelMatrixColumns"), header.get("TotalPixelMatrixRows"))
        if header.get("SOPClassUID") == _WHOLE_SLIDE and size == result.size_px:
            for name in _TYPE_2:
                if name not in header:
                    setattr(header, name, "")
            return header
    raise ConfigError(
        "--slide is no DICOM slide with an image of the size that was run: leave it out, and the "
        "annotations get a frame of reference of their own"
    )


def stand_in(result: StoredResult, frame_of_reference: str | None) -> Dataset:
    """What a DICOM slide would say, of one that is none; nothing of a patient.

    Raises
    ------
    ConfigError
        If `frame_of_reference` is no UID.
    """
    from pydicom import Dataset
    from pydicom.uid import UID

    own = f"2.25.{uuid.uuid5(SPACE, f'frame/{result.manifest.slide.sha256}').int}"
    frame = frame_of_reference or own
    if not UID(frame).is_valid:
        raise ConfigError(f"{frame!r} is no DICOM UID: digits and points, 64 of them at most")
    header = Dataset()
    header.SpecificCharacterSet = "ISO_IR 192"
    for name in _TYPE_2:
        setattr(header, name, "")
    header.Modality = "SM"
    header.SOPClassUID = _WHOLE_SLIDE
    header.SOPInstanceUID = dicom_uid(result, "image")
    header.SeriesInstanceUID = dicom_uid(result, "images")
    header.StudyInstanceUID = (
        f"2.25.{uuid.uuid5(SPACE, f'study/{result.manifest.slide.sha256}').int}"
    )
    header.FrameOfReferenceUID = frame
    header.PositionReferenceIndicator = "SLIDE_CORNER"
    header.ContainerIdentifier = result.slide_id[:64]
    specimen = Dataset()
    specimen.SpecimenIdentifier = result.slide_id[:64]
    specimen.SpecimenUID = (
        f"2.25.{uuid.uuid5(SPACE, f'specimen/{result.manifest.slide.sha256}').int}"
    )
    specimen.IssuerOfTheSpecimenIdentifierSequence = []
    specimen.SpecimenPreparationSequence = []
    header.IssuerOfTheContainerIdentifierSequence = []
    header.ContainerTypeCodeSequence = []
    header.SpecimenDescriptionSequence = [specimen]
    return header


def frame_of(source: Dataset, *, planar: bool) -> dict[str, str]:
    """In which frame annotations are, for people."""
    if planar:
        return {
            "coordinates": "2D: px of the total pixel matrix, the top-left corner is (0, 0)",
            "image": str(source.SOPInstanceUID),
        }
    return {
        "coordinates": "3D: mm from the top-left corner of the slide's level 0, x right, y down",
        "frame_of_reference": str(source.FrameOfReferenceUID),
    }
