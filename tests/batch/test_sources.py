"""Which slides a batch is given."""

from __future__ import annotations

from pathlib import Path

import pytest

from wsiproc.batch.sources import find_slides
from wsiproc.config import Science
from wsiproc.errors import ConfigError


def write(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"bytes")


def names_of(home: Path, *given: Path) -> list[str]:
    found = find_slides(given or (home,), Science(), out=home / "out")
    return [candidate.path.relative_to(home).as_posix() for candidate in found]


def test_a_folder_gives_its_slides_and_those_below_in_order(tmp_path: Path) -> None:
    write(tmp_path / "b.svs", tmp_path / "a.tiff", tmp_path / "day" / "c.NDPI")
    assert names_of(tmp_path) == ["a.tiff", "b.svs", "day/c.NDPI"]


def test_what_is_no_slide_or_no_whole_one_is_passed_over(tmp_path: Path) -> None:
    write(
        tmp_path / "a.svs",
        tmp_path / "a.svs.done",
        tmp_path / "a.svs.sha256",
        tmp_path / "b.svs.part",
        tmp_path / "c.svs.filepart",
        tmp_path / "d.svs.crdownload",
        tmp_path / "e.svs.tmp",
        tmp_path / ".f.svs",
        tmp_path / ".hidden" / "g.svs",
        tmp_path / "notes.txt",
        tmp_path / "out" / "s1" / "h.tiff",
    )
    (tmp_path / "empty.svs").touch()
    assert names_of(tmp_path) == ["a.svs"]


def test_a_mirax_slide_is_one_and_so_is_a_zarr_folder(tmp_path: Path) -> None:
    write(tmp_path / "a.mrxs", tmp_path / "a" / "Data0001.dat", tmp_path / "a" / "x.tif")
    write(tmp_path / "b.zarr" / "0" / "c.tif")
    assert names_of(tmp_path) == ["a.mrxs", "b.zarr"]


def test_a_slide_given_by_name_may_be_called_anything(tmp_path: Path) -> None:
    write(tmp_path / "odd.scan")
    assert names_of(tmp_path, tmp_path / "odd.scan", tmp_path / "odd.scan") == ["odd.scan"]


def test_a_path_where_nothing_is_is_refused_without_its_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="path 1") as refused:
        names_of(tmp_path, tmp_path / "patient.svs")
    assert "patient" not in str(refused.value)


@pytest.mark.parametrize("separator", [",", ";"])
def test_a_list_gives_slides_beside_it_each_with_its_settings(
    tmp_path: Path, separator: str
) -> None:
    rows = ["slide,mpp,tissue", "a.svs,0.25,", "sub/b.svs,,false", '"c,d.svs",,']
    text = "\r\n".join(row.replace(",", separator, 2) for row in rows[:3])
    (tmp_path / "list.csv").write_text("\ufeff" + text)
    found = find_slides([tmp_path / "list.csv"], Science(mpp=0.5), out=tmp_path / "out")
    assert [c.path for c in found] == [tmp_path / "a.svs", tmp_path / "sub" / "b.svs"]
    assert [c.science.mpp for c in found] == [0.25, 0.5]
    assert [c.science.tissue for c in found] == [True, False]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("file\na.svs\n", "column slide"),
        ("slide,mmp\na.svs,1\n", "mmp"),
        ("slide,mpp\na.svs,wide\n", "line 2.*mpp"),
        ("slide,mpp\na.svs,0.5\na.svs,0.25\n", "twice"),
        ("slide,mpp\n,0.5\n", "line 2.*names no slide"),
        ("slide,mpp\na.svs,0.5,1\n", "line 2.*number of fields"),
    ],
)
def test_a_list_that_is_not_understood_says_where(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "list.csv").write_text(text)
    with pytest.raises(ConfigError, match=said):
        find_slides([tmp_path / "list.csv"], Science(), out=tmp_path / "out")
