"""The manifest is what a reader trusts, and the job key what decides a result."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from wsiproc.config import Science
from wsiproc.errors import StoreError
from wsiproc.store import manifest as module
from wsiproc.store.manifest import MANIFEST, job_key, params_digest, read_manifest, work_folder


def test_the_job_key_changes_with_everything_that_decides_the_result(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    keys = {
        job_key("a", "b", Science(), "tag"),
        job_key("b", "a", Science(), "tag"),
        job_key("a", "c", Science(), "tag"),
        job_key("a", "b", Science(mpp=0.5), "tag"),
        job_key("a", "b", Science(tissue=False), "tag"),
        job_key("a", "b", Science(roi=(((0, 0), (1, 0), (1, 1)),)), "tag"),
        job_key("a", "b", Science(), "another tag"),
    }
    assert len(keys) == 7
    monkeypatch.setattr(module, "SCHEMA_VERSION", 99)
    assert job_key("a", "b", Science(), "tag") not in keys


def test_the_job_key_is_the_same_in_every_process() -> None:
    assert job_key("a" * 64, "b" * 64, Science(), "t") == job_key(
        "a" * 64, "b" * 64, Science(), "t"
    )
    assert len(job_key("a", "b", Science(), "t")) == 64
    assert params_digest(Science()) != params_digest(Science(stain=False))


def test_work_is_kept_apart_from_results(tmp_path: Path) -> None:
    assert work_folder(tmp_path, "k") == tmp_path / ".wsiproc" / "k"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (None, "no manifest.json"),
        ("{", "not JSON"),
        ("[]", "version is None"),
        ('{"manifest_version": 2}', "version is 2"),
        ('{"manifest_version": 1}', "damaged: .*slide_id"),
    ],
)
def test_a_manifest_that_cannot_be_trusted_is_refused(
    tmp_path: Path, text: str | None, says: str
) -> None:
    if text is not None:
        (tmp_path / MANIFEST).write_text(text)
    with pytest.raises(StoreError, match=says):
        read_manifest(tmp_path)


def test_a_manifest_with_unknown_fields_is_not_guessed_at(tmp_path: Path) -> None:
    (tmp_path / MANIFEST).write_text(json.dumps({"manifest_version": 1, "surprise": 1}))
    with pytest.raises(StoreError, match="surprise"):
        read_manifest(tmp_path)
