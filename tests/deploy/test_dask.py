"""Dask over several hosts: processes of their own, which trust nobody without a certificate."""

from __future__ import annotations

import json
import re
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from wsiproc.slide._drawn import DrawnSlide

Certify = Callable[[Path], Path]
Wsiproc = Callable[..., subprocess.CompletedProcess[str]]


pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Hosts:
    """A scheduler and two workers, as if each were on a host of its own."""

    address: str
    port: int
    settings: Path
    certificates: Path


@pytest.fixture(scope="module")
def hosts(
    certify: Certify,
    process: Callable[..., AbstractContextManager[subprocess.Popen[bytes]]],
    quiet: dict[str, str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Hosts]:
    folder = tmp_path_factory.mktemp("dask")
    settings = certify(folder / "certificates")
    environment = {**quiet, "DASK_CONFIG": str(settings)}
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"tls://127.0.0.1:{port}"
    # The words of wsiproc-scheduler.service and wsiproc-worker.service.
    common = ["--host", "127.0.0.1", "--no-dashboard", "--dashboard-address", "127.0.0.1:0"]
    worker = [*common, "--nworkers", "1", "--nthreads", "1", "--memory-limit", "0"]
    dask = [sys.executable, "-m", "dask"]
    with ExitStack() as running:

        def start(name: str, *words: str) -> subprocess.Popen[bytes]:
            how = {"env": environment, "cwd": folder}
            return running.enter_context(process([*dask, *words], folder / f"{name}.log", **how))

        scheduler = start("scheduler", "scheduler", *common, "--port", str(port))
        while not _listens(port):
            assert scheduler.poll() is None, (folder / "scheduler.log").read_text()
            time.sleep(0.2)
        for name in ("first", "second"):
            start(name, "worker", address, *worker, "--local-directory", str(folder / name))
        yield Hosts(address, port, settings, folder / "certificates")


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_a_slide_is_run_by_workers_elsewhere_over_tls(
    hosts: Hosts, small: DrawnSlide, mask_model: Path, tmp_path: Path, wsiproc: Wsiproc
) -> None:
    words = ["run", small.path, "--model", mask_model, "--out", tmp_path, "--json"]
    words += ["--window-px", "256", "--tile-px", "512", "--scheduler", hosts.address]
    done = wsiproc(*words, DASK_CONFIG=hosts.settings)
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert summary["workers"] == 2
    assert summary["nuclei"] > 0.85 * len(small.truth)


def test_a_caller_without_a_certificate_is_hung_up_on(hosts: Hosts) -> None:
    trusting = ssl.create_default_context(cafile=str(hosts.certificates / "ca.pem"))
    trusting.check_hostname = False
    with (
        socket.create_connection(("127.0.0.1", hosts.port), timeout=20) as line,
        pytest.raises(ssl.SSLError, match="certificate required"),
        trusting.wrap_socket(line) as secured,
    ):
        secured.recv(1)


def test_a_caller_in_the_clear_is_hung_up_on(hosts: Hosts) -> None:
    with socket.create_connection(("127.0.0.1", hosts.port), timeout=20) as line:
        line.sendall(b"\0" * 64)
        try:
            heard = line.recv(1024)
        except ConnectionResetError:
            heard = b""
    # At most the alert of TLS that a handshake was expected; nothing of Dask's.
    assert len(heard) <= 7


def test_certificates_of_another_cluster_do_not_open_this_one(
    hosts: Hosts,
    certify: Certify,
    small: DrawnSlide,
    mask_model: Path,
    tmp_path: Path,
    wsiproc: Wsiproc,
) -> None:
    stranger = certify(tmp_path / "stranger")
    words = ["run", small.path, "--model", mask_model, "--out", tmp_path / "out"]
    refused = wsiproc(*words, "--scheduler", hosts.address, DASK_CONFIG=stranger)
    assert refused.returncode == 75, refused.stderr
    assert "no Dask scheduler answers" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_certificates_are_for_the_owner_alone_and_nobody_can_sign_more(
    certify: Certify, tmp_path: Path
) -> None:
    certify(tmp_path / "made")
    there = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "made").iterdir()}
    roles = ("scheduler", "worker", "client")
    wanted = {"ca.pem"} | {f"{role}{end}.pem" for role in roles for end in ("", "-key")}
    assert there == dict.fromkeys(wanted, 0o400)
    assert (tmp_path / "made").stat().st_mode & 0o777 == 0o700


def test_certificates_that_are_there_are_not_written_over(deploy: Path, tmp_path: Path) -> None:
    script = deploy / "dask" / "certificates.sh"
    refused = subprocess.run(["sh", script, tmp_path], capture_output=True, check=False)
    assert refused.returncode == 2
    assert list(tmp_path.iterdir()) == []


def test_the_services_start_dask_with_the_words_that_are_tried_here(deploy: Path) -> None:
    scheduler = (deploy / "dask" / "wsiproc-scheduler.service").read_text()
    worker = (deploy / "dask" / "wsiproc-worker.service").read_text()
    for service in (scheduler, worker):
        assert "--no-dashboard" in service
        assert "--dashboard-address 127.0.0.1:0" in service
        assert "DASK_CONFIG=/etc/wsiproc/dask.yaml" in service
    assert re.search(r"dask worker .*\n.*--nthreads 1 --memory-limit 0", worker)
