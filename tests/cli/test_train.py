"""`wsiproc train` and `wsiproc methods` look the same for every method, a stranger's too."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from wsiproc.cli.app import app
from wsiproc.errors import ConfigError

PLUGIN = '''
from dataclasses import dataclass
from wsiproc.methods import MethodConfig

class Config(MethodConfig):
    """Lengths in µm.

    More that nobody needs on a terminal.
    """
    labelled: int | None = None
    """Images [of the train split] whose labels are used."""
    reach_um: float = 2.5
    crop_px: int = 64

@dataclass(frozen=True)
class Stranger:
    name: str = "stranger"
    summary: str = "learns nothing, says all"
    config: type[MethodConfig] = Config
    @property
    def presets(self):
        return {"default": Config(), "smoke": Config(reach_um=1.0)}
    def train(self, config, inputs):
        inputs.out.mkdir(parents=True, exist_ok=True)
        file = inputs.out / "said.json"
        file.write_text(__import__("json").dumps([config.model_dump(), inputs.command]))
        return (file,)

METHOD = Stranger()
'''


def install(folder: Path, name: str, code: str) -> None:
    """A package as an installer leaves it: a module, and what it offers."""
    (folder / f"{name}_plugin.py").write_text(code)
    about = folder / f"{name}_plugin-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}-plugin\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(f"[wsiproc.methods]\n{name} = {name}_plugin:METHOD\n")


@pytest.fixture
def stranger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for results, with the method ``stranger`` installed."""
    site = tmp_path / "site"
    site.mkdir()
    install(site, "stranger", PLUGIN)
    monkeypatch.syspath_prepend(site)
    return tmp_path / "out"


def said(*words: str | Path) -> str:
    """What the command prints, on one line."""
    ran = CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)
    assert ran.exit_code == 0, ran.output
    return " ".join(ran.output.split())


def test_help_of_a_method_shows_its_settings_beside_the_options(stranger: Path) -> None:
    for words in (("stranger", "--help"), ("-h", "stranger"), ("--data", "x", "stranger", "-h")):
        told = said("train", *words)
        assert "--unlabelled" in told
        assert "stranger: learns nothing, says all Lengths in µm." in told
        assert "reach_um=2.5 µm; smoke 1.0" in told
        assert "labelled=null Images [of the train split] whose labels are used." in told
        assert "crop_px=64 px" in told


def test_methods_shows_the_same_settings(stranger: Path) -> None:
    told = said("methods", "stranger")
    assert told in said("train", "stranger", "--help")
    units = json.loads(said("methods", "stranger", "--json"))["settings"]
    assert {name: each["unit"] for name, each in units.items()} == {
        "labelled": "",
        "reach_um": "µm",
        "crop_px": "px",
    }


def test_help_without_a_method_says_which_there_are(stranger: Path) -> None:
    assert "stranger learns nothing, says all" in said("train", "--help")


def test_help_of_no_method_names_those_there_are(stranger: Path) -> None:
    with pytest.raises(ConfigError, match=r"no method .strangr.; installed: .*stranger"):
        said("train", "strangr", "--help")


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("import no_such_library_at_all", "No module named 'no_such_library_at_all'"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("METHOD = 3", "is no wsiproc method called 'hurt'"),
    ],
)
def test_a_plugin_that_fails_says_why_and_takes_no_other_with_it(
    stranger: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, code: str, why: str
) -> None:
    site = tmp_path / "hurt"
    site.mkdir()
    install(site, "hurt", code)
    monkeypatch.syspath_prepend(site)
    monkeypatch.delitem(sys.modules, "hurt_plugin", raising=False)
    told = said("methods")
    assert "plugin hurt failed to import: " in told
    assert why in told
    assert "stranger learns nothing, says all" in told
    listed = json.loads(said("methods", "--json"))
    assert why in listed["broken"]["hurt"]
    assert "stranger" in listed["methods"]
    with pytest.raises(ConfigError, match="'hurt' failed to import"):
        said("train", "hurt", "--data", "x", "--out", stranger)


@pytest.mark.parametrize(("flag", "number"), [("5", 5), ("all", None)])
def test_labelled_is_short_for_the_setting_and_on_the_card_as_it_was_typed(
    stranger: Path, flag: str, number: int | None
) -> None:
    words = ("--data", "somewhere/drawn", "--out", stranger, "--preset", "smoke")
    said("train", "stranger", *words, "--labelled", flag, "--set", "crop_px=32", "--seed", "3")
    config, command = json.loads((stranger / "said.json").read_text())
    assert config == {"labelled": number, "reach_um": 1.0, "crop_px": 32}
    assert command == (
        f"wsiproc train stranger --data DATA/drawn --labelled {flag} --preset smoke "
        "--set crop_px=32 --seed 3 --out OUT"
    )


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("--fraction", ".1"), "stranger has no setting 'fraction': leave --fraction out"),
        (("--labelled", "5", "--set", "labelled=6"), "say the same setting"),
        (("--labelled", "few"), "labelled: Input should be a valid integer"),
        (("--set", "reach=3"), "no setting 'reach'"),
        (("--set", "reach_um"), "wants key=value"),
        (("--preset", "huge"), "no preset 'huge', only default, smoke"),
    ],
)
def test_settings_that_mean_nothing_are_refused_before_training(
    stranger: Path, words: tuple[str, ...], why: str
) -> None:
    with pytest.raises(ConfigError, match=why):
        said("train", "stranger", "--data", "drawn", "--out", stranger, *words)
    assert not stranger.exists()
