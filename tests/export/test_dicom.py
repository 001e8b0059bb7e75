"""A PACS gets annotations that highdicom reads back, of the right image and frame."""

from __future__ import annotations

import logging
import shutil
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import shapely

from wsiproc.errors import ConfigError
from wsiproc.export import dicom
from wsiproc.export._shapes import Shapes, shapes_px, shapes_um
from wsiproc.export.dicom import write_dicom
from wsiproc.results.stored import StoredResult
from wsiproc.slide import fingerprint

pydicom = pytest.importorskip("pydicom")
ann = pytest.importorskip("highdicom.ann")


def instances(folder: Path) -> list[ann.MicroscopyBulkSimpleAnnotations]:
    files = sorted(folder.glob("*.dcm"))
    return [ann.MicroscopyBulkSimpleAnnotations.from_dataset(pydicom.dcmread(f)) for f in files]


def polygons(group: ann.AnnotationGroup, kind: str) -> Shapes:
    return np.array(
        [shapely.Polygon(points[:, :2]) for points in group.get_graphic_data(kind)], dtype=object
    )


def of_class(rows: pa.Table, name: str) -> pa.Table:
    return rows.filter(pa.compute.equal(rows["class_name"], name))


@pytest.fixture(scope="module")
def folder(result: StoredResult, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("dicom") / "out"
    assert write_dicom(result, path) == result.nuclei
    return path


def test_of_a_slide_that_is_not_dicom_they_are_mm_in_a_stated_frame(
    folder: Path, result: StoredResult, rows: pa.Table
) -> None:
    (instance,) = instances(folder)
    assert instance.AnnotationCoordinateType == "3D"
    assert instance.FrameOfReferenceUID in (folder / "export.json").read_text("utf-8")
    assert "ReferencedImageSequence" not in instance, "there is no such image"
    assert (str(instance.PatientName), instance.PatientID) == ("", "")
    groups = instance.get_annotation_groups()
    assert [g.label for g in groups] == [c.name for c in result.classes]
    for group in groups:
        stored = shapes_um(of_class(rows, group.label))
        read = polygons(group, "3D")
        assert len(read) == group.number_of_annotations == len(stored)
        apart = shapely.get_coordinates(read) * 1000 - shapely.get_coordinates(stored)
        assert np.abs(apart).max() < 0.001, "µm"


def test_measurements_have_codes_and_units(folder: Path, rows: pa.Table) -> None:
    (instance,) = instances(folder)
    for group in instance.get_annotation_groups():
        names, values, units = group.get_measurements()
        table = of_class(rows, group.label)
        said = {
            name.meaning: (unit.value, unit.scheme_designator, column)
            for name, unit, column in zip(names, units, values.T, strict=True)
        }
        assert len(said) == 8
        for meaning, unit, column in (
            ("Area", "um2", "area_um2"),
            ("Perimeter", "um", "perimeter_um"),
            ("Major Axis", "um", "major_um"),
            ("Major axis from x towards y", "rad", "orientation_rad"),
        ):
            assert said[meaning][:2] == (unit, "UCUM")
            np.testing.assert_array_equal(said[meaning][2], table[column].to_numpy())
        assert group.annotated_property_type.value == "84640000", "nucleus"
        assert group.algorithm_type.value == "AUTOMATIC"
        assert group.algorithm_identification.name == "drawn"


def test_too_many_for_one_instance_are_split_and_none_is_lost(
    result: StoredResult, rows: pa.Table, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dicom, "MOST", 400)
    write_dicom(result, out)
    read = instances(out)
    counts = [sum(g.number_of_annotations for g in i.get_annotation_groups()) for i in read]
    assert counts == [400, 400, 400, 300]
    assert len({i.SOPInstanceUID for i in read}) == 4
    assert len({i.SeriesInstanceUID for i in read}) == 1
    areas = np.concatenate(
        [shapely.area(polygons(g, "3D")) for i in read for g in i.get_annotation_groups()]
    )
    assert areas.sum() * 1e6 == pytest.approx(sum(rows["area_um2"].to_pylist()), rel=1e-4)


def test_the_same_result_has_the_same_uids_and_one_slide_one_frame(
    folder: Path, result: StoredResult, points: StoredResult, tmp_path: Path
) -> None:
    write_dicom(result, tmp_path / "again")
    (one,), (two,) = instances(folder), instances(tmp_path / "again")
    for name in ("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID"):
        assert getattr(one, name) == getattr(two, name)
    slide = points.manifest.slide.model_copy(update={"sha256": result.manifest.slide.sha256})
    other = replace(points, manifest=points.manifest.model_copy(update={"slide": slide}))
    write_dicom(other, tmp_path / "other")
    (three,) = instances(tmp_path / "other")
    assert three.FrameOfReferenceUID == one.FrameOfReferenceUID, "of the slide, not the model"
    assert three.SOPInstanceUID != one.SOPInstanceUID
    group = three.get_annotation_groups()[0]
    assert group.graphic_type.value == "POINT"


def test_a_frame_of_reference_can_be_given(result: StoredResult, out: Path, tmp_path: Path) -> None:
    write_dicom(result, out, frame_of_reference="1.2.840.113619.2.1")
    assert instances(out)[0].FrameOfReferenceUID == "1.2.840.113619.2.1"
    with pytest.raises(ConfigError, match="no DICOM UID"):
        write_dicom(result, tmp_path / "b", frame_of_reference="1.2.x")
    with pytest.raises(ConfigError, match="--slide or --frame-of-reference"):
        write_dicom(result, tmp_path / "b", slide=out, frame_of_reference="1.2")


@pytest.fixture
def dicom_slide(shared: Path, tmp_path: Path) -> Path:
    """A real slide's overview, of a patient that is not one."""
    file = tmp_path / "slide" / "a.dcm"
    file.parent.mkdir()
    shutil.copy(shared / "slides" / "camelyon-overview-jpeg.dcm", file)
    header = pydicom.dcmread(file)
    header.PatientName, header.PatientID = "CANARY^Carla", "canary-77"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        header.save_as(file)
    return file


def run_on(slide: Path, result: StoredResult) -> StoredResult:
    """A result as if it were of a slide."""
    header = pydicom.dcmread(slide, stop_before_pixels=True)
    record = result.manifest.slide.model_copy(
        update={
            "sha256": fingerprint(slide),
            "width": header.TotalPixelMatrixColumns,
            "height": header.TotalPixelMatrixRows,
        }
    )
    return replace(result, manifest=result.manifest.model_copy(update={"slide": record}))


def test_of_a_dicom_slide_they_are_px_of_its_image_in_its_study(
    dicom_slide: Path,
    result: StoredResult,
    rows: pa.Table,
    out: Path,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    header = pydicom.dcmread(dicom_slide, stop_before_pixels=True)
    with caplog.at_level(logging.DEBUG), warnings.catch_warnings():
        warnings.simplefilter("error")
        write_dicom(run_on(dicom_slide, result), out, slide=dicom_slide)
    (instance,) = instances(out)
    assert instance.AnnotationCoordinateType == "2D"
    (image,) = instance.ReferencedImageSequence
    assert image.ReferencedSOPInstanceUID == header.SOPInstanceUID
    assert instance.StudyInstanceUID == header.StudyInstanceUID
    assert str(instance.PatientName) == "CANARY^Carla", "or an archive could not file it"
    for group in instance.get_annotation_groups():
        stored = shapes_px(of_class(rows, group.label), result)
        apart = shapely.get_coordinates(polygons(group, "2D")) - shapely.get_coordinates(stored)
        assert np.abs(apart).max() < 0.01, "px"
    said = caplog.text + "".join(capfd.readouterr()) + (out / "export.json").read_text("utf-8")
    assert "canary" not in said.lower()


def test_another_slide_is_refused(dicom_slide: Path, result: StoredResult, out: Path) -> None:
    with pytest.raises(ConfigError, match="not the slide that this result was made from"):
        write_dicom(result, out, slide=dicom_slide)
    other = run_on(dicom_slide, result)
    small = other.manifest.slide.model_copy(update={"width": 17})
    other = replace(other, manifest=other.manifest.model_copy(update={"slide": small}))
    with pytest.raises(ConfigError, match="no DICOM slide with an image of the size"):
        write_dicom(other, out, slide=dicom_slide)
    assert not out.exists()


def test_nothing_is_no_annotation(nothing: StoredResult, out: Path) -> None:
    with pytest.raises(ConfigError, match="no nuclei"):
        write_dicom(nothing, out)
    assert not out.exists()
