"""A report says what the result says, to anyone, without reaching for anything."""

from __future__ import annotations

import base64
import io
import re
import shutil
import subprocess
from pathlib import Path

import geopandas
import numpy as np
import pytest
from PIL import Image
from read_page import Read
from typer.testing import CliRunner

from wsiproc.batch.records import Record, Trouble, write_record
from wsiproc.cli.app import app
from wsiproc.errors import AlreadyThereError, ConfigError, StoreError
from wsiproc.report.choosing import EACH, choose
from wsiproc.report.many import report_many
from wsiproc.report.measures import read_nuclei
from wsiproc.report.page import report
from wsiproc.report.writing import write_report
from wsiproc.results.stored import StoredResult, open_result
from wsiproc.store.manifest import MANIFEST, read_manifest
from wsiproc.testing.results import drawn_result

CHROMIUM = shutil.which("chromium")


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> StoredResult:
    folder = tmp_path_factory.mktemp("results") / "S-1"
    return drawn_result(folder, nuclei=600, classes=("tumour", "lympho<cyte"))


@pytest.fixture(scope="module")
def page(result: StoredResult) -> str:
    return report(result)


def rewritten(result: StoredResult, folder: Path, **changes: object) -> StoredResult:
    """A copy with another manifest."""
    shutil.copytree(result.folder, folder)
    manifest = read_manifest(folder).model_copy(update=changes)
    (folder / MANIFEST).write_text(manifest.sealed().to_json(), encoding="utf-8")
    return open_result(folder)


def test_the_numbers_are_those_of_the_table(result: StoredResult, page: str) -> None:
    read = Read(page)
    nuclei = geopandas.read_parquet(result.table)
    mm2 = result.manifest.audit["tissue_mm2"]
    assert "600 nuclei" in read.text
    assert f"{600 / mm2:,.0f} per mm² of tissue" in read.text
    assert f"{nuclei['area_um2'].median():.1f} µm² median area" in read.text
    for name, mine in nuclei.groupby("class_name"):
        row = rf"{re.escape(str(name))} {len(mine)} {100 * len(mine) / 600:.1f} %"
        assert re.search(row, read.text), row
    for said in (result.model.sha256, result.manifest.job_key, result.manifest.slide.sha256):
        assert said in read.text
    for file in result.manifest.files.values():
        assert file.sha256 in read.text


def test_every_nucleus_is_in_a_bar_of_each_histogram(page: str) -> None:
    charts = re.findall(r'<figure class="chart">.*?</figure>', page, flags=re.DOTALL)
    assert len(charts) == 6
    for chart in charts:
        counts = re.findall(r": ([\d,]+) (?:tumour|lympho&lt;cyte)</title>", chart)
        assert sum(int(count.replace(",", "")) for count in counts) == 600


def test_the_page_needs_nothing_and_names_nobody(page: str) -> None:
    read = Read(page)
    tags = {tag for tag, _ in read.tags}
    assert not tags & {"script", "link", "iframe", "object", "form", "a"}
    for _, attributes in read.tags:
        assert not any(name.startswith("on") for name in attributes)
        for name in ("src", "href"):
            assert (attributes.get(name) or "data:").startswith("data:")
    policy = next(a["content"] for t, a in read.tags if a.get("http-equiv"))
    assert policy == "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    assert "url(" not in page
    assert "/S-1" not in page, "a folder's path can name a patient"
    assert "lympho&lt;cyte" in page
    assert "lympho<cyte" not in page


def test_no_text_of_a_manifest_becomes_markup(result: StoredResult, tmp_path: Path) -> None:
    bad = "<script>1</script><img src=x onerror='1'>\""
    manifest = result.manifest
    card = manifest.model.card | {
        "note": bad,
        "licence": bad,
        "method": bad,
        "metrics": {f"{bad}/val/aji": 0.5},
        "data": [{"name": bad, "split": bad, "images": 1, "licence": bad, "source": bad}],
        "classes": [{"name": bad[:60], "color": [1, 2, 3]}] * 2,
    }
    changes = {
        "slide_id": bad,
        "slide": manifest.slide.model_copy(update={"vendor": bad}),
        "model": manifest.model.model_copy(update={"name": bad, "version": bad, "card": card}),
        "numerics": bad,
        "software": {bad: bad},
        "execution": {"engine": bad, "device": bad},
        "warnings": (bad,),
        "finished": bad,
        "job_key": bad,
    }
    hostile = rewritten(result, tmp_path / "H", **changes)
    for page in (report(hostile), report_many(tmp_path, [hostile])):
        tags = [tag for tag, _ in Read(page).tags]
        assert "script" not in tags
        assert not any("onerror" in attributes for _, attributes in Read(page).tags)
        assert bad in Read(page).text


def test_the_same_result_gives_the_same_page(result: StoredResult, page: str) -> None:
    assert report(result) == page


def test_galleries_show_what_they_say(result: StoredResult) -> None:
    nuclei = read_nuclei(result)
    shown = {gallery.title: gallery for gallery in choose(result, nuclei)}
    table = geopandas.read_parquet(result.table)
    largest = table.sort_values("area_um2", ascending=False, kind="stable")["nucleus_id"][:EACH]
    assert [each.nucleus_id for each in shown["Largest"].nuclei] == largest.tolist()
    unsure = table.sort_values("score", kind="stable")["nucleus_id"][:EACH]
    assert [each.nucleus_id for each in shown["Least certain"].nuclei] == unsure.tolist()
    of = table.set_index("nucleus_id")["class_name"]
    for name in ("tumour", "lympho<cyte"):
        some = [each.nucleus_id for each in shown[f"{name}, at random"].nuclei]
        assert len(set(some)) == EACH
        assert set(of[some]) == {name}
    for gallery in shown.values():
        for each in gallery.nuclei:
            assert each.outline is not None
            left, top, right, below = each.outline.bounds
            assert max(right - left, below - top) <= gallery.field_um


@pytest.mark.slow
def test_crops_show_the_very_nuclei_that_they_name(
    tmp_path: Path, small: object, mask_model: Path
) -> None:
    import wsiproc

    path: Path = small.path  # type: ignore[attr-defined]
    found = wsiproc.run(path, str(mask_model), tmp_path, slide_id="drawn")
    result = open_result(found.folder)
    read = Read(report(result, path))
    crops = [a["href"] or "" for tag, a in read.tags if tag == "image"][2:]
    assert len(crops) == 5 * EACH
    for crop in crops:
        data = base64.b64decode(crop.removeprefix("data:image/jpeg;base64,"))
        with Image.open(io.BytesIO(data)) as image:
            pixels = np.asarray(image.convert("RGB")).astype(float)
        # Drawn nuclei are dark and blue: in the middle of each crop there is one.
        middle = tuple(slice(edge // 2 - 2, edge // 2 + 2) for edge in pixels.shape[:2])
        assert pixels[middle].mean() < pixels.mean() + 10
    assert "1,500 × 1,200 px" in read.text
    assert "No warnings" in read.text
    assert re.search(r"Every nucleus near a seam is the same|no seams", read.text)
    # And no other slide's pixels.
    other = tmp_path / "other.tiff"
    other.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(ConfigError, match="fingerprints differ"):
        report(result, other)


def test_warnings_and_files_that_were_changed_come_first(
    result: StoredResult, tmp_path: Path
) -> None:
    warned = rewritten(result, tmp_path / "W", warnings=("the slide looks like <fluorescence>",))
    overview = tmp_path / "W" / "overview.png"
    data = bytearray(overview.read_bytes())
    data[-8] ^= 1
    overview.write_bytes(bytes(data))
    text = Read(report(warned)).text
    assert "2 warnings" in text
    assert "the slide looks like <fluorescence>" in text
    assert "overview.png: its content has changed" in text
    assert text.index("2 warnings") < text.index("The slide")


@pytest.mark.parametrize(
    ("audit", "said"),
    [
        ({"seam_px": 10, "local": True, "errors": 3}, "3 nuclei near seams differ between tiles"),
        ({"seam_px": 10, "local": True, "errors": 0}, "is the same from both sides"),
        ({"seam_px": 10, "local": False, "not_fully_seen": 5, "united": 2}, "3 nuclei may be cut"),
        ({"seam_px": 0}, "no seams"),
        ({}, "no audit of its seams"),
    ],
)
def test_seams_are_told_in_a_sentence(audit: dict[str, object], said: str) -> None:
    from wsiproc.report.provenance import seams

    assert said in Read(seams(audit)).text


@pytest.mark.parametrize("nuclei", [0, 1, 2])
def test_results_of_next_to_nothing_have_a_page(tmp_path: Path, nuclei: int) -> None:
    few = drawn_result(tmp_path / "few", nuclei=nuclei)
    text = Read(report(few)).text
    assert f"{nuclei} nuclei" in text


def test_points_have_a_page_without_shapes(tmp_path: Path) -> None:
    points = drawn_result(tmp_path / "points", nuclei=200, polygons=False)
    read = Read(report(points))
    assert "median area" not in read.text
    assert "shows their pixels" in read.text
    assert "Score" in read.text


def test_many_slides_have_one_page_with_what_stands_out_and_what_is_missing(
    result: StoredResult, tmp_path: Path
) -> None:
    for number in range(9):
        mm2 = 0.5 + 0.01 * number if number != 4 else 0.05
        rewritten(
            result,
            tmp_path / f"S-{number}",
            slide_id=f"S-{number}",
            audit={"tissue_mm2": mm2},
            warnings=("it is coarse",) if number == 7 else (),
        )
    trouble = Trouble(kind="input", error="SlideReadError", message="a tile is <cut> short")
    write_record(tmp_path, Record(slide_id="S-bad", state="quarantined", trouble=trouble))
    out = tmp_path / "report.html"
    written = write_report(tmp_path, out)
    assert written.slides == 9
    read = Read(out.read_text("utf-8"))
    assert "5,400 nuclei" in read.text
    assert "S-4 more nuclei per mm² than the others" in read.text
    assert "S-7 it is coarse" in read.text
    assert "S-bad quarantined a tile is <cut> short" in read.text
    assert sum(tag == "img" for tag, _ in read.tags) == 9
    with pytest.raises(ConfigError, match="of one result"):
        write_report(tmp_path, out, slide=Path("slide.svs"))


def test_what_is_no_result_gets_no_page(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no result here"):
        write_report(tmp_path, tmp_path / "report.html")
    assert not (tmp_path / "report.html").exists()


def test_the_command_writes_once_and_not_over_a_page(result: StoredResult, tmp_path: Path) -> None:
    out = tmp_path / "report.html"
    arguments = ["report", str(result.folder), "--out", str(out)]
    said = CliRunner().invoke(app, arguments)
    assert said.exit_code == 0
    assert "1 slide" in said.output
    again = CliRunner().invoke(app, arguments)
    assert isinstance(again.exception, AlreadyThereError)
    assert CliRunner().invoke(app, [*arguments, "--replace"]).exit_code == 0
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
def test_a_browser_shows_it_and_prints_it_on_a4(page: str, tmp_path: Path) -> None:
    assert CHROMIUM is not None
    file = tmp_path / "page.html"
    file.write_text(page, encoding="utf-8")
    plain = [CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
    for more in (
        ["--window-size=1100,2600", f"--screenshot={tmp_path / 'page.png'}"],
        ["--no-pdf-header-footer", f"--print-to-pdf={tmp_path / 'page.pdf'}"],
    ):
        subprocess.run(
            [*plain, f"--user-data-dir={tmp_path / 'profile'}", *more, file.as_uri()],
            check=True,
            capture_output=True,
            timeout=300,
        )
    with Image.open(tmp_path / "page.png") as shot:
        pixels = np.asarray(shot.convert("RGB")).astype(int)
    # The colours of both classes, in bars and outlines, and the density map's dark end.
    for color in ((204, 51, 63), (59, 107, 208)):
        assert (np.abs(pixels - color).sum(axis=2) < 30).sum() > 500
    pdf = (tmp_path / "page.pdf").read_bytes()
    pages = re.findall(rb"/MediaBox \[0 0 ([\d.]+) ([\d.]+)\]", pdf)
    assert len(pages) >= 2
    assert {(round(float(w)), round(float(h))) for w, h in pages} == {(595, 842)}
