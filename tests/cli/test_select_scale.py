"""`wsiproc select` takes no scale that images cannot have."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from wsiproc.cli.app import app


@pytest.mark.parametrize("mpp", ["0", "-1"])
def test_an_impossible_scale_is_refused_by_its_option(mpp: str, tmp_path: Path) -> None:
    said = CliRunner().invoke(
        app, ["select", str(tmp_path), "--mpp", mpp, "--out", str(tmp_path / "out")]
    )
    assert said.exit_code == 2
    assert "0.05" in said.output
    assert not (tmp_path / "out").exists()
