"""The page of a night says what became of every slide, to anyone, without reaching for anything."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from read_page import Read

from wsiproc.batch import _drawings, page
from wsiproc.batch.records import Night, Record, Trouble

SHA = "6f" * 32


def done(slide_id: str, density: float = 2000.0, **more: object) -> Record:
    return Record(
        slide_id=slide_id,
        state="done",
        nuclei=1234,
        tissue_mm2=0.62,
        nuclei_per_mm2=density,
        seconds=12.5,
        attempts=1,
        changed="2026-11-21T03:00:00+00:00",
        software={"numpy": "2.3.1"},
        **more,
    )


def quarantined(slide_id: str, message: str = "the JPEG of a tile is cut short") -> Record:
    trouble = Trouble(
        kind="input",
        error="SlideReadError",
        message=message,
        tile=(2, 4),
        reproduce=f"wsiproc batch SLIDES --only {slide_id} --retry-failed",
    )
    return Record(slide_id=slide_id, state="quarantined", trouble=trouble, attempts=3)


def night(records: Sequence[Record], **more: object) -> Night:
    facts = {
        "started": "2026-11-21T01:00:00+00:00",
        "token": "a1b2c3d4",
        "finished": "2026-11-21T05:12:09+00:00",
        "exit_code": 10,
        "model": "unet",
        "model_sha256": SHA,
        "slides": tuple(record.slide_id for record in records),
        "done": sum(record.state == "done" for record in records),
        "quarantined": sum(record.state == "quarantined" for record in records),
        "seconds": 15129.0,
    }
    return Night.model_validate(facts | more)


def written(out: Path, records: Sequence[Record], **more: object) -> Read:
    path = page.write(out, night(records, **more), records)
    assert path == out / "summary.html"
    return Read(path.read_text("utf-8"))


def overview(out: Path, slide_id: str, size: tuple[int, int] = (900, 600), seed: int = 1) -> None:
    noise = np.random.default_rng(seed).integers(0, 256, (size[1] // 6, size[0] // 6, 3), np.uint8)
    (out / slide_id).mkdir()
    Image.fromarray(noise).resize(size).save(out / slide_id / "overview.png")


def test_counts_reasons_versions_and_the_model_are_told(tmp_path: Path) -> None:
    read = written(
        tmp_path, [done("s1"), done("s2"), quarantined("s3")], waiting=4, retries={"resource": 2}
    )
    for said in (
        "2 done tonight",
        "4 waiting",
        "1 quarantined",
        "exit code 10: some slides are quarantined",
        "4 h 12 min",
        f"unet {SHA}",
        "numpy 2.3.1",
        "2 for resource",
    ):
        assert said in read.text, said
    for said in (
        "the file is bad",
        "SlideReadError",
        "tile row 2 column 4",
        "the JPEG of a tile is cut short",
        "wsiproc batch SLIDES --only s3 --retry-failed",
    ):
        assert said in read.text, said


def test_numbers_are_drawn_and_told(tmp_path: Path) -> None:
    read = written(tmp_path, [done(f"s{n}", 1000.0 + 100 * n) for n in range(11)])
    assert "11 slides, from 1,000 to 2,000, median 1,500" in read.text
    assert sum(tag == "svg" for tag, _ in read.tags) == 2
    counts = [int(found) for found in re.findall(r"[\d,]+ to [\d,]+: (\d+) slides", read.text)]
    assert sum(counts) == 2 * 11, "each slide is in one bar of each"


@pytest.mark.parametrize("values", [[0.0], [0.0, 0.0], [1e-9], [5.0], [0.1, 1e12], [24.0] * 3])
def test_whatever_the_numbers_each_is_in_a_bar(values: list[float]) -> None:
    drawn = _drawings.histogram("density", values, "slides")
    Read(drawn)
    assert sum(int(n) for n in re.findall(r": (\d+) slides</title>", drawn)) == len(values)
    assert not re.search(r'"(-|nan|inf)', drawn)


def test_overviews_are_shown_small_by_slide_id(tmp_path: Path) -> None:
    overview(tmp_path, "s1", (900, 600))
    overview(tmp_path, "s2", (500, 1000))
    read = written(tmp_path, [done("s1"), done("s2")])
    sizes = [Image.open(io.BytesIO(data)).size for data in read.pictures()]
    assert sizes == [(320, 213), (160, 320)]
    named = [attributes["alt"] or "" for tag, attributes in read.tags if tag == "img"]
    assert [alt.split()[-1] for alt in named] == ["s1", "s2"]


def test_an_overview_that_is_damaged_or_gone_is_left_out(tmp_path: Path) -> None:
    for slide_id in ("s1", "s2", "s3", "s4"):
        overview(tmp_path, slide_id)
    (tmp_path / "s2" / "overview.png").write_bytes(b"no picture")
    whole = (tmp_path / "s3" / "overview.png").read_bytes()
    (tmp_path / "s3" / "overview.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "s4" / "overview.png").unlink()
    read = written(tmp_path, [done(f"s{n}") for n in range(1, 6)])
    assert len(read.pictures()) == 1
    assert "1 of 5" in read.text


@pytest.mark.slow
def test_a_thousand_slides_fit_on_a_page_below_five_megabytes(tmp_path: Path) -> None:
    ids = [f"s{n:020x}" for n in range(1000)]
    overview(tmp_path, "one", (900, 900))
    for slide_id in ids:
        (tmp_path / slide_id).symlink_to("one")
    bad = [quarantined(f"u{n:020x}", "x" * 5000) for n in range(1000)]
    read = written(tmp_path, [*(done(each) for each in ids), *bad])
    assert (tmp_path / "summary.html").stat().st_size < 5e6
    pictures, text = len(read.pictures()), read.text
    assert 20 < pictures <= 150
    assert f"{pictures} of 1,000" in text
    assert all(each in text for each in ids)


def test_text_of_any_kind_stays_text(tmp_path: Path) -> None:
    nasty = "<script>alert(1)</script>&amp;\"'<img src=x>{body}\u2028"
    record = Record(
        slide_id="s1",
        state="quarantined",
        trouble=Trouble(kind="bug", error=nasty, message=nasty, reproduce=nasty),
        software={nasty: nasty},
    )
    read = written(tmp_path, [record], model=nasty, retries={nasty: 1}, token=nasty, finished=nasty)
    assert not {tag for tag, _ in read.tags} & {"script", "img"}
    assert read.text.count("<script>alert(1)</script>&amp;\"'<img src=x>{body}") >= 7


def test_the_page_reaches_for_nothing(tmp_path: Path) -> None:
    overview(tmp_path, "s1")
    read = written(tmp_path, [done("s1"), quarantined("s2")])
    text = (tmp_path / "summary.html").read_text()
    assert "://" not in text
    assert not re.search(r"@import|url\(", text)
    for tag, attributes in read.tags:
        assert tag not in ("script", "link", "iframe", "object", "form", "a")
        assert (attributes.get("src") or "data:").startswith("data:")
    policies = [a["content"] or "" for t, a in read.tags if t == "meta" and "http-equiv" in a]
    assert policies
    assert policies[0].startswith("default-src 'none'")


def test_slides_of_other_nights_are_told_only_while_they_are_not_done(tmp_path: Path) -> None:
    tonight, before = done("s1"), [done("s2"), quarantined("s3")]
    page.write(tmp_path, night([tonight]), [tonight, *before])
    read = Read((tmp_path / "summary.html").read_text())
    assert "s2" not in read.text.split()
    assert "from other nights" in read.text
    assert "s3" in read.text.split()


def test_a_night_that_has_not_ended_or_had_nothing_to_do_has_a_page_too(tmp_path: Path) -> None:
    running = written(tmp_path, [], finished="", exit_code=None, seconds=0.0)
    assert "not finished" in running.text
    assert "0 done tonight" in running.text


def test_an_old_page_gives_way_to_the_new_one(tmp_path: Path) -> None:
    written(tmp_path, [quarantined("s1")])
    assert "s1" not in written(tmp_path, [done("s2")]).text.split()
    assert [path.name for path in tmp_path.iterdir()] == ["summary.html"]
