"""Ids tell nothing of names, and only who holds the key gets back from them."""

from __future__ import annotations

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from wsiproc.batch.identity import Names, default_key_file, names, site_key, slide_id, unseen_id
from wsiproc.errors import ConfigError
from wsiproc.slide.arrival import Seen, Stamp

STAMP = Stamp(1, 6, 0.0, "stamp")


def test_a_key_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "config" / "site.key"
    key = site_key(path)
    assert len(key) == 32
    assert site_key(path) == key
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [p.name for p in path.parent.iterdir()] == ["site.key"]


def test_first_uses_at_once_agree_on_one_key(tmp_path: Path) -> None:
    with ThreadPoolExecutor(20) as crowd:
        keys = set(crowd.map(lambda _: site_key(tmp_path / "site.key"), range(20)))
    assert len(keys) == 1


def test_a_key_that_others_can_read_or_that_is_none_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "site.key"
    site_key(path)
    path.chmod(0o640)
    with pytest.raises(ConfigError, match="chmod 600"):
        site_key(path)
    path.chmod(0o600)
    path.write_text("no key")
    with pytest.raises(ConfigError, match="64 hex digits"):
        site_key(path)


def test_the_users_key_lies_in_the_users_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert default_key_file() == tmp_path / "wsiproc" / "site.key"


def test_one_content_has_one_id_under_one_key() -> None:
    assert slide_id(b"key", "print") == slide_id(b"key", "print")
    assert slide_id(b"key", "print") != slide_id(b"other", "print")
    assert slide_id(b"key", "print") != slide_id(b"key", "another")
    assert slide_id(b"key", "print").startswith("s")
    assert unseen_id(b"key", Path("/a.svs")).startswith("u")
    assert len(slide_id(b"key", "print")) == 21


def test_what_was_read_once_is_known_until_the_file_changes(tmp_path: Path) -> None:
    slide = tmp_path / "a.svs"
    Names(tmp_path / "site.key").remember(slide, "s1", Seen("print", STAMP))
    later = Names(tmp_path / "site.key")
    assert later.fingerprint(slide, STAMP) == "print"
    assert later.fingerprint(slide, Stamp(1, 7, 0.0, "changed")) is None
    assert later.id_of(slide) == "s1"
    assert names(tmp_path / "site.key") == {"s1": slide}


def test_a_slide_that_was_never_read_can_be_found_by_its_first_id(tmp_path: Path) -> None:
    list_, slide = Names(tmp_path / "site.key"), tmp_path / "a.svs"
    list_.remember(slide, "u1")
    assert list_.id_of(slide) is None
    assert list_.fingerprint(slide, STAMP) is None
    list_.remember(slide, "s1", Seen("print", STAMP))
    assert list_.id_of(slide) == "s1"
    assert list_.all() == {"u1": slide, "s1": slide}


def test_the_list_is_its_owners_alone_and_grows_only_with_news(tmp_path: Path) -> None:
    list_ = Names(tmp_path / "site.key")
    for _ in range(3):
        list_.remember(tmp_path / "a.svs", "s1", Seen("print", STAMP))
    path = tmp_path / "site.key.names"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert len(path.read_text().splitlines()) == 1


def test_several_batches_add_to_one_list_and_read_each_other(tmp_path: Path) -> None:
    mine, theirs = Names(tmp_path / "site.key"), Names(tmp_path / "site.key")
    mine.remember(tmp_path / "a.svs", "s1", Seen("1", STAMP))
    theirs.remember(tmp_path / "b.svs", "s2", Seen("2", STAMP))
    assert mine.id_of(tmp_path / "b.svs") == "s2"
    assert theirs.id_of(tmp_path / "a.svs") == "s1"


def test_a_line_that_a_crash_has_torn_costs_nothing_but_itself(tmp_path: Path) -> None:
    first = Names(tmp_path / "site.key")
    first.remember(tmp_path / "a.svs", "s1", Seen("1", STAMP))
    with (tmp_path / "site.key.names").open("a") as file:
        file.write('{"id": "s2", "pa')
    second = Names(tmp_path / "site.key")
    second.remember(tmp_path / "c.svs", "s3", Seen("3", STAMP))
    assert set(names(tmp_path / "site.key")) == {"s1", "s3"}
    assert set(first.all()) == {"s1", "s3"}
