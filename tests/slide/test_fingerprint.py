"""One digest for all bytes of a slide."""

from __future__ import annotations

import hashlib
import struct

import pytest

from wsiproc.errors import SlideFormatError
from wsiproc.slide import fingerprint
from wsiproc.slide._dicom import series_uid


def element(group, number, vr, value, *, explicit=True):
    value += b" " * (len(value) % 2)
    head = struct.pack("<HH", group, number)
    if not explicit:
        return head + struct.pack("<I", len(value)) + value
    if vr in (b"SQ", b"OB"):
        return head + vr + b"\0\0" + struct.pack("<I", len(value)) + value
    return head + vr + struct.pack("<H", len(value)) + value


def dicom(series, *, others="9.9", syntax=b"1.2.840.10008.1.2.1", undefined=True, more=b""):
    """A DICOM file of a series that also names another one, in a sequence before its own."""
    explicit = syntax != b"1.2.840.10008.1.2"

    def e(group, number, vr, value):
        return element(group, number, vr, value, explicit=explicit)

    inner = e(0x0020, 0x000E, b"UI", others.encode())
    end = 0xFFFFFFFF
    if undefined:
        item = struct.pack("<HHI", 0xFFFE, 0xE000, end) + inner
        item += struct.pack("<HHI", 0xFFFE, 0xE00D, 0)
        sequence = struct.pack("<HH", 0x0008, 0x1115)
        sequence += (b"SQ\0\0" if explicit else b"") + struct.pack("<I", end)
        sequence += item + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    else:
        item = struct.pack("<HHI", 0xFFFE, 0xE000, len(inner)) + inner
        sequence = e(0x0008, 0x1115, b"SQ", item)
    return (
        bytes(128)
        + b"DICM"
        + element(0x0002, 0x0001, b"OB", b"\0\1")
        + element(0x0002, 0x0010, b"UI", syntax)
        + e(0x0008, 0x0060, b"CS", b"SM")
        + sequence
        + e(0x0010, 0x0010, b"PN", b"DOE^JANE")
        + e(0x0020, 0x000E, b"UI", series.encode())
        + e(0x0028, 0x0010, b"US", b"\1\0")
        + more
    )


def test_of_one_file_it_is_that_files_own(tmp_path):
    path = tmp_path / "a.svs"
    path.write_bytes(b"slide" * 1000)
    assert fingerprint(path) == hashlib.sha256(b"slide" * 1000).hexdigest()


def test_every_byte_counts(tmp_path):
    path = tmp_path / "a.svs"
    seen = set()
    for n in range(5):
        path.write_bytes(bytes(n) + b"x" + bytes(4 - n))
        seen.add(fingerprint(path))
    assert len(seen) == 5


def test_where_a_slide_lies_and_what_it_is_called_does_not_count(tmp_path):
    for place in ("one", "two"):
        folder = tmp_path / place / place
        folder.mkdir(parents=True)
        (tmp_path / place / f"{place}.mrxs").write_bytes(b"index")
        for n in range(3):
            (folder / f"Data{n}.dat").write_bytes(bytes([n]) * 50)
    one, two = (fingerprint(tmp_path / p / f"{p}.mrxs") for p in ("one", "two"))
    assert one == two
    (tmp_path / "two" / "two" / "Data1.dat").write_bytes(b"changed")
    assert fingerprint(tmp_path / "two" / "two.mrxs") != one


def test_the_files_a_vms_mentions_count_and_others_do_not(tmp_path):
    path = tmp_path / "a.vms"
    path.write_bytes(b"[Virtual Microscope Specimen]\nImageFile=a-0.jpg\n")
    (tmp_path / "a-0.jpg").write_bytes(b"pixels")
    first = fingerprint(path)
    (tmp_path / "b-0.jpg").write_bytes(b"another slide's")
    assert fingerprint(path) == first
    (tmp_path / "a-0.jpg").write_bytes(b"changed")
    assert fingerprint(path) != first


def test_the_files_of_a_dicom_series_count_and_those_of_others_do_not(tmp_path):
    for name, series, more in (("a", "1.2", b""), ("b", "1.2", b"level 1"), ("c", "1.3", b"")):
        (tmp_path / f"{name}.dcm").write_bytes(dicom(series, more=more))
    first = fingerprint(tmp_path / "a.dcm")
    assert fingerprint(tmp_path / "b.dcm") == first
    assert fingerprint(tmp_path / "c.dcm") != first
    (tmp_path / "c.dcm").write_bytes(dicom("1.3", more=b"changed"))
    assert fingerprint(tmp_path / "a.dcm") == first
    (tmp_path / "b.dcm").write_bytes(dicom("1.2", more=b"changed"))
    assert fingerprint(tmp_path / "a.dcm") != first


def test_a_file_whose_series_cannot_be_told_counts(tmp_path):
    (tmp_path / "a.dcm").write_bytes(dicom("1.2"))
    first = fingerprint(tmp_path / "a.dcm")
    (tmp_path / "b.dcm").write_bytes(b"no DICOM that is understood here")
    assert fingerprint(tmp_path / "a.dcm") != first


@pytest.mark.parametrize("undefined", [True, False])
@pytest.mark.parametrize("syntax", [b"1.2.840.10008.1.2.1", b"1.2.840.10008.1.2"])
def test_a_series_is_told_by_its_own_uid_and_not_by_one_it_refers_to(tmp_path, undefined, syntax):
    path = tmp_path / "a.dcm"
    path.write_bytes(dicom("1.2.3", syntax=syntax, undefined=undefined))
    assert series_uid(path) == "1.2.3"


@pytest.mark.parametrize("length", [0, 100, 132, 140, 150, 200, 240])
def test_half_a_dicom_has_no_series(tmp_path, length):
    path = tmp_path / "a.dcm"
    whole = dicom("1.2.3")
    assert whole.index(b"1.2.3") > 240
    path.write_bytes(whole[:length])
    assert series_uid(path) is None


def test_a_dicom_nested_without_end_has_no_series(tmp_path):
    path = tmp_path / "a.dcm"
    deep = struct.pack("<HH", 0x0008, 0x1115) + b"SQ\0\0" + struct.pack("<I", 0xFFFFFFFF)
    deep += struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF) * 5000
    path.write_bytes(dicom("1.2.3")[: 128 + 4] + element(0x0002, 0x0001, b"OB", b"\0\1") + deep)
    assert series_uid(path) is None


def test_openslide_tells_the_same_series(real):
    import openslide

    for name in ("boxes.dcm", "camelyon-overview-jpeg.dcm", "camelyon-overview-jpeg2000.dcm"):
        with openslide.OpenSlide(real(name)) as slide:
            properties = slide.properties
            told = properties.get("dicom.SeriesInstanceUID")
        assert series_uid(real(name)) == told


def test_no_file_no_fingerprint(tmp_path):
    with pytest.raises(SlideFormatError, match="no file"):
        fingerprint(tmp_path / "a.svs")
    with pytest.raises(SlideFormatError, match="empty"):
        fingerprint(tmp_path)
