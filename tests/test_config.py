"""Settings mean the same wherever they come from, and typing errors are told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from wsiproc.config import Execution, RunConfig, Science, read_config
from wsiproc.errors import ConfigError
from wsiproc.frozen import canonical

SQUARE = [[0, 0], [9, 0], [9, 9]]


def written(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "run.toml"
    file.write_text(text, "utf-8")
    return file


def test_without_anything_given_there_are_defaults() -> None:
    assert read_config(None, {}) == RunConfig()


def test_the_command_line_wins_over_the_file_and_the_file_over_defaults(tmp_path: Path) -> None:
    file = written(tmp_path, "[science]\nmpp = 0.25\ntissue = false\n[execution]\nbatch = 4\n")
    config = read_config(file, {"science": {"mpp": 0.5, "tissue": None}, "execution": {}})
    assert config.science.mpp == 0.5
    assert not config.science.tissue
    assert config.science.stain
    assert config.execution.batch == 4


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[science]\nmmp = 0.5", "science.mmp"),
        ("[sience]\nmpp = 0.5", "sience"),
        ("[science]\nmpp = 50", "science.mpp"),
        ("[execution]\nworkers = -1", "execution.workers"),
        ("[execution]\ndevice = 'tpu'", "execution.device"),
        ("[execution]\ntile_timeout_s = 0", "execution.tile_timeout_s"),
        ("[execution]\nscheduler = 'tcp://a:1'\nworkers = 2", "--scheduler"),
        ("[science]\nroi = []", "at least three points"),
        ("[science]\nroi = [[[0, 0], [1, 1]]]", "at least three points"),
        ("[science]\nmpp = nan", "science.mpp"),
        ("science = 3", "science"),
        ("[science", "not TOML"),
    ],
)
def test_a_setting_that_is_wrong_is_named(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_config(written(tmp_path, text), {"science": {}, "execution": {}})
    assert said in str(caught.value)


def test_a_file_that_cannot_be_read_is_told_without_a_traceback(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read"):
        read_config(tmp_path / "missing.toml", {})
    file = tmp_path / "latin.toml"
    file.write_bytes(b"[science] # \xe9")
    with pytest.raises(ConfigError, match="not TOML"):
        read_config(file, {})


def test_a_ring_is_a_polygon_without_holes() -> None:
    plain, full = Science(roi=[SQUARE]), Science(roi=[[SQUARE]])  # type: ignore[list-item]
    assert plain == full
    assert canonical(plain) == canonical(full)


def test_equal_settings_have_one_text_and_others_another() -> None:
    """The text is part of a job's name: it may not depend on how settings were given."""
    assert canonical(Science(mpp=0.5, tissue=True)) == canonical(Science(tissue=True, mpp=0.5))
    assert canonical(Science(mpp=1)) == canonical(Science(mpp=1.0))
    variants: list[dict[str, Any]] = [
        {},
        {"mpp": 0.5},
        {"exact_mpp": True},
        {"tissue": False},
        {"stain": False},
        {"roi": [SQUARE]},
    ]
    assert len({canonical(Science(**v)) for v in variants}) == len(variants)


def test_what_changes_the_result_and_what_does_not_are_apart() -> None:
    assert not set(Science.model_fields) & set(Execution.model_fields)


def test_a_setting_that_is_new_leaves_what_was_done_before_it_as_it_is() -> None:
    assert "max_bad_tiles" not in Science().model_dump()
    assert "max_bad_tiles" not in Science().model_dump(mode="json")
    assert Science.model_validate(Science(max_bad_tiles=0.01).model_dump()).max_bad_tiles == 0.01
