"""Values from files: everything that is wrong with one is said, and each has one text."""

from __future__ import annotations

import json
from typing import Self

import pytest
from pydantic import Field, ValidationError, model_validator

from wsiproc.frozen import Frozen, canonical, faults


class _Inner(Frozen):
    edge: int = Field(default=1, ge=0)


class _Value(Frozen):
    mpp: float = 0.5
    inner: tuple[_Inner, ...] = ()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.mpp == 7:
            raise ValueError("seven is too many")
        return self


def wrong(fields: dict[str, object]) -> str:
    with pytest.raises(ValidationError) as caught:
        _Value.model_validate(fields)
    return faults(caught.value, "the value")


def test_every_fault_is_named_by_its_place() -> None:
    said = wrong({"mpp": "wide", "inner": [{}, {"edge": -1}], "colour": 3})
    places = [fault.split(": ")[0] for fault in said.split("; ")]
    assert places == ["mpp", "inner.1.edge", "colour"]


def test_a_contradiction_is_laid_to_the_whole() -> None:
    assert wrong({"mpp": 7}).startswith("the value: ")
    assert "seven is too many" in wrong({"mpp": 7})


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_numbers_are_finite(number: float) -> None:
    assert wrong({"mpp": number}).startswith("mpp: ")


def test_values_do_not_change() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        _Value().mpp = 1.0  # type: ignore[misc]


def test_the_text_of_a_value_gives_it_back() -> None:
    value = _Value(mpp=0.25, inner=(_Inner(edge=3),))
    assert canonical(value) == '{"inner":[{"edge":3}],"mpp":0.25}'
    assert _Value.model_validate(json.loads(canonical(value))) == value
