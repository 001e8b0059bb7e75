"""Batches among faults: poison, killed workers, files that grow, clocks that jump, many starts."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
from forked import Child, forked
from scene import SETTINGS, Scene, tables

from wsiproc.batch.records import read_nights, read_records
from wsiproc.batch.retry import Policy
from wsiproc.batch.run import Batch, run_batch
from wsiproc.errors import BusyError
from wsiproc.model.adding import add_model
from wsiproc.slide._drawn import draw_slide
from wsiproc.store.manifest import MANIFEST, read_manifest, verify

MODEL = "one-layer"
STARTS = (2, 5, 20)
JUMPS_S = (-3600.0, 86_400.0, -30 * 86_400.0, 400_000_000.0)
"""An hour and a month back, a day on, and beyond 2038."""
CLOCKWORK = Path(__file__).with_name("clockwork.py")
POISON = "poison"
MOST_MIB_PER_100 = 4.0
"""That a driver may grow while it does 100 slides; it knows their states, and little else."""
NOISE_MIB = 4.0
"""What its memory goes up and down by anyway."""

POISONED = f"""
import os, signal, sys
def _hook(event, arguments):
    # A decoder that dies of this slide: when the part that decodes opens it, and only then.
    if event == "open" and {POISON!r} in str(arguments[0]):
        frame = sys._getframe(1)
        while frame is not None:
            if frame.f_code.co_filename.endswith("_tiff.py"):
                os.kill(os.getpid(), signal.SIGSEGV)
            frame = frame.f_back
sys.addaudithook(_hook)
"""
"""What every process of a batch runs before anything else, by way of ``sitecustomize``."""


def register(scene: Scene) -> None:
    """Let batches find the scene's model."""
    place = scene.folder / "models"
    os.environ["WSIPROC_MODELS"] = str(place)
    if not (place / MODEL).exists():
        ended = forked(lambda: bool(add_model(scene.model)))
        assert not ended.error, ended.told


def slides(scene: Scene, folder: Path, many: int) -> list[Path]:
    """Small slides that differ in their bytes and not in their pixels."""
    seed = scene.folder / "tiny.tiff"
    if not seed.exists():
        draw_slide(seed, width=200, height=160, seed=4, mpp=0.5)
    folder.mkdir(parents=True, exist_ok=True)
    made = []
    for number in range(many):
        made.append(folder / f"DOE^JANE {number:04}.tiff")
        made[-1].write_bytes(seed.read_bytes() + number.to_bytes(8, "little"))
    return made


def batch(scene: Scene, folder: Path, out: Path, **policy: float) -> dict[str, Any]:
    """A batch in this process: its exit code and counts."""
    asked = Batch(
        given=(folder,),
        model=MODEL,
        out=out,
        settings=SETTINGS,
        policy=Policy(**{"stable_for_s": 0.0, **policy}),
        key_file=scene.folder / "site.key",
    )
    night = run_batch(asked).night
    return {"code": night.exit_code, "done": night.done, "already": night.already_done}


class Command:
    """``wsiproc batch`` with worker processes, as a scheduler starts it."""

    def __init__(self, scene: Scene, folder: Path, out: Path, *, sabotage: str = "") -> None:
        self.out = out
        config = scene.folder / "batch.toml"
        config.write_text("[execution]\ntile_px = 128\nwindow_px = 128\n")
        before = scene.folder / "sitecustomize"
        before.mkdir(exist_ok=True)
        (before / "sitecustomize.py").write_text(sabotage)
        paths = [str(before), *filter(None, [os.environ.get("PYTHONPATH")])]
        words = ["batch", folder, "--model", MODEL, "--out", out, "--workers", "2", "--json"]
        words += ["--stable-for", "0s", "--site-key", scene.folder / "site.key"]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "wsiproc.cli.app", *map(str, words), "--config", str(config)],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def workers(self) -> list[psutil.Process]:
        """Dask's worker processes, as far as they have come."""
        try:
            family = psutil.Process(self.process.pid).children(recursive=True)
            return [p for p in family if "spawn_main" in " ".join(p.cmdline())]
        except psutil.NoSuchProcess:
            return []

    def resident(self) -> int:
        """Bytes of memory that the driver holds."""
        return int(psutil.Process(self.process.pid).memory_info().rss)

    def published(self) -> int:
        return len(list(self.out.glob(f"*/{MANIFEST}")))

    def wait(self, patience_s: float) -> dict[str, Any]:
        """What it printed."""
        said, complained = self.process.communicate(timeout=patience_s)
        assert said, complained[-2000:]
        told: dict[str, Any] = json.loads(said)
        return told


def all_whole(out: Path) -> int:
    """Check every published slide; how many there are."""
    folders = [path.parent for path in out.glob(f"*/{MANIFEST}")]
    for folder in folders:
        assert not verify(folder), "what is published is damaged"
    return len(folders)


def poisoned(scene: Scene, number: int, many: int = 50) -> dict[str, Any]:
    """One slide takes down every process that decodes it; all others are done."""
    folder, out = scene.new(f"bad-{number}/in"), scene.new(f"bad-{number}/out")
    slides(scene, folder, many)
    poison = folder / f"{POISON}.tiff"
    shutil.copy(scene.folder / "tiny.tiff", poison)
    told = Command(scene, folder, out, sabotage=POISONED).wait(60 + 20.0 * many)
    states = [slide["state"] for slide in told["slides"].values()]
    assert states.count("done") == all_whole(out) == many, told
    assert states.count("quarantined") == 1
    assert told["exit_code"] == 10
    (record,) = [r for r in read_records(out) if r.state == "quarantined"]
    assert record.trouble is not None
    assert record.trouble.kind == "input"
    assert POISON not in record.model_dump_json()
    return {"slides_done": many, "quarantined": 1}


def workers_die(scene: Scene, number: int, many: int = 24, every_s: float = 4.0) -> dict[str, Any]:
    """A worker is killed every few seconds; all slides are done all the same."""
    rng = random.Random(number)
    folder, out = scene.new(f"dying-{number}/in"), scene.new(f"dying-{number}/out")
    slides(scene, folder, many)
    command = Command(scene, folder, out)
    deaths = 0
    over = threading.Event()

    def kill() -> None:
        nonlocal deaths
        while not command.published() and not over.wait(0.1):
            continue  # the cluster is not there yet
        while not over.wait(rng.uniform(0.5, 1.5) * every_s):
            try:
                # On a busy machine those that are killed while they start would never begin.
                now = time.time()
                old = [p for p in command.workers() if now - p.create_time() > 2 * every_s]
                if old:
                    rng.choice(old).kill()
                    deaths += 1
            except psutil.NoSuchProcess:
                continue

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        told = command.wait(120 + 30.0 * many)
    finally:
        over.set()
        killer.join()
    assert told["exit_code"] == 0, told
    assert all_whole(out) == many
    kinds = {
        json.dumps({n: f.rows for n, f in read_manifest(p.parent).files.items()})
        for p in out.glob(f"*/{MANIFEST}")
    }
    assert len(kinds) == 1, "slides of the same pixels have different results"
    return {"slides_done": many, "deaths": deaths}


def grows(scene: Scene, number: int) -> dict[str, Any]:
    """A slide is copied piece by piece under the eyes of batch after batch: done once, whole."""
    folder, out = scene.new(f"grows-{number}/in"), scene.new(f"grows-{number}/out")
    whole = scene.slide.read_bytes()
    pieces = 12
    folder.mkdir(parents=True)
    into = folder / "slide.tiff"

    def copy() -> None:
        with into.open("wb", buffering=0) as file:
            for piece in range(pieces):
                file.write(whole[piece * len(whole) // pieces : (piece + 1) * len(whole) // pieces])
                time.sleep(0.4)

    copying = threading.Thread(target=copy)
    copying.start()
    codes: list[int] = []
    while not codes or codes[-1] != 0:
        assert len(codes) < 200, codes
        ended = forked(lambda: batch(scene, folder, out, stable_for_s=2.0))
        assert not ended.error, ended.told
        codes.append(ended.told["code"])
        time.sleep(0.2)
    copying.join()
    assert set(codes[:-1]) <= {20}, codes
    (folder_of,) = [path.parent for path in out.glob(f"*/{MANIFEST}")]
    assert same_nuclei(folder_of, scene.undisturbed)
    assert all_whole(out) == 1
    assert sum(night.done for night in read_nights(out)) == 1, "it was processed more than once"
    again = forked(lambda: batch(scene, folder, out)).told
    assert (again["done"], again["already"]) == (0, 1)
    return {"looks": len(codes)}


def same_nuclei(one: Path, other: Path) -> bool:
    """Whether results of one slide under two names have the same tables but for that name."""
    names = tables(one).keys()
    return names == tables(other).keys() and all(
        _nameless(one / n).equals(_nameless(other / n)) for n in names
    )


def _nameless(path: Path) -> pa.Table:
    table = pq.read_table(path)
    return table.drop_columns([name for name in table.column_names if name == "slide_id"])


def batches_at_once(scene: Scene, number: int) -> dict[str, Any]:
    """2, 5 or 20 batches of three slides at once: each slide is published by one of them."""
    folder, out = scene.new(f"batches-{number}/in"), scene.new(f"batches-{number}/out")
    slides(scene, folder, 3)
    many = STARTS[number % len(STARTS)]
    children = [Child(lambda: batch(scene, folder, out, pause_s=0.2)) for _ in range(many)]
    ends = [child.wait(600) for child in children]
    assert not [end.told for end in ends if end.error]
    assert sum(end.told["done"] for end in ends) == all_whole(out) == 3
    assert {end.told["code"] for end in ends} <= {0, 75}
    return {"starts": many}


def clock(scene: Scene, number: int) -> dict[str, Any]:
    """The clock is set while a run is under way: it ends well, or at once says to run again."""
    rng = random.Random(number)
    out = scene.new(f"clock-{number}")
    jump = JUMPS_S[number % len(JUMPS_S)]
    at = rng.randrange(20, 70)
    dies_at = at + 20 if number % 3 == 2 else 0
    words = [CLOCKWORK, scene.slide, scene.model, out, jump, at, dies_at]
    ended = subprocess.run(
        [sys.executable, *map(str, words)], capture_output=True, text=True, timeout=120, check=False
    )
    assert ended.returncode in (0, BusyError.exit_code, -signal.SIGKILL), ended.stderr[-2000:]
    told = json.loads(ended.stdout or "{}")
    assert told.get("total", 0.0) >= 0, "a run cannot take less than no time"
    assert "clock was set back" in told.get("error", "clock was set back")
    done = forked(lambda: scene.run(out))
    assert not done.error, done.told
    assert scene.whole(out)
    return {"jump_s": jump, "at": at, "exit_code": ended.returncode}


def thousand(scene: Scene, number: int, many: int = 1000) -> dict[str, Any]:
    """Many small slides in one batch: the driver's memory does not grow with their number."""
    folder, out = scene.new(f"many-{number}/in"), scene.new(f"many-{number}/out")
    slides(scene, folder, many)
    command = Command(scene, folder, out)
    seen: list[tuple[int, int]] = []
    while command.process.poll() is None:
        try:
            seen.append((command.published(), command.resident()))
        except psutil.NoSuchProcess:
            break
        time.sleep(0.5)
    told = command.wait(60)
    assert told["exit_code"] == 0, told
    assert all_whole(out) == many
    # Before, it loads what it needs; after, it draws the page of the night.
    at_work = [held / 2**20 for done, held in seen if many // 5 <= done < many]
    grown, per_100 = max(at_work) - at_work[0], 0.8 * many / 100
    assert grown < NOISE_MIB + MOST_MIB_PER_100 * per_100, f"the driver grew by {grown:.1f} MiB"
    return {
        "slides_done": many,
        "driver_mib_first": round(at_work[0], 1),
        "driver_mib_most": round(max(at_work), 1),
        "mib_per_100_slides": round(grown / per_100, 2),
    }
