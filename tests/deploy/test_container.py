"""The images: what they promise, and the script that every container starts with."""

from __future__ import annotations

import re
import signal
import subprocess
import time
from pathlib import Path

import pytest

yaml = pytest.importorskip("yaml")

FILES = ("Containerfile.cpu", "Containerfile.cuda")


@pytest.fixture(scope="module")
def services(deploy: Path) -> dict[str, dict[str, object]]:
    compose = yaml.safe_load((deploy / "container" / "compose.yaml").read_text())
    services: dict[str, dict[str, object]] = compose["services"]
    return services


@pytest.mark.parametrize("name", FILES)
def test_an_image_runs_as_a_number_that_is_not_root(deploy: Path, name: str) -> None:
    text = (deploy / "container" / name).read_text()
    assert re.findall(r"^USER (.*)$", text, re.MULTILINE) == ["10001:10001"]


@pytest.mark.parametrize("name", FILES)
def test_bases_are_plain_names_that_a_site_can_replace(deploy: Path, name: str) -> None:
    text = (deploy / "container" / name).read_text()
    assert set(re.findall(r"^FROM (\S+)", text, re.MULTILINE)) == {"${BASE}"}
    (base,) = re.findall(r"^ARG BASE=(.*)$", text, re.MULTILINE)
    assert "/" not in base


@pytest.mark.parametrize("name", FILES)
def test_an_image_brings_no_torch(deploy: Path, name: str) -> None:
    (extras,) = re.findall(
        r"^ARG EXTRAS=(.*)$", (deploy / "container" / name).read_text(), re.MULTILINE
    )
    assert extras in ("openvino", "gpu")


def test_every_service_is_shut_in(services: dict[str, dict[str, object]]) -> None:
    assert set(services) == {"batch", "batch-gpu", "wsiproc"}
    for service in services.values():
        assert service["read_only"] is True
        assert service["network_mode"] == "none"
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert service["user"] == "10001:10001"
        assert service["ulimits"] == {"core": 0}
        writable = {v["target"] for v in service["volumes"] if not v.get("read_only")}
        assert writable == {"/out", "/state"}


@pytest.fixture
def entered(deploy: Path, tmp_path: Path):
    """Starts the entrypoint over a program that does what a line of shell says."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "kernels").mkdir()
    (tmp_path / "kernels" / "a.nbi").write_text("compiled")
    entry = tmp_path / "bin" / "wsiproc-container"
    entry.write_bytes((deploy / "container" / "entry.sh").read_bytes())

    def start(line: str, *words: str, **settings: str) -> subprocess.Popen[str]:
        program = tmp_path / "bin" / "wsiproc"
        program.write_text(f"#!/bin/sh\n{line}\n")
        program.chmod(0o755)
        environment = {"PATH": "/usr/bin:/bin", "NUMBA_CACHE_DIR": str(tmp_path / "tmp" / "k")}
        return subprocess.Popen(
            ["sh", entry, *words],
            env={**environment, **settings},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return start


def test_the_entrypoint_passes_words_and_exit_code_on(entered) -> None:
    process = entered('printf "%s|" "$@"; exit 10', "batch", "a slide.svs", "--json")
    assert process.communicate()[0] == "batch|a slide.svs|--json|"
    assert process.returncode == 10


def test_the_entrypoint_lays_compiled_kernels_where_they_can_be_added_to(entered, tmp_path) -> None:
    entered("exit 0").wait()
    assert (tmp_path / "tmp" / "k" / "a.nbi").read_text() == "compiled"


@pytest.mark.parametrize(("code", "seen"), [(0, 0), (20, 0), (124, 0), (10, 10), (75, 75)])
def test_codes_that_count_as_success_are_the_ones_that_were_named(entered, code, seen) -> None:
    process = entered(f"exit {code}", "batch", WSIPROC_SUCCESS="20 124")
    process.communicate()
    assert process.returncode == seen


@pytest.mark.parametrize("success", ["", "20"])
def test_a_signal_reaches_the_run_and_its_end_is_waited_for(entered, success: str) -> None:
    line = "trap 'sleep .5; echo saved; exit 143' TERM; echo begun; while :; do sleep .1; done"
    process = entered(line, "batch", WSIPROC_SUCCESS=success)
    assert process.stdout.readline() == "begun\n"
    time.sleep(0.2)
    process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=20)[0] == "saved\n"
    assert process.returncode == 143
