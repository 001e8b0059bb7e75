"""DICOM Microscopy Bulk Simple Annotations (PS3.3, A.87), for a PACS.

Of a DICOM slide the nuclei are annotations of its full-resolution image, in px of its total pixel
matrix (coordinate type 2D), and stand in its study.  Of any other slide they are in a frame of
reference (coordinate type 3D, mm): one of their own, that is named after the slide's bytes and
starts at the corner of its level 0; or one that is given.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa
import shapely
from numpy.typing import NDArray

import wsiproc
from wsiproc.card import NucleusClass
from wsiproc.errors import ConfigError, MissingExtraError
from wsiproc.export._dicom_source import discreet, frame_of, header_of, stand_in
from wsiproc.export._names import dicom_uid
from wsiproc.export._shapes import rings, shapes_px, shapes_um
from wsiproc.export._target import facts, note, one_folder
from wsiproc.results.stored import StoredResult, tables

if TYPE_CHECKING:
    from highdicom.ann import AnnotationGroup
    from pydicom import Dataset

MOST: Final = 500_000
"""Annotations of one instance: archives and viewers hold an instance in memory."""

_SERIES: Final = 8101
_CODES: Final = {
    "score": ("score", "99WSIPROC", "Mean probability of being a nucleus", "1"),
    "area_um2": ("42798000", "SCT", "Area", "um2"),
    "perimeter_um": ("131191004", "SCT", "Perimeter", "um"),
    "major_um": ("131187009", "SCT", "Major Axis", "um"),
    "minor_um": ("131188004", "SCT", "Minor Axis", "um"),
    "orientation_rad": ("orientation", "99WSIPROC", "Major axis from x towards y", "rad"),
    "solidity": ("solidity", "99WSIPROC", "Area over area of the convex hull", "1"),
    "eccentricity": ("eccentricity", "99WSIPROC", "Eccentricity of the ellipse", "1"),
}
"""Of a column: code, scheme, meaning, and its unit in UCUM."""
_UNITS: Final = {
    "1": "no units",
    "um": "micrometer",
    "um2": "square micrometer",
    "rad": "radian",
}

Points = NDArray[np.float32]


@dataclass(slots=True)
class _Gathered:
    """Nuclei of one class that will be a group."""

    shapes: list[Points] = field(default_factory=list)
    measured: list[NDArray[np.float32]] = field(default_factory=list)


def write_dicom(
    result: StoredResult,
    out: Path,
    *,
    slide: Path | None = None,
    frame_of_reference: str | None = None,
    replace: bool = False,
) -> int:
    """Write a folder of DICOM instances, `MOST` nuclei each at most; gives the nuclei.

    A group of annotations for each class, with its colour and, of each nucleus, its score and
    shape.  The same result gives the same UIDs.

    Parameters
    ----------
    slide
        The slide of the result, if it is DICOM: a file of it or its folder.  **Its patient and
        study are copied**, or an archive could not tell whose the nuclei are.
    frame_of_reference
        Of other slides: the UID of the frame of reference whose x and y, in mm, are those of the
        slide's level 0 from its top-left corner.

    Raises
    ------
    ConfigError
        If there are no nuclei, or `slide` is another slide, or none in DICOM.
    MissingExtraError
        If highdicom is not installed.
    AlreadyThereError, StoreError
        See `one_folder`.
    """
    try:
        import highdicom  # noqa: F401
    except ImportError:
        raise MissingExtraError("--to dicom", "dicom") from None
    if not result.nuclei:
        raise ConfigError("the result has no nuclei, and DICOM knows no annotation of nothing")
    if slide is not None and frame_of_reference is not None:
        raise ConfigError("a DICOM slide has its own frame: give --slide or --frame-of-reference")
    with one_folder(out, replace=replace) as folder, discreet():
        planar = slide is not None
        source = (
            header_of(result, slide) if slide is not None else stand_in(result, frame_of_reference)
        )
        columns = [c for c in _CODES if c in _columns(result)]
        for number, groups in enumerate(_instances(result, columns, planar=planar), start=1):
            _write(folder / f"nuclei-{number}.dcm", number, groups, columns, result, source, planar)
        note(folder, facts(result, "dicom", {"frame": frame_of(source, planar=planar)}))
    return result.nuclei


def _columns(result: StoredResult) -> list[str]:
    return next((table.column_names for table in tables(result.table)), [])


def _instances(
    result: StoredResult, columns: list[str], *, planar: bool
) -> Iterator[list[_Gathered]]:
    """Nuclei by class, so many as fit into an instance; in the result's order."""
    kinds = len(result.classes)
    groups, held = [_Gathered() for _ in range(kinds)], 0
    for table in tables(result.table, columns=["class_id", *columns, "geometry"]):
        rest = table
        while len(rest):
            rows = rest.slice(0, MOST - held)
            rest = rest.slice(len(rows))
            _gather(groups, rows, result, columns, planar=planar)
            held += len(rows)
            if held == MOST:
                yield groups
                groups, held = [_Gathered() for _ in range(kinds)], 0
    if held:
        yield groups


def _gather(
    groups: list[_Gathered],
    rows: pa.Table,
    result: StoredResult,
    columns: list[str],
    *,
    planar: bool,
) -> None:
    shapes = shapes_px(rows, result) if planar else shapes_um(rows)
    if result.outlined:
        xy, start = rings(shapes)
    else:
        xy, start = shapely.get_coordinates(shapes), np.arange(len(rows) + 1)
    if not planar:
        xy = np.column_stack([xy / 1000, np.zeros(len(xy))])
    points = xy.astype(np.float32)
    # DICOM closes polygons itself: the first vertex is not to be there twice.
    last = 1 if result.outlined else 0
    measured = np.column_stack([rows[name].to_numpy() for name in columns]).astype(np.float32)
    class_id = rows["class_id"].to_numpy()
    for number in np.unique(class_id).tolist():
        some = np.flatnonzero(class_id == number)
        groups[number].measured.append(measured[some])
        groups[number].shapes.extend(
            points[a : b - last]
            for a, b in zip(start[some].tolist(), start[some + 1].tolist(), strict=True)
        )


def _write(
    path: Path,
    number: int,
    gathered: list[_Gathered],
    columns: list[str],
    result: StoredResult,
    source: Dataset,
    planar: bool,
) -> None:
    """One instance."""
    from highdicom.ann import MicroscopyBulkSimpleAnnotations

    named = [(c, g) for c, g in zip(result.classes, gathered, strict=True) if g.shapes]
    groups = [
        _group(i, number, one, some, columns, result)
        for i, (one, some) in enumerate(named, start=1)
    ]
    image = str(source.SOPInstanceUID)
    try:
        instance = MicroscopyBulkSimpleAnnotations(
            source_images=[source],
            annotation_coordinate_type="2D" if planar else "3D",
            annotation_groups=groups,
            series_instance_uid=dicom_uid(result, f"series/{image}"),
            series_number=_SERIES,
            sop_instance_uid=dicom_uid(result, f"instance/{number}/{image}"),
            instance_number=number,
            manufacturer="wsiproc",
            manufacturer_model_name="wsiproc",
            software_versions=wsiproc.__version__,
            device_serial_number=result.model.sha256[:16],
            content_label="NUCLEI",
            content_description="Nuclei, not for diagnosis",
            series_description="Nuclei found by wsiproc",
        )
    except (ValueError, TypeError, AttributeError) as error:
        # Without its text, which may quote the header.
        raise ConfigError(
            f"the DICOM header of --slide does not do for annotations ({type(error).__name__}): "
            "see it with a DICOM validator"
        ) from None
    if not planar:
        # There is no such image.
        del instance.ReferencedImageSequence
        del instance.ReferencedSeriesSequence
    instance.save_as(path)


def _group(
    place: int,
    number: int,
    one: NucleusClass,
    some: _Gathered,
    columns: list[str],
    result: StoredResult,
) -> AnnotationGroup:
    from highdicom import AlgorithmIdentificationSequence
    from highdicom.ann import AnnotationGroup, Measurements
    from highdicom.color import CIELabColor
    from pydicom.sr.coding import Code

    values = np.concatenate(some.measured)
    return AnnotationGroup(
        number=place,
        uid=dicom_uid(result, f"group/{number}/{one.name}"),
        label=one.name,
        annotated_property_category=Code("91723000", "SCT", "Anatomical Structure"),
        annotated_property_type=Code("84640000", "SCT", "Nucleus"),
        graphic_type="POLYGON" if result.outlined else "POINT",
        graphic_data=some.shapes,
        algorithm_type="AUTOMATIC",
        algorithm_identification=AlgorithmIdentificationSequence(
            name=result.model.name,
            family=Code("123110", "DCM", "Artificial Intelligence"),
            version=result.model.version,
            parameters={"sha256": result.model.sha256},
        ),
        measurements=[
            Measurements(
                name=Code(*_CODES[name][:3]),
                values=values[:, i],
                unit=Code(_CODES[name][3], "UCUM", _UNITS[_CODES[name][3]]),
            )
            for i, name in enumerate(columns)
        ],
        display_color=CIELabColor.from_rgb(*one.color),
    )
