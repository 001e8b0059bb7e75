"""A night on Slurm, tried on a real one: one node, on the loopback interface, started here."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from wsiproc.sample import draw_sample
from wsiproc.store.manifest import read_manifest

pytestmark = [
    pytest.mark.slurm,
    pytest.mark.slow,
    pytest.mark.skipif(
        os.geteuid() != 0 or not all(map(shutil.which, ("slurmctld", "slurmd", "munged"))),
        reason="needs root, and the packages slurm-wlm and munge",
    ),
]

Process = Callable[..., AbstractContextManager[subprocess.Popen[bytes]]]


@dataclass(frozen=True)
class Slurm:
    """A Slurm of one node."""

    folder: Path
    environment: dict[str, str]

    def ask(self, *words: str | Path) -> str:
        """What one of Slurm's commands says."""
        done = subprocess.run(
            list(map(str, words)),
            env=self.environment,
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def finished(self, job: str, *, seconds: float = 400) -> dict[str, tuple[str, str]]:
        """Wait for all elements of a job: ``{element: (state, exit code)}``."""
        end = time.monotonic() + seconds
        while True:
            lines = self.ask("scontrol", "--oneliner", "show", "job", job).splitlines()
            facts = [dict(p.partition("=")[::2] for p in line.split()) for line in lines]
            states = {
                f.get("ArrayTaskId", "0"): (f["JobState"], f["ExitCode"].partition(":")[0])
                for f in facts
            }
            if all(
                s not in ("PENDING", "RUNNING", "COMPLETING", "CONFIGURING", "REQUEUED")
                for s, _ in states.values()
            ):
                return states
            assert time.monotonic() < end, f"{states}\n{self.logs()}"
            time.sleep(0.5)

    def logs(self) -> str:
        """What jobs have said."""
        return "\n".join(path.read_text() for path in sorted(self.folder.glob("wsiproc-*.log")))


@pytest.fixture(scope="module")
def slurm(
    process: Process, quiet: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Slurm]:
    folder = tmp_path_factory.mktemp("slurm")
    host = socket.gethostname().partition(".")[0]
    control, node = _free_port(), _free_port()
    munge = folder / "munge.socket"
    key = folder / "munge.key"
    key.write_bytes(os.urandom(128))
    key.chmod(0o400)
    for name in ("state", "spool"):
        (folder / name).mkdir()
    configuration = folder / "slurm.conf"
    configuration.write_text(
        f"""
ClusterName=one
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={control}
SlurmdPort={node}
SlurmUser=root
AuthType=auth/munge
# A job that is put back waits until its credential has run out: two minutes, if not told.
AuthInfo=socket={munge},cred_expire=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=batch_sched_delay=0,sched_interval=2,bf_interval=2
ReturnToService=2
KillWait=10
MinJobAge=3600
NodeName={host} NodeAddr=127.0.0.1 CPUs=2 State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""
    )
    environment = {
        **quiet,
        "SLURM_CONF": str(configuration),
        "PATH": f"{Path(sys.executable).parent}:{quiet['PATH']}:/usr/sbin",
    }
    slurm = Slurm(folder, environment)
    with ExitStack() as running:

        def start(name: str, *words: str | Path) -> None:
            how = {"env": environment, "cwd": folder}
            running.enter_context(process([name, *words], folder / f"{name}.log", **how))

        start(
            "munged", "--foreground", "--force", f"--key-file={key}", f"--socket={munge}",
            f"--pid-file={folder}/munged.pid", f"--log-file={folder}/munge.log",
            f"--seed-file={folder}/munge.seed",
        )  # fmt: skip
        _wait(munge.exists)
        start("slurmctld", "-D")
        start("slurmd", "-D", "-N", host)
        _wait(lambda: "idle" in _said(slurm, "sinfo", "--noheader", "--format=%t"))
        yield slurm
        slurm.ask("scancel", "--user=root", "--full")
        _wait(lambda: not slurm.ask("squeue", "--noheader"))


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


def _said(slurm: Slurm, *words: str) -> str:
    try:
        return slurm.ask(*words)
    except AssertionError:
        return ""


def _wait(ready: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < end, "it did not come up"
        time.sleep(0.2)


@pytest.fixture(scope="module")
def registered(mask_model: Path, wsiproc: Callable[..., subprocess.CompletedProcess[str]]) -> str:
    """Name of a model that a batch takes: one that was added."""
    added = wsiproc("models", "add", mask_model)
    assert added.returncode == 0, added.stderr
    return "haematoxylin"


@pytest.fixture(scope="module")
def slides(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three drawn slides; one has a space in its name, and a quote."""
    folder = tmp_path_factory.mktemp("slides")
    paths = [folder / name for name in ("a.tiff", 'b "c.tiff', "d.tiff")]
    for seed, path in enumerate(paths):
        draw_sample(path, width=700, height=600, seed=seed, mpp=0.5)
    return paths


@dataclass(frozen=True)
class Night:
    """What an array is sent with."""

    out: Path
    words: tuple[str | Path, ...]
    settings: dict[str, str]

    def send(self, slurm: Slurm, *options: str) -> dict[str, tuple[str, str]]:
        """Send it, and wait for its end."""
        return slurm.finished(self.begin(slurm, *options))

    def begin(self, slurm: Slurm, *options: str) -> str:
        """Send it; the job's number."""
        passed = ",".join(["ALL", *(f"{key}={value}" for key, value in self.settings.items())])
        small = ("--cpus-per-task=1", "--mem=0", "--parsable", f"--export={passed}")
        return slurm.ask("sbatch", *small, *options, *self.words)

    def published(self) -> dict[str, int]:
        """When each slide's manifest was written."""
        return {
            path.parent.name: path.stat().st_mtime_ns for path in self.out.glob("*/manifest.json")
        }


@pytest.fixture
def night(deploy: Path, slides: list[Path], registered: str, tmp_path: Path) -> Night:
    listed = tmp_path / "tonight.txt"
    # With the comment and the empty line that people leave in a list.
    listed.write_text("# tonight\n\n" + "".join(f"{slide}\n" for slide in slides))
    settings = {
        "WSIPROC": str(Path(sys.executable).with_name("wsiproc")),
        # Slides that were drawn a moment ago count as whole.
        "WSIPROC_OPTIONS": "--stable-for 0s",
        "WSIPROC_MODEL": registered,
        "WSIPROC_SITE_KEY": str(tmp_path / "site.key"),
        "WSIPROC_WORKERS": "0",
        # The kernels that the suite has compiled.
        "NUMBA_CACHE_DIR": "",
        "NUMBA_CPU_NAME": "",
    }
    out = tmp_path / "out"
    return Night(out, (deploy / "slurm" / "array.sbatch", listed, out), settings)


def test_an_array_does_each_slide_once_and_the_next_night_nothing(
    slurm: Slurm, night: Night, slides: list[Path]
) -> None:
    whole = {"1": ("COMPLETED", "0"), "2": ("COMPLETED", "0")}
    assert night.send(slurm, "--array=1-2") == whole, slurm.logs()
    first = night.published()
    assert len(first) == len(slides)
    assert night.send(slurm, "--array=1-2") == whole, slurm.logs()
    assert night.published() == first


def test_an_element_that_is_warned_puts_itself_back_and_goes_on(
    slurm: Slurm, night: Night, tmp_path: Path
) -> None:
    large = tmp_path / "large.tiff"
    draw_sample(large, width=4000, height=3000, seed=4, mpp=0.5)
    Path(night.words[1]).write_text(f"{large}\n")
    small_tiles = tmp_path / "small.toml"
    small_tiles.write_text("[execution]\ntile_px = 256\nwindow_px = 256\n")
    night.settings["WSIPROC_OPTIONS"] = f"--stable-for 0s --config {small_tiles}"
    job = night.begin(slurm, "--array=1")
    _wait(lambda: len(list(night.out.rglob("*.frag"))) > 3, seconds=200)
    # What Slurm does by itself two minutes before the end.
    slurm.ask("scancel", "--signal=USR1", "--batch", f"{job}_1")
    assert slurm.finished(job) == {"1": ("COMPLETED", "0")}, slurm.logs()
    assert "back into the queue" in slurm.logs()
    (slide,) = night.published()
    assert read_manifest(night.out / slide).execution["tiles_reused"] > 3


def test_a_dask_cluster_of_slurm_jobs_does_a_night_over_tls(
    slurm: Slurm,
    night: Night,
    deploy: Path,
    slides: list[Path],
    certify: Callable[[Path], Path],
    tmp_path: Path,
) -> None:
    pytest.importorskip("dask_jobqueue")
    words = ["--jobs", "2", "--cores", "1", "--memory", "2GB", "--interface", "lo"]
    words += ["--time", "00:20:00", "--logs", tmp_path / "logs", "--sbatch=--mem=0", "--"]
    words += [*slides, "--model", night.settings["WSIPROC_MODEL"], "--out", night.out]
    words += ["--site-key", night.settings["WSIPROC_SITE_KEY"], "--stable-for", "0s"]
    done = subprocess.run(
        [sys.executable, deploy / "slurm" / "cluster.py", *map(str, words)],
        env={**slurm.environment, "DASK_CONFIG": str(certify(tmp_path / "certificates"))},
        capture_output=True,
        text=True,
        check=False,
        timeout=400,
    )
    assert done.returncode == 0, done.stderr
    assert len(night.published()) == len(slides)
    hosts = {read_manifest(night.out / slide).execution["workers"] for slide in night.published()}
    assert hosts <= {1, 2}
    _wait(lambda: not slurm.ask("squeue", "--noheader"))
