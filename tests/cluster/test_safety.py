"""A local cluster is nobody else's business, and its workers can't take the machine with them."""

from __future__ import annotations

import resource
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import openslide
import psutil
import pytest

from wsiproc.cluster import Done, run_slides
from wsiproc.cluster._crews import crew
from wsiproc.cluster._limits import ENOUGH, GIB, bound_bytes
from wsiproc.config import Execution
from wsiproc.plan import Job
from wsiproc.progress import Event, TileDone
from wsiproc.slide._drawn import DrawnSlide

GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


@dataclass
class Seen:
    """What there was to see while a cluster of this machine was at work."""

    opened_here: list[str] = field(default_factory=list)
    listening: list[tuple[str, int]] = field(default_factory=list)
    plain_answers: list[bytes] = field(default_factory=list)
    strangers_heard: list[tuple[str, int]] = field(default_factory=list)
    core: list[int] = field(default_factory=list)
    data: list[int] = field(default_factory=list)


def family() -> list[psutil.Process]:
    me = psutil.Process()
    return [me, *me.children(recursive=True)]


def workers() -> list[psutil.Process]:
    return [p for p in family()[1:] if "spawn_main" in " ".join(p.cmdline())]


def listening() -> set[tuple[str, int]]:
    """Address and port of everything that this process and its children wait for calls at."""
    return {
        (line.laddr.ip, line.laddr.port)
        for process in family()
        for line in process.net_connections("inet")
        if line.status == psutil.CONN_LISTEN
    }


def plain_answer(address: tuple[str, int]) -> bytes:
    """What somebody who knows no TLS is told."""
    with socket.create_connection(address, timeout=10) as line:
        line.sendall(GET)
        try:
            return line.recv(4096)
        except OSError:
            return b""


def hears_strangers(address: tuple[str, int]) -> bool:
    """Whether somebody without a certificate of this cluster is answered over TLS."""
    anyone = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    anyone.check_hostname = False
    anyone.verify_mode = ssl.CERT_NONE
    try:
        with (
            socket.create_connection(address, timeout=10) as line,
            anyone.wrap_socket(line) as secret,
        ):
            secret.sendall(GET)
            return bool(secret.recv(4096))
    except OSError:
        return False


@pytest.fixture(scope="module")
def seen(
    job: Callable[..., Job],
    small: DrawnSlide,
    mask_model: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Seen:
    seen = Seen()
    watching = True

    def note(event: str, arguments: tuple[object, ...]) -> None:
        if watching and event == "open" and str(small.path) == str(arguments[0]):
            seen.opened_here.append(event)

    def refuse(*_: object) -> None:
        seen.opened_here.append("openslide")
        raise AssertionError

    def look(event: Event) -> None:
        if not isinstance(event, TileDone) or seen.listening:
            return
        seen.listening += sorted(listening() - before)
        for address in seen.listening:
            seen.plain_answers.append(plain_answer(address))
            if hears_strangers(address):
                seen.strangers_heard.append(address)
        for process in workers():
            seen.core.append(process.rlimit(psutil.RLIMIT_CORE)[0])
            seen.data.append(process.rlimit(psutil.RLIMIT_DATA)[0])

    # What other tests of this process serve is none of the run's.
    before = listening()
    sys.addaudithook(note)
    here = job(small.path, mask_model, tmp_path_factory.mktemp("out"), workers=1, memory_gb=8)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(openslide, "OpenSlide", refuse)
        (outcome,) = run_slides([here], here.execution, look)
    watching = False
    assert isinstance(outcome, Done)
    return seen


@pytest.mark.slow
def test_the_driver_never_opens_a_slide(seen: Seen) -> None:
    assert not seen.opened_here


@pytest.mark.slow
def test_every_port_is_on_the_loopback_interface(seen: Seen) -> None:
    assert len(seen.listening) >= 3, "scheduler, nanny and worker listen"
    assert {ip for ip, _ in seen.listening} == {"127.0.0.1"}


@pytest.mark.slow
def test_no_port_shows_a_page_and_none_hears_who_has_no_certificate(seen: Seen) -> None:
    spoken = [answer for answer in seen.plain_answers if answer.startswith(b"HTTP/")]
    assert all(answer.split(b" ")[1] == b"404" for answer in spoken)
    assert len(spoken) < len(seen.plain_answers), "these are ports of Dask's web server alone"
    assert not seen.strangers_heard


@pytest.mark.slow
def test_a_worker_has_a_bound_on_memory_and_leaves_no_core_and_the_caller_is_left_alone(
    seen: Seen,
) -> None:
    assert seen.core == [0]
    assert seen.data == [8 * GIB]
    assert resource.getrlimit(resource.RLIMIT_DATA)[0] != 8 * GIB


def test_a_run_in_this_process_listens_on_the_loopback_interface_alone() -> None:
    with crew(Execution(workers=0)):
        lines = psutil.Process().net_connections("inet")
        listening = [line.laddr.ip for line in lines if line.status == psutil.CONN_LISTEN]
    assert set(listening) == {"127.0.0.1"}


@pytest.mark.slow
def test_a_worker_that_died_while_it_started_is_replaced() -> None:
    with crew(Execution(workers=1)) as workers:
        cluster = workers.client.cluster
        (nanny,) = cluster.workers.values()
        cluster.sync(nanny.close)  # what it does when its process dies at birth
        deadline = time.monotonic() + 100
        while cluster.workers.get(nanny.name) is nanny or not workers.client.nthreads():
            assert time.monotonic() < deadline, "nobody came in its place"
            workers.mend()
            time.sleep(0.1)


def test_a_bound_leaves_the_machine_its_share() -> None:
    assert bound_bytes(8 * GIB, 4) < 8 * GIB
    assert bound_bytes(64 * GIB, 64) == ENOUGH
    assert bound_bytes(512 * GIB, 4) > 100 * GIB


def test_whoever_asks_for_more_than_the_bound_gets_an_error_and_the_process_lives() -> None:
    asks = """
import numpy as np
from wsiproc.cluster._crews import crew
from wsiproc.cluster._limits import limit_process
limit_process(1, 2.0)
limit_process(1, 4.0)
try:
    np.ones(3 << 30, np.uint8)
except MemoryError:
    print("refused", len(np.ones(1 << 20, np.uint8)))
"""
    ended = subprocess.run([sys.executable, "-c", asks], capture_output=True, text=True, check=True)
    assert ended.stdout.split() == ["refused", str(1 << 20)]
