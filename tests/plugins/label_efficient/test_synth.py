"""`wsiproc synthesize`: a data set of pairs out of a few patches, whatever stops it on the way."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

torch = pytest.importorskip("torch")

from wsiproc.cli.app import app  # noqa: E402
from wsiproc.datasets import Sample, read_dataset  # noqa: E402
from wsiproc.errors import ConfigError, StoreError  # noqa: E402
from wsiproc.methods import TrainingChecked, TrainingEvent, TrainingResumed, TrainingStep  # noqa: E402
from wsiproc.slide._drawn_dataset import drawn_dataset  # noqa: E402
from wsiproc_label_efficient.config import SynthesisConfig  # noqa: E402
from wsiproc_label_efficient.synthesis import nuclei_are_darker, synthesize  # noqa: E402

TINY = SynthesisConfig(per_patch=3, scales=2, width=4, blocks=2, steps=4, margin_um=2)


class StoppedError(Exception):
    """Stands for the kill."""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return drawn_dataset(tmp_path_factory.mktemp("data") / "drawn", train=2, val=1, size=48)


@pytest.fixture(scope="module")
def patches(data: Path) -> tuple[Sample, ...]:
    return read_dataset(data).split("train")


def quiet(_event: TrainingEvent) -> None:
    """Nobody listens."""


@pytest.fixture(scope="module")
def whole(patches: tuple[Sample, ...], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What comes of a run that nothing stopped."""
    out = tmp_path_factory.mktemp("whole")
    return synthesize(TINY, patches, out=out, seed=5, listener=quiet)


def files(folder: Path) -> dict[str, bytes]:
    found = [*folder.glob("*.toml"), *folder.glob("images/*"), *folder.glob("instances/*")]
    return {str(file.relative_to(folder)): file.read_bytes() for file in found}


def test_each_patch_gives_pairs_of_its_size_that_are_not_alike(
    whole: Path, patches: tuple[Sample, ...]
) -> None:
    made = read_dataset(whole)
    assert made.mpp == 0.5
    assert made.splits == ("train",)
    for patch in patches:
        own = [sample for sample in made.samples if sample.id.startswith(patch.id)]
        assert len(own) == 3
        masks = [sample.instances() for sample in own]
        assert {mask.shape for mask in masks} == {(48, 48)}
        assert not np.array_equal(masks[0], masks[1])
        for sample, mask in zip(own, masks, strict=True):
            assert nuclei_are_darker(sample.pixels(), mask)
    assert (whole / "pairs.png").is_file()


@pytest.mark.parametrize("patch", [0, 1])
@pytest.mark.parametrize("scale", [0, 1])
def test_stopped_at_any_scale_it_goes_on_there_and_ends_the_same(
    whole: Path, patches: tuple[Sample, ...], tmp_path: Path, patch: int, scale: int
) -> None:
    stage = f"{patches[patch].id}-scale-{scale}"

    def stop(event: TrainingEvent) -> None:
        if isinstance(event, TrainingChecked) and event.stage == stage:
            raise StoppedError

    with pytest.raises(StoppedError):
        synthesize(TINY, patches, out=tmp_path, seed=5, listener=stop)
    assert not (tmp_path / "dataset.toml").exists()
    events: list[TrainingEvent] = []
    synthesize(TINY, patches, out=tmp_path, seed=5, listener=events.append)
    assert any(isinstance(e, TrainingResumed) and e.stage == stage for e in events)
    assert not any(isinstance(e, TrainingStep) and e.stage == stage for e in events)
    assert files(tmp_path) == files(whole)


def test_stopped_between_two_steps_it_goes_on_from_the_last_that_was_kept(
    whole: Path,
    patches: tuple[Sample, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("wsiproc_label_efficient.painting._SAVE_SECONDS", 0.0)

    def stop(event: TrainingEvent) -> None:
        if isinstance(event, TrainingStep) and event.step == 3:
            raise StoppedError

    with pytest.raises(StoppedError):
        synthesize(TINY, patches, out=tmp_path, seed=5, listener=stop)
    events: list[TrainingEvent] = []
    synthesize(TINY, patches, out=tmp_path, seed=5, listener=events.append)
    assert next(e.step for e in events if isinstance(e, TrainingResumed)) == 2
    assert files(tmp_path) == files(whole)


def test_a_finished_data_set_is_not_made_again(whole: Path, patches: tuple[Sample, ...]) -> None:
    before = files(whole)
    events: list[TrainingEvent] = []
    assert synthesize(TINY, patches, out=whole, seed=5, listener=events.append) == whole
    assert events == []
    assert files(whole) == before


def test_other_settings_or_patches_do_not_go_on_in_the_same_folder(
    whole: Path, patches: tuple[Sample, ...]
) -> None:
    other = TINY.model_copy(update={"width": 6})
    with pytest.raises(ConfigError, match="a synthesis with another synthesize"):
        synthesize(other, patches, out=whole, seed=5, listener=quiet)
    with pytest.raises(ConfigError, match="a synthesis with another patches"):
        synthesize(TINY, patches[:1], out=whole, seed=5, listener=quiet)


def test_a_damaged_checkpoint_says_so(patches: tuple[Sample, ...], tmp_path: Path) -> None:
    def stop(event: TrainingEvent) -> None:
        if isinstance(event, TrainingChecked):
            raise StoppedError

    with pytest.raises(StoppedError):
        synthesize(TINY, patches, out=tmp_path, seed=5, listener=stop)
    (tmp_path / "models" / f"{patches[0].id}-scale-0.pt").write_bytes(b"torn")
    with pytest.raises(StoreError, match="is damaged; remove it"):
        synthesize(TINY, patches, out=tmp_path, seed=5, listener=quiet)


def test_nuclei_and_what_lies_between_have_the_patch_s_own_colours(
    whole: Path, patches: tuple[Sample, ...]
) -> None:
    for patch in patches:
        pixels, labels = patch.pixels(), patch.instances()
        for sample in read_dataset(whole).samples:
            if sample.id.startswith(patch.id):
                made, mask = sample.pixels(), sample.instances()
                for inside in (True, False):
                    own = {*map(tuple, pixels[(labels > 0) == inside])}
                    assert {*map(tuple, made[(mask > 0) == inside])} <= own


def test_it_learns_what_the_patch_looks_like(patches: tuple[Sample, ...], tmp_path: Path) -> None:
    events: list[TrainingEvent] = []
    config = SynthesisConfig(per_patch=1, scales=1, width=8, blocks=3, steps=60, tinted=False)
    synthesize(config, patches[:1], out=tmp_path, seed=1, listener=events.append)
    (error,) = (e.metrics["rmse"] for e in events if isinstance(e, TrainingChecked))
    pixels = patches[0].pixels() / 127.5 - 1
    assert error < 0.6 * np.sqrt((pixels**2).mean()), "what nothing at all would be off"


def test_without_critics_of_components_only_the_whole_is_judged(
    patches: tuple[Sample, ...], tmp_path: Path
) -> None:

    for how, names in (("singan", {"whole"}), ("csingan", {"whole", "nuclei", "between"})):
        config = TINY.model_copy(update={"how": how, "per_patch": 1, "scales": 1})
        out = tmp_path / how
        synthesize(config, patches[:1], out=out, seed=1, listener=quiet)
        kept = torch.load(out / "models" / f"{patches[0].id}-scale-0.pt", weights_only=True)
        assert {key.partition(".")[0] for key in kept["critics"]} == names


def test_images_whose_nuclei_are_paler_than_the_rest_are_no_pairs(
    patches: tuple[Sample, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels = np.zeros((8, 8), np.int32)
    labels[2:5, 2:5] = 1
    dark = np.where(labels[..., None] > 0, 90, 200).astype(np.uint8).repeat(3, 2)
    assert nuclei_are_darker(dark, labels)
    assert not nuclei_are_darker(255 - dark, labels)
    assert nuclei_are_darker(dark, np.zeros_like(labels))
    monkeypatch.setattr(
        "wsiproc_label_efficient.synthesis.nuclei_are_darker", lambda _pixels, _labels: False
    )
    with pytest.raises(ConfigError, match="no pair of image and mask"):
        synthesize(TINY, patches[:1], out=tmp_path, seed=1, listener=quiet)


def test_the_command_makes_the_data_set(data: Path, tmp_path: Path) -> None:
    words = ["synthesize", data, "--out", tmp_path, "--preset", "smoke", "--threads", "1"]
    for pair in ("per_patch=2", "steps=3", "width=4", "blocks=2"):
        words += ["--set", f"synthesis.{pair}"]
    ran = CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)
    assert ran.exit_code == 0, ran.output
    assert len(read_dataset(tmp_path).split("train")) == 4


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("--set", "synthesis.how=naive"), "naive makes no pairs"),
        (("--set", "synthesis.denser=[0.6,0.2]"), "may not fall"),
        (("--by", "unet"), "unet does not synthesize"),
    ],
)
def test_what_cannot_be_done_is_said(
    data: Path, tmp_path: Path, words: tuple[str, ...], why: str
) -> None:
    with pytest.raises(ConfigError, match=why):
        CliRunner().invoke(
            app,
            ["synthesize", str(data), "--out", str(tmp_path / "out"), *words],
            catch_exceptions=False,
        )


def test_patches_without_outlines_are_refused(data: Path, tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    bare.mkdir()
    (bare / "images").symlink_to(data / "images")
    text = (data / "dataset.toml").read_text().replace('"instances"', '"none"')
    (bare / "dataset.toml").write_text(text)
    with pytest.raises(ConfigError, match="has none for labels, not instances"):
        CliRunner().invoke(
            app,
            ["synthesize", str(bare), "--out", str(tmp_path / "out"), "--preset", "smoke"],
            catch_exceptions=False,
        )


def test_help_says_what_it_wants() -> None:
    ran = CliRunner().invoke(app, ["synthesize", "--help"])
    assert ran.exit_code == 0
    assert "DATASET" in ran.output
    assert "--out" in ran.output
