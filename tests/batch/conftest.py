"""Results to look after: one run, published again under as many ids as a test wants."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from wsiproc.api import run
from wsiproc.config import Execution, RunConfig
from wsiproc.slide._drawn import draw_slide
from wsiproc.store.manifest import read_manifest
from wsiproc.store.staging import publish, staging

Publish = Callable[[Path, str], Path]


@pytest.fixture(scope="session")
def one(tmp_path_factory: pytest.TempPathFactory, mask_model: Path) -> Path:
    """A published result of a drawn slide."""
    folder = tmp_path_factory.mktemp("one")
    slide = draw_slide(folder / "one.tiff", width=512, height=512, seed=3, mpp=0.5)
    settings = RunConfig(execution=Execution(workers=0))
    return run(slide.path, str(mask_model), folder / "out", settings=settings).folder


@pytest.fixture(scope="session")
def published(one: Path) -> Publish:
    """Publishes the same files again under another slide id."""

    def _published(out: Path, slide_id: str) -> Path:
        manifest = read_manifest(one)
        with staging(out, slide_id) as folder:
            for name in manifest.files:
                shutil.copy(one / name, folder / name)
            key = hashlib.sha256(slide_id.encode()).hexdigest()
            named = {"slide_id": slide_id, "job_key": key, "files": {}, "seal": ""}
            publish(folder, manifest.model_copy(update=named), out)
        return out / slide_id

    return _published
