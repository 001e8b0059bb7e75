"""`wsiproc batch` as a hospital's night meets it: through the command line, on drawn slides."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import tifffile

from wsiproc.batch.records import read_records
from wsiproc.model import add_model
from wsiproc.slide._drawn import draw_image, draw_slide
from wsiproc.store.manifest import read_manifest

TOKEN = "PAT4711DOE"


@dataclass(frozen=True)
class Hospital:
    """A folder of slides, one of results, and a user with a site key."""

    home: Path
    model: str

    @property
    def slides(self) -> Path:
        return self.home / "slides"

    @property
    def out(self) -> Path:
        return self.home / "out"

    def start(self, *words: str | Path, out: Path | None = None) -> subprocess.Popen[str]:
        settings = ("--config", self.home / "settings.toml")
        return self.say("--json", *settings, *(words or (self.slides,)), out=out)

    def say(self, *words: str | Path, out: Path | None = None) -> subprocess.Popen[str]:
        """The command line in a process of its own, with this user's configuration."""
        where = ("--model", self.model, "--out", out or self.out)
        return subprocess.Popen(
            [sys.executable, "-m", "wsiproc.cli.app", "batch", *map(str, (*where, *words))],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"XDG_CONFIG_HOME": str(self.home / "config")},
        )

    def night(self, *words: str | Path) -> tuple[int, dict[str, Any]]:
        """One invocation: its exit code, and what it prints."""
        return ended(self.start(*words))

    def results(self) -> dict[str, bytes]:
        """Every published table, by slide id."""
        tables = self.out.glob("s*/centroids.parquet")
        return {table.parent.name: table.read_bytes() for table in tables}

    def audit(self, event: str) -> list[dict[str, Any]]:
        lines = map(json.loads, (self.out / "audit.jsonl").read_text().splitlines())
        return [line["facts"] for line in lines if line["event"] == event]


def ended(process: subprocess.Popen[str]) -> tuple[int, dict[str, Any]]:
    out, err = process.communicate(timeout=600)
    assert "Traceback" not in err, err
    return process.returncode, json.loads(out)


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three drawn slides."""
    folder = tmp_path_factory.mktemp("scans")
    for seed in range(3):
        draw_slide(folder / f"{seed}.tiff", width=700, height=600, seed=seed, mpp=0.5)
    return folder


@pytest.fixture
def hospital(scans: Path, mask_model: Path, tmp_path: Path) -> Hospital:
    here = Hospital(tmp_path, add_model(mask_model).name)
    shutil.copytree(scans, here.slides)
    # Everything is copied a moment ago: their copier's word is needed for each.
    for slide in here.slides.iterdir():
        slide.with_name(f"{slide.name}.done").touch()
    settings = "[execution]\nworkers = 0\nwindow_px = 256\ntile_px = 256\n"
    (tmp_path / "settings.toml").write_text(settings)
    return here


def by_state(said: dict[str, Any]) -> Counter[str]:
    return Counter(slide["state"] for slide in said["slides"].values())


def test_a_night_does_what_can_be_done_and_says_what_keeps_the_rest(hospital: Hospital) -> None:
    (hospital.slides / "text.svs").write_text("this is no slide" * 99)
    (hospital.slides / "text.svs.done").touch()
    whole = (hospital.slides / "0.tiff").read_bytes()
    (hospital.slides / "half.tiff").write_bytes(whole[: len(whole) // 2])
    (hospital.slides / "copying.svs.part").write_bytes(whole[:99])
    before = {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in hospital.slides.iterdir()}

    code, said = hospital.night(hospital.slides, "--stable-for", "1s")
    assert code == 10
    assert by_state(said) == {"done": 3, "quarantined": 1, "waiting": 1}
    kinds = {s["trouble"]["kind"]: s["trouble"] for s in said["slides"].values() if s["trouble"]}
    assert set(kinds) == {"input", "not_ready"}
    assert "--only s" in kinds["input"]["reproduce"]
    assert len(hospital.results()) == 3
    assert (hospital.out / "summary.html").is_file()
    assert (hospital.out / "metrics.prom").is_file()
    after = {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in hospital.slides.iterdir()}
    assert after == before, "the hospital's files are never touched"

    manifests = {p: p.stat().st_mtime_ns for p in hospital.out.glob("s*/manifest.json")}
    code, again = hospital.night(hospital.slides, "--stable-for", "1s")
    assert code == 10
    assert (again["night"]["done"], again["night"]["already_done"]) == (0, 3)
    assert {p: p.stat().st_mtime_ns for p in hospital.out.glob("s*/manifest.json")} == manifests
    assert len(hospital.audit("quarantined")) == 1, "a slide in quarantine is left to rest"

    (hospital.slides / "half.tiff").write_bytes(whole + b"\0")
    (hospital.slides / "text.svs").unlink()
    code, said = hospital.night(hospital.slides, "--stable-for", "1s")
    assert code == 0
    assert by_state(said) == {"done": 4}
    assert {record.state for record in read_records(hospital.out)} == {"done"}
    assert len(hospital.audit("gone")) == 1, "nobody waits for the file that was removed"


def test_no_name_of_a_slide_gets_out(hospital: Hospital) -> None:
    shutil.rmtree(hospital.slides)
    folder = hospital.slides / f"folder-{TOKEN}"
    folder.mkdir(parents=True)
    aperio(folder / f"{TOKEN}.svs")
    (folder / f"junk-{TOKEN}.svs").write_text(TOKEN * 50)
    (folder / f"junk-{TOKEN}.svs.done").touch()
    (folder / f"late-{TOKEN}.svs").write_text(TOKEN * 70)
    process = hospital.start(hospital.slides, "--stable-for", "0s", "--workers", "1")
    out, err = process.communicate(timeout=600)
    assert process.returncode == 10
    assert by_state(json.loads(out)) == {"done": 1, "quarantined": 1, "waiting": 1}
    quick = ("--stable-for", "0s", "--workers", "0", "--retry-failed")
    spoken = "".join(hospital.say(hospital.slides, *quick).communicate(timeout=600))
    assert "quarantined" in spoken
    assert TOKEN not in out + err + spoken
    written = [path for path in hospital.out.rglob("*") if path.is_file()]
    assert len(written) > 8
    for path in written:
        assert TOKEN not in str(path.relative_to(hospital.out))
        assert TOKEN.encode() not in path.read_bytes(), path.name
    (names,) = (hospital.home / "config").rglob("*.names")
    assert TOKEN in names.read_text(), "but who holds the key finds the way back"
    assert names.stat().st_mode & 0o077 == 0


def test_no_name_of_a_slide_reaches_dask(
    hospital: Hospital, monkeypatch: pytest.MonkeyPatch
) -> None:
    from distributed import Client

    from wsiproc.batch.run import Batch, run_batch
    from wsiproc.config import Execution, RunConfig

    sent: list[str] = []
    submit = Client.submit

    def heard(self: Client, function: Any, *given: Any, **how: Any) -> Any:
        sent.append(f"{how['key']} {given!r}")
        return submit(self, function, *given, **how)

    monkeypatch.setattr(Client, "submit", heard)
    slide = (hospital.slides / "0.tiff").rename(hospital.slides / f"{TOKEN}.tiff")
    slide.with_name(f"{slide.name}.done").touch()
    settings = RunConfig(execution=Execution(workers=0))
    key = hospital.home / "site.key"
    report = run_batch(Batch((slide,), hospital.model, hospital.out, settings, key_file=key))
    assert report.night.done == 1
    assert {line.split("-")[0] for line in sent} >= {"identify", "plan", "tile", "finish"}
    assert TOKEN not in "".join(sent)


def test_starts_at_once_publish_each_slide_once_and_all_say_done(hospital: Hospital) -> None:
    starts = [hospital.start() for _ in range(3)]
    for code, said in map(ended, starts):
        assert code == 0
        assert by_state(said) == {"done": 3}
    published = Counter(facts["slide"] for facts in hospital.audit("published"))
    assert set(published.values()) == {1}
    assert len(published) == 3


def test_a_night_that_is_stopped_goes_on_where_it_was(hospital: Hospital) -> None:
    shutil.rmtree(hospital.slides)
    hospital.slides.mkdir()
    slide = hospital.slides / "large.tiff"
    draw_slide(slide, width=2600, height=2200, seed=3, mpp=0.5)
    slide.with_name("large.done").touch()
    undisturbed = hospital.start(hospital.slides, out=hospital.home / "calm")
    assert ended(undisturbed)[0] == 0

    for number, code_wanted in ((signal.SIGTERM, 143), (signal.SIGUSR1, 124)):
        process = hospital.start()
        begun = len(fragments(hospital))
        wait_until(lambda begun=begun: len(fragments(hospital)) > begun + 1)
        process.send_signal(number)
        code, said = ended(process)
        assert code == code_wanted
        assert said["status"] == "stopped"
        assert by_state(said) == {"waiting": 1}
        assert not hospital.results()
    code, said = hospital.night()
    assert code == 0
    (slide_id,) = said["slides"]
    assert read_manifest(hospital.out / slide_id).execution["tiles_reused"] >= 4
    calm = (hospital.home / "calm" / slide_id / "nuclei.parquet").read_bytes()
    assert (hospital.out / slide_id / "nuclei.parquet").read_bytes() == calm


def fragments(hospital: Hospital) -> list[Path]:
    return list((hospital.out / ".wsiproc").glob("*/*/*.frag"))


def wait_until(there: Any) -> None:
    until = time.monotonic() + 300
    while not there():
        assert time.monotonic() < until
        time.sleep(0.05)


def test_time_that_is_over_and_the_one_slide_that_is_asked_for(hospital: Hospital) -> None:
    code, said = hospital.night(hospital.slides, "--time-limit", "0s")
    assert code == 124
    assert by_state(said) == {"waiting": 3}
    rows = ["slide,mpp", "slides/1.tiff,0.5", "slides/not-there-yet.tiff,"]
    (hospital.home / "list.csv").write_text("\n".join(rows))
    code, said = hospital.night(hospital.home / "list.csv")
    assert code == 20
    assert by_state(said) == {"done": 1, "waiting": 1}
    (known,) = hospital.results()
    shutil.rmtree(hospital.out / known)
    code, said = hospital.night(hospital.slides, "--mpp", "0.5", "--only", known)
    assert code == 0
    assert list(hospital.results()) == [known]


def test_tiles_that_cannot_be_read_are_left_out_as_far_as_allowed(hospital: Hospital) -> None:
    # Large enough for the picture of the whole to be taken from a lower level.
    slide = hospital.slides / "1.tiff"
    draw_slide(slide, width=6600, height=600, seed=1, mpp=0.5)
    spoil(slide)
    code, said = hospital.night(slide)
    assert code == 65
    (trouble,) = (s["trouble"] for s in said["slides"].values())
    assert (trouble["error"], trouble["kind"]) == ("SlideReadError", "input")
    assert trouble["tile"] is not None

    code, said = hospital.night(slide, "--max-bad-tiles", "50%")
    assert code == 0
    (slide_id,) = said["slides"]
    manifest = read_manifest(hospital.out / slide_id)
    skipped = pq.read_table(hospital.out / slide_id / "skipped.parquet")
    assert manifest.audit["bad_tiles"] == len(skipped) > 0
    assert manifest.nuclei > 0
    assert "skipped.parquet" in manifest.warnings[-1]
    boxes = [box.as_py() for box in skipped["bbox"]]
    centroids = pq.read_table(hospital.out / slide_id / "centroids.parquet")
    x, y = (centroids[name].to_numpy() for name in ("x_um", "y_um"))
    for box in boxes:
        deep = (x > box["xmin"] + 10) & (x < box["xmax"] - 10)
        assert not np.any(deep & (y > box["ymin"] + 10) & (y < box["ymax"] - 10))


def test_only_registered_models_are_taken(hospital: Hospital, mask_model: Path) -> None:
    for model in (str(mask_model), "nobody"):
        code, said = ended(Hospital(hospital.home, model).start(hospital.slides))
        assert code == 66
        assert "wsiproc models add" in said["message"]
    assert not hospital.out.exists()


def spoil(slide: Path) -> None:
    """Make one tile of level 0 unreadable."""
    with tifffile.TiffFile(slide) as file:
        page = file.pages[0]
        offset, count = page.dataoffsets[0], page.databytecounts[0]
    with slide.open("r+b") as file:
        file.seek(offset)
        file.write(b"\0" * count)


def aperio(path: Path) -> None:
    """A slide as a scanner writes it: patient data in its description and on its label."""
    pixels, _ = draw_image(600, 500, 7, mpp=0.5)
    label = np.frombuffer((TOKEN * 3000).encode(), np.uint8)[: 90 * 100 * 3].reshape(90, 100, 3)
    said = f"|AppMag = 20|MPP = 0.5|Filename = {TOKEN}|User = {TOKEN}|Date = 01/01/26"
    with tifffile.TiffWriter(path) as file:
        file.write(
            pixels,
            tile=(256, 256),
            compression="jpeg",
            photometric="ycbcr",
            subsampling=(2, 2),
            description=f"Aperio Image Library v12\n600x500 (256x256) JPEG/RGB Q=90{said}",
            metadata=None,
        )
        file.write(
            label, photometric="rgb", description=f"Aperio\nlabel 100x90 {TOKEN}", metadata=None
        )
