"""The metadata of the files: one CRS for ever, and nothing that changes from run to run."""

from __future__ import annotations

import hashlib
import json

import pyproj

from wsiproc.store.schema import CENTROIDS, ENGINEERING_CRS_V1, NUCLEI, TISSUE, geo_metadata


def test_the_bytes_of_the_crs_never_change() -> None:
    digest = hashlib.sha256(ENGINEERING_CRS_V1.encode()).hexdigest()
    assert digest == "943e76a879d3a910fff4c17826ba0dd4d2ce50aa32f012a74b8bf32069043d59"


def test_the_crs_is_one_that_proj_understands() -> None:
    crs = pyproj.CRS.from_json(ENGINEERING_CRS_V1)
    assert crs.type_name == "Engineering CRS"
    assert [axis.unit_name for axis in crs.axis_info] == ["micrometre", "micrometre"]
    assert not crs.is_geographic


def test_the_crs_stands_in_the_metadata_byte_for_byte() -> None:
    assert f'"crs":{ENGINEERING_CRS_V1}' in geo_metadata(["Polygon"], (0.0, 0.0, 1.0, 1.0))


def test_a_file_without_rows_claims_no_extent() -> None:
    column = json.loads(geo_metadata([], None))["columns"]["geometry"]
    assert column["geometry_types"] == []
    assert "bbox" not in column


def test_lengths_and_areas_say_their_unit() -> None:
    for schema in (NUCLEI, CENTROIDS, TISSUE):
        for field in schema:
            if field.name.endswith(("_um", "_um2", "_px", "_rad")):
                assert field.metadata[b"unit"].decode() in {"µm", "µm²", "px", "rad"}


def test_outlines_and_centroids_share_their_columns() -> None:
    shared = [field.name for field in CENTROIDS]
    assert [name for name in NUCLEI.names if name in shared] == shared
