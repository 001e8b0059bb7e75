"""``wsiproc diff``: what a scheduler and a person get to see."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from drawn_nuclei import Drawn, Publish
from typer.testing import CliRunner, Result

from wsiproc.cli.app import app
from wsiproc.diff.limits import Limits, judged, read_limits
from wsiproc.diff.tally import Spread, Tally
from wsiproc.errors import AlreadyThereError, ConfigError, StoreError

BEFORE = [Drawn(100 + 40 * i, 100) for i in range(20)]
AFTER = [*BEFORE[1:], Drawn(2000, 2000)]


def called(*arguments: object) -> Result:
    result = CliRunner().invoke(app, ["diff", *map(str, arguments)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def test_the_exit_code_is_0_for_the_same_and_1_for_another(published: Publish) -> None:
    a, b = published(BEFORE), published(AFTER)
    same, other = called(a.folder, a.folder), called(a.folder, b.folder)
    assert (same.exit_code, other.exit_code) == (0, 1)
    assert "the same" in same.output
    assert "different" in other.output
    assert "20 → 20" in other.output


def test_names_are_shown_as_they_are_written(published: Publish) -> None:
    names = ("[red]a", "b[/]")
    a = published([Drawn(100, 100, kind="[red]a")], classes=names)
    b = published([Drawn(100, 100, kind="b[/]")], classes=names)
    said = called(a.folder, b.folder).output
    assert "[red]a" in said
    assert "1 b[/]" in said


def test_json_says_all_of_it(published: Publish) -> None:
    a, b = published(BEFORE), published(AFTER)
    said = json.loads(called(a.folder, b.folder, "--json", "--by-region").output)
    assert said["status"] == "different"
    assert (said["matched"], said["lost"], said["gained"]) == (19, 1, 1)
    assert said["f1"] == pytest.approx(0.95)
    assert sum(region["lost"] for region in said["regions"]) == 1
    assert said["classes"] == [
        {
            "name": "a",
            "nuclei_a": 20,
            "nuclei_b": 20,
            "f1": 0.95,
            "became": {"a": 19},
            "lost": 1,
            "gained": 1,
        }
    ]


def test_within_its_limits_a_difference_is_none(published: Publish, tmp_path: Path) -> None:
    a, b = published(BEFORE), published(AFTER)
    limits = tmp_path / "limits.toml"
    limits.write_text("least_f1 = 0.95\nmost_lost = 0.05\n", "utf-8")
    assert called(a.folder, b.folder, "--limits", limits).exit_code == 0
    limits.write_text("least_f1 = 0.95\nmost_lost = 0.04\n", "utf-8")
    failed = called(a.folder, b.folder, "--limits", limits, "--json")
    assert failed.exit_code == 1
    assert json.loads(failed.output)["limits"] == [
        {"limit": "least_f1", "wanted": 0.95, "found": 0.95, "kept": True},
        {"limit": "most_lost", "wanted": 0.04, "found": 0.05, "kept": False},
    ]


def test_table_and_picture_are_written_once(published: Publish, tmp_path: Path) -> None:
    a, b = published(BEFORE), published(AFTER)
    table, picture = tmp_path / "d.parquet", tmp_path / "d.png"
    assert called(a.folder, b.folder, "--out", table, "--picture", picture).exit_code == 1
    assert picture.read_bytes()[:4] == b"\x89PNG"
    before = table.read_bytes()
    with pytest.raises(AlreadyThereError, match="--replace"):
        called(a.folder, b.folder, "--out", table)
    assert called(a.folder, b.folder, "--out", table, "--replace").exit_code == 1
    assert table.read_bytes() == before
    with pytest.raises(StoreError, match="make it first"):
        called(a.folder, b.folder, "--out", tmp_path / "no" / "d.parquet")
    assert {path.name for path in tmp_path.glob("d*")} == {"d.parquet", "d.png"}


def test_folders_are_compared_slide_by_slide_and_together(
    published: Publish, tmp_path: Path
) -> None:
    a, b = tmp_path / "A", tmp_path / "B"
    for number, slide in enumerate(("1", "2")):
        published(BEFORE, folder=a, slide=slide * 64, slide_id=f"S-{number}")
        after = AFTER if number else BEFORE
        # B may call its slides otherwise.
        published(after, folder=b, slide=slide * 64, slide_id=f"other-{number}")
    said = json.loads(called(a, b, "--json").output)
    assert [slide["status"] for slide in said["slides"]] == ["same", "different"]
    assert (said["together"]["nuclei_a"], said["together"]["lost"]) == (40, 1)
    published(BEFORE, folder=b, slide="3" * 64, slide_id="more")
    more = called(a, b)
    assert more.exit_code == 1
    assert "only B has more" in more.output
    with pytest.raises(ConfigError, match="of one slide"):
        called(a, b, "--picture", tmp_path / "p.png")
    published(BEFORE, folder=a, slide="1" * 64, slide_id="again")
    with pytest.raises(ConfigError, match="two results of one slide"):
        called(a, b)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("least_f2 = 0.9", "least_f2"),
        ("least_f1 = 1.1", "least_f1"),
        ("least_f1 = ", "not TOML"),
    ],
)
def test_limits_that_are_none_are_refused(tmp_path: Path, text: str, why: str) -> None:
    (tmp_path / "limits.toml").write_text(text, "utf-8")
    with pytest.raises(ConfigError, match=why):
        read_limits(tmp_path / "limits.toml")
    with pytest.raises(ConfigError, match="cannot read"):
        read_limits(tmp_path / "there-is-none.toml")


def test_what_is_not_known_keeps_no_limit() -> None:
    points = Tally(a=10, b=10, matched=10)
    (found,) = judged(Limits(least_overlap=0.0), points)
    assert (found.found, found.kept) == (None, False)
    assert all(each.kept for each in judged(Limits(least_f1=1.0, most_lost=0.0), Tally()))


def test_tallies_of_parts_add_up_to_that_of_the_whole() -> None:
    a, b = [1.0, 2.0, 4.0], [1.5, 2.0, 3.0]
    import numpy as np

    whole = Spread.of(np.array(a), np.array(b))
    parts = Spread.of(np.array(a[:1]), np.array(b[:1])) + Spread.of(
        np.array(a[1:]), np.array(b[1:])
    )
    assert parts == whole
    apart = np.array(b) - np.array(a)
    assert whole.bias == pytest.approx(apart.mean())
    assert whole.sd == pytest.approx(apart.std())
    assert whole.limits_of_agreement[0] == pytest.approx(apart.mean() - 1.96 * apart.std())
    assert math.isnan(Spread().bias)
