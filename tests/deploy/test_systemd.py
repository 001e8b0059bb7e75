"""The units: systemd understands them, and they keep a night shut in."""

from __future__ import annotations

import configparser
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from wsiproc.errors import WsiprocError
from wsiproc.slide._drawn import DrawnSlide

needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="needs systemd-analyze"
)
INSTANCES = (
    "wsiproc-batch@he.service",
    "wsiproc-batch@he.timer",
    "wsiproc-alert@he.service",
    "wsiproc-scheduler.service",
    "wsiproc-worker.service",
)
NIGHTS = [name for name in INSTANCES if name.endswith(".service") and "alert" not in name]


@pytest.fixture(scope="module")
def units(deploy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All units in one folder, with an instance of each template."""
    folder = tmp_path_factory.mktemp("units")
    for path in [*deploy.glob("*/*.service"), *deploy.glob("*/*.timer")]:
        shutil.copy(path, folder)
    for name in INSTANCES:
        shutil.copy(folder / name.replace("@he", "@"), folder / name) if "@" in name else None
    return folder


def analyze(units: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["systemd-analyze", *words],
        env={"SYSTEMD_UNIT_PATH": f"{units}:", "PATH": "/usr/bin:/bin"},
        cwd=units,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@needs_systemd
@pytest.mark.parametrize("name", INSTANCES)
def test_systemd_finds_nothing_to_complain_about(units: Path, name: str) -> None:
    said = analyze(units, "verify", "--man=no", f"./{name}").stderr.splitlines()
    # Nothing is installed at /opt/wsiproc here, and the hospital's own script is not there.
    assert [line for line in said if "is not executable: No such file" not in line] == []


@needs_systemd
@pytest.mark.parametrize(("name", "most"), [(NIGHTS[0], 1.0), (NIGHTS[1], 3.0), (NIGHTS[2], 3.0)])
def test_a_night_is_exposed_as_little_as_it_can_be(units: Path, name: str, most: float) -> None:
    said = analyze(units, "security", "--offline=true", f"./{name}").stdout
    (exposure,) = re.findall(r"Overall exposure level for \S+: ([\d.]+)", said)
    assert float(exposure) <= most


@pytest.fixture(scope="module")
def service(units: Path) -> dict[str, list[str]]:
    """Settings of the night's service; each may stand several times."""
    found: dict[str, list[str]] = {}
    text = (units / "wsiproc-batch@.service").read_text().replace("\\\n", " ")
    for key, _, value in (line.partition("=") for line in text.splitlines() if line[:1].isalpha()):
        found.setdefault(key, []).append(value)
    return found


def test_every_exit_code_has_been_thought_of(service: dict[str, list[str]]) -> None:
    """Each is a success, final, or tried again; and it is said which."""
    fine = {int(code) for code in service["SuccessExitStatus"][0].split()}
    final = {int(code) for code in service["RestartPreventExitStatus"][0].split()}
    assert fine == {20, 124, 130, 143}
    assert fine.isdisjoint(final)

    def below(kind: type[WsiprocError]) -> set[int]:
        return {kind.exit_code}.union(*(below(sub) for sub in kind.__subclasses__()))

    # 10 is the batch's own: some slides are in quarantine. 75 is what is tried again.
    assert below(WsiprocError) | {10} == (fine - {124, 130, 143}) | final | {75}


def test_the_night_ends_itself_before_systemd_does(service: dict[str, list[str]]) -> None:
    (default,) = (
        re.search(r"WSIPROC_TIME_LIMIT=(\d+)h", line).group(1)
        for line in service["Environment"]
        if "WSIPROC_TIME_LIMIT" in line
    )
    assert int(default) < int(service["TimeoutStartSec"][0].removesuffix("h"))
    assert "--time-limit" in service["ExecStart"][0]


def test_memory_that_runs_out_ends_a_worker_and_not_the_night(
    service: dict[str, list[str]],
) -> None:
    assert service["OOMPolicy"] == ["continue"]
    assert service["LimitCORE"] == ["0"]


@needs_systemd
@pytest.mark.slow
@pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace")
def test_every_system_call_of_a_night_is_one_that_the_service_may_make(
    service: dict[str, list[str]],
    small: DrawnSlide,
    mask_model: Path,
    tmp_path: Path,
    quiet: dict[str, str],
) -> None:
    calls = tmp_path / "calls"
    words = ["run", small.path, "--model", mask_model, "--out", tmp_path / "out", "--workers", "1"]
    subprocess.run(
        ["strace", "-f", "-qq", "-c", "-o", calls, sys.executable, "-m", "wsiproc.cli.app", *words],
        env=quiet,
        check=True,
        capture_output=True,
        timeout=300,
    )
    table = [line.split() for line in calls.read_text().splitlines()]
    made = {row[-1] for row in table if len(row) >= 5 and row[0][0].isdigit()} - {"total"}
    assert {"openat", "mmap", "futex", "socket"} <= made
    # SQLite, in PROJ, gives its files to their owner where it runs as root.
    assert made - allowed(service["SystemCallFilter"]) <= {"fchown"}


def allowed(filters: list[str]) -> set[str]:
    """System calls that a unit's filters let through."""
    said = subprocess.run(
        ["systemd-analyze", "syscall-filter", "--no-pager"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    groups: dict[str, set[str]] = {}
    for line in re.sub(r"\x1b\[[\d;]*m", "", said).splitlines():
        if line.startswith("@"):
            group = groups.setdefault(line.strip(), set())
        elif line.startswith(" ") and not line.strip().startswith("#"):
            group.add(line.strip())

    def calls(name: str) -> set[str]:
        return set().union(*(calls(n) if n[0] == "@" else {n} for n in groups[name]))

    through: set[str] = set()
    for line in filters:
        named = set().union(*(calls(name) for name in line.removeprefix("~").split()))
        through = through - named if line.startswith("~") else through | named
    return through


@pytest.mark.parametrize(
    ("status", "who"),
    [(10, "laboratory"), (65, "laboratory"), (66, "operator"), (75, "operator"), (1, "operator")],
)
def test_the_alert_says_who_is_to_be_called(
    deploy: Path, tmp_path: Path, status: int, who: str
) -> None:
    logger = tmp_path / "logger"
    logger.write_text(f'#!/bin/sh\necho "$@" >>{tmp_path}/said\n')
    logger.chmod(0o755)
    script = deploy / "systemd" / "alert.example"
    words = ["sh", script, "he", str(status)]
    subprocess.run(words, env={"PATH": f"{tmp_path}:/usr/bin:/bin"}, check=True, timeout=20)
    assert f"for={who}" in (tmp_path / "said").read_text()


def test_the_timer_makes_up_for_a_night_that_was_missed(units: Path) -> None:
    timer = configparser.ConfigParser(strict=True, interpolation=None)
    timer.read(units / "wsiproc-batch@.timer")
    assert timer["Timer"]["Persistent"] == "true"
