"""What is believed of a slide."""

from __future__ import annotations

import pytest

from wsiproc.errors import ConfigError, SlideFormatError, SlideResolutionError
from wsiproc.slide.facts import Header, Level, check_header, describe, levels_of, settle


def header(mpp, sizes=((1000, 800),), **more):
    return Header(backend="image", vendor="png", levels=levels_of(list(sizes)), mpp=mpp, **more)


def test_sizes_cut_off_by_rounding_still_mean_a_whole_downsample():
    assert levels_of([(10001, 8002), (2500, 2000), (626, 501)]) == (
        Level(10001, 8002, 1.0, 1.0),
        Level(2500, 2000, 4.0, 4.0),
        Level(626, 501, 16.0, 16.0),
    )


def test_sizes_no_whole_downsample_explains_are_taken_by_their_quotient():
    assert levels_of([(1000, 800), (300, 240)])[1] == Level(300, 240, 1000 / 300, 800 / 240)


def test_a_whole_number_that_holds_along_one_axis_only_is_chance():
    level = levels_of([(1000, 800), (500, 370)])[1]
    assert (level.downsample_x, level.downsample_y) == (2.0, 800 / 370)


def test_what_is_given_wins_over_what_the_file_says():
    facts = settle(header((0.25, 0.25)), 0.5)
    assert facts.mpp == (0.5, 0.5)
    assert facts.mpp_source == "given"


def test_what_the_file_says_is_kept_as_it_is():
    facts = settle(header((0.25, 0.251)), None)
    assert facts.mpp == (0.25, 0.251)
    assert facts.mpp_source == "file"


@pytest.mark.parametrize("mpp", [None, (352.8, 352.8), (0.0, 0.0), (28.97, 28.97), (0.25, 0.26)])
def test_a_missing_or_absurd_mpp_is_asked_for_and_never_guessed(mpp):
    with pytest.raises(SlideResolutionError, match="--mpp"):
        settle(header(mpp, objective=40.0), None)


@pytest.mark.parametrize("given", [0.0, 0.04, 5.1, float("nan")])
def test_an_absurd_mpp_is_not_taken_from_the_user_either(given):
    with pytest.raises(ConfigError, match="--mpp"):
        settle(header((0.25, 0.25)), given)


@pytest.mark.parametrize(
    "sizes", [((1 << 20, 1 << 20),), ((100, 100), (100, 100)), ((100, 0),), ((9, 9),) * 33]
)
def test_sizes_that_no_slide_has_are_refused(sizes):
    levels = tuple(Level(w, h, 1.0, 1.0) for w, h in sizes)
    with pytest.raises(SlideFormatError):
        check_header(Header(backend="image", vendor="png", levels=levels, mpp=None))


def test_a_description_holds_the_allow_list_and_nothing_else():
    assert set(describe(settle(header((0.25, 0.25)), None))) == {
        "backend",
        "vendor",
        "width",
        "height",
        "mpp_x",
        "mpp_y",
        "mpp_source",
        "objective",
        "bounds",
        "background",
        "levels",
    }
