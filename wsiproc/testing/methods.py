"""What every training method has to keep to; a plugin's tests subclass `MethodContract`::

class TestMine(MethodContract):
    method = METHOD
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import ValidationError

from wsiproc.card import Card
from wsiproc.decode import decode, views_of
from wsiproc.errors import ConfigError
from wsiproc.geometry import Box
from wsiproc.methods import (
    Method,
    MethodConfig,
    TrainingChecked,
    TrainingEvent,
    TrainingInputs,
    TrainingResumed,
    TrainingStep,
    find_method,
)
from wsiproc.model import Session, load_model, open_session
from wsiproc.nuclei import Nuclei
from wsiproc.slide._drawn import draw_image
from wsiproc.slide._drawn_dataset import drawn_dataset
from wsiproc.tiling import Window


class StoppedError(Exception):
    """Stands for the kill."""


class MethodContract:
    """The promises, each a test; training happens once, with the preset ``smoke``."""

    method: ClassVar[Method]

    @pytest.fixture(scope="class")
    @classmethod
    def data(cls, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ...]:
        """Data sets that the preset ``smoke`` can learn from; override for other labels."""
        return (drawn_dataset(tmp_path_factory.mktemp("data") / "drawn"),)

    @pytest.fixture(scope="class")
    @classmethod
    def unlabelled(cls) -> tuple[Path, ...]:
        """Data sets without labels, for methods that use some."""
        return ()

    @pytest.fixture(scope="class")
    @classmethod
    def smoke(cls) -> MethodConfig:
        """The settings that are trained with."""
        return cls.method.presets["smoke"]

    @pytest.fixture(scope="class")
    @classmethod
    def trained(
        cls,
        tmp_path_factory: pytest.TempPathFactory,
        data: tuple[Path, ...],
        unlabelled: tuple[Path, ...],
        smoke: MethodConfig,
    ) -> tuple[tuple[Path, ...], list[TrainingEvent], TrainingInputs]:
        """The files, what was said meanwhile, and what was given; stopped once on the way."""
        events: list[TrainingEvent] = []

        def stop(event: TrainingEvent) -> None:
            events.append(event)
            if isinstance(event, TrainingChecked):
                raise StoppedError

        out = tmp_path_factory.mktemp("out") / "training"
        with pytest.raises(StoppedError):
            cls.method.train(smoke, TrainingInputs(data, out, unlabelled, threads=1, listener=stop))
        inputs = TrainingInputs(
            data, out, unlabelled, threads=1, command="wsiproc train", listener=events.append
        )
        return cls.method.train(smoke, inputs), events, inputs

    def test_it_is_found_under_its_name(self) -> None:
        assert find_method(self.method.name).name == self.method.name
        assert self.method.summary

    def test_it_has_the_presets_that_people_look_for(self) -> None:
        assert {"default", "smoke"} <= set(self.method.presets)
        for preset in self.method.presets.values():
            assert isinstance(preset, self.method.config)
            assert self.method.config.model_validate(preset.model_dump()) == preset

    def test_settings_are_frozen_and_unknown_ones_refused(self) -> None:
        preset = self.method.presets["default"]
        name = next(iter(self.method.config.model_fields))
        with pytest.raises(ValidationError):
            setattr(preset, name, getattr(preset, name))
        with pytest.raises(ValidationError):
            self.method.config.model_validate({**preset.model_dump(), "no_such_setting": 1})

    def test_listing_it_does_not_load_torch(self) -> None:
        code = (
            "import sys; from wsiproc.methods import find_method;"
            f"find_method({self.method.name!r}).presets; sys.exit('torch' in sys.modules)"
        )
        assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0  # noqa: S603

    @pytest.mark.slow
    def test_training_says_how_it_goes(
        self, trained: tuple[tuple[Path, ...], list[TrainingEvent], TrainingInputs]
    ) -> None:
        _, events, _ = trained
        assert any(isinstance(event, TrainingStep) for event in events)
        assert any(isinstance(event, TrainingChecked) for event in events)

    @pytest.mark.slow
    def test_stopped_and_gone_on_with_it_says_where(
        self, trained: tuple[tuple[Path, ...], list[TrainingEvent], TrainingInputs]
    ) -> None:
        _, events, _ = trained
        stopped = next(e for e in events if isinstance(e, TrainingChecked))
        resumed = next(e for e in events if isinstance(e, TrainingResumed))
        assert (resumed.stage, resumed.step) == (stopped.stage, stopped.step)

    @pytest.mark.slow
    def test_training_ends_in_files_that_say_everything_of_themselves(
        self, trained: tuple[tuple[Path, ...], list[TrainingEvent], TrainingInputs]
    ) -> None:
        files, _, inputs = trained
        assert files
        for file in files:
            card = load_model(str(file)).card
            assert card.method == self.method.name
            assert card.data
            assert card.metrics
            assert card.post.chosen_on
            assert card.licence != "unknown"
            assert card.command == "wsiproc train"
            assert str(inputs.out).encode() not in file.read_bytes()
            assert str(inputs.data[0]).encode() not in file.read_bytes()

    @pytest.mark.slow
    def test_the_files_find_nuclei_where_there_are_some(
        self, trained: tuple[tuple[Path, ...], list[TrainingEvent], TrainingInputs]
    ) -> None:
        model = load_model(str(trained[0][0]))
        window = min(model.card.windows)
        session = open_session(model, device="cpu", window=window)
        pixels, truth = draw_image(window, window, seed=12345, mpp=model.card.mpp)
        found = _nuclei_of(model.card, session, pixels)
        none = _nuclei_of(model.card, session, np.full_like(pixels, 245))
        session.close()
        assert len(found) > 0.3 * truth.max()
        assert len(none) <= 0.02 * truth.max()

    @pytest.mark.slow
    def test_a_finished_training_is_not_done_again(
        self,
        trained: tuple[tuple[Path, ...], list[TrainingEvent], TrainingInputs],
        smoke: MethodConfig,
    ) -> None:
        files, _, inputs = trained
        before = [file.read_bytes() for file in files]
        events: list[TrainingEvent] = []
        again = TrainingInputs(
            inputs.data,
            inputs.out,
            inputs.unlabelled,
            command=inputs.command,
            listener=events.append,
        )
        assert self.method.train(smoke, again) == files
        assert [file.read_bytes() for file in files] == before
        assert not any(isinstance(event, TrainingStep) for event in events)

    @pytest.mark.slow
    def test_other_settings_do_not_go_on_in_the_same_folder(
        self,
        trained: tuple[tuple[Path, ...], list[TrainingEvent], TrainingInputs],
        smoke: MethodConfig,
    ) -> None:
        _, _, inputs = trained
        other = TrainingInputs(inputs.data, inputs.out, inputs.unlabelled, seed=inputs.seed + 1)
        with pytest.raises(ConfigError, match="choose another --out"):
            self.method.train(smoke, other)


def _nuclei_of(card: Card, session: Session, pixels: NDArray[np.uint8]) -> Nuclei:
    """What a model finds in one window, that is all there is."""
    box = Box(0, 0, pixels.shape[1], pixels.shape[0])
    outputs = session.run(pixels[None])
    if card.fixed_windows:
        return decode(card, views_of(card, outputs, [Window(box, box)]), box, box)
    return decode(card, {name: values[0] for name, values in outputs.items()}, box, box)
