"""The bundle for machines without a network: installed without one, and run as an image would be.

The box of `box.sh` gives an installation what compose.yaml gives a container, and no more.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tarfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from wsiproc.sample import draw_sample

pytestmark = [
    pytest.mark.bundle,
    pytest.mark.slow,
    pytest.mark.skipif(
        os.geteuid() != 0 or "WSIPROC_BUNDLE" not in os.environ,
        reason="needs root, and a bundle: `make test-bundle`",
    ),
]

NOBODY = 10001


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle, unpacked."""
    folder = tmp_path_factory.mktemp("bundle")
    with tarfile.open(os.environ["WSIPROC_BUNDLE"]) as tar:
        tar.extractall(folder, filter="data")
    (unpacked,) = folder.iterdir()
    return unpacked


def install(
    bundle: Path, opt: Path, *, python: str | None = None
) -> subprocess.CompletedProcess[str]:
    """Run install.sh for /opt/wsiproc with `opt` in the place of /opt, and no network at all."""
    steps = 'mount --bind "$0" /opt && exec sh "$1" /opt/wsiproc'
    chosen = python or os.environ.get("WSIPROC_BUNDLE_PYTHON", "python3")
    return subprocess.run(
        ["unshare", "--net", "--mount", "sh", "-c", steps, opt, bundle / "install.sh"],
        env={**os.environ, "PYTHON": chosen, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=840,
    )


@pytest.fixture(scope="module")
def installed(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What stands at /opt/wsiproc once it is installed."""
    opt = tmp_path_factory.mktemp("opt")
    done = install(bundle, opt)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "ready: /opt/wsiproc/bin/wsiproc"
    entry = opt / "wsiproc" / "bin" / "wsiproc-container"
    entry.write_bytes((bundle / "deploy" / "container" / "entry.sh").read_bytes())
    entry.chmod(0o755)
    return opt / "wsiproc"


@dataclass(frozen=True)
class Box:
    """A container, but for its runtime."""

    installed: Path
    given: Path
    script: Path
    settings: tuple[str, ...]

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a command in it."""
        return subprocess.run(
            ["sh", self.script, self.installed, self.given, *self.settings, *words],
            env={**os.environ, "BOX": str(self.given / "box")},
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )

    def wsiproc(self, *words: str) -> subprocess.CompletedProcess[str]:
        """The image's entrypoint."""
        return self.run("/opt/wsiproc/bin/wsiproc-container", *words)


@pytest.fixture(scope="module")
def box(installed: Path, deploy: Path, tmp_path_factory: pytest.TempPathFactory) -> Box:
    given = tmp_path_factory.mktemp("given")
    for name in ("slides", "out", "state", "config", "box"):
        (given / name).mkdir(mode=0o755)
    for name in ("out", "state"):
        os.chown(given / name, NOBODY, NOBODY)
    draw_sample(given / "slides" / "a.tiff", width=700, height=600, mpp=0.5)
    shutil.copy(deploy / "config" / "batch.toml", given / "config")
    return Box(installed, given, Path(__file__).with_name("box.sh"), image_settings(deploy))


def image_settings(deploy: Path) -> tuple[str, ...]:
    """The environment that Containerfile.cpu gives an image."""
    text = (deploy / "container" / "Containerfile.cpu").read_text().replace("\\\n", " ")
    lines = re.findall(r"^ENV (.*)$", text, re.MULTILINE)
    return tuple(word for line in lines for word in shlex.split(line))


def test_every_file_is_pinned_by_its_hash(bundle: Path) -> None:
    lines = (bundle / "requirements.txt").read_text().splitlines()
    assert len(lines) == len(list((bundle / "wheels").iterdir()))
    assert all(re.fullmatch(r"[\w.]+==\S+ --hash=sha256:[0-9a-f]{64}", line) for line in lines)
    listed = {line.split("  ")[1] for line in (bundle / "SHA256SUMS").read_text().splitlines()}
    there = {str(p.relative_to(bundle)) for p in bundle.rglob("*") if p.is_file()}
    assert listed == there - {"SHA256SUMS"}


def test_it_brings_no_torch_and_names_no_registry(bundle: Path, installed: Path) -> None:
    assert not list((bundle / "wheels").glob("torch*"))
    assert not list(installed.glob("lib/*/site-packages/torch"))
    assert "://" not in (bundle / "requirements.txt").read_text()


def test_a_batch_runs_as_nobody_on_a_read_only_root_without_a_network(box: Box) -> None:
    words = ["batch", "/slides", "--model", "unet", "--out", "/out", "--stable-for", "0s"]
    words += ["--config", "/config/batch.toml", "--workers", "1", "--json"]
    done = box.wsiproc(*words)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["night"]["done"] == 1
    (manifest,) = (box.given / "out").glob("*/manifest.json")
    assert manifest.stat().st_uid == NOBODY
    key = box.given / "state" / "config" / "wsiproc" / "site.key"
    assert key.stat().st_mode & 0o777 == 0o600
    again = box.wsiproc(*words)
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout)["night"]["already_done"] == 1


def test_the_box_is_as_tight_as_the_images_are_told_to_be(box: Box) -> None:
    """Else the test above would say nothing."""
    for place in ("/", "/opt/wsiproc", "/slides", "/config", "/usr", "/etc"):
        refused = box.run("/bin/sh", "-c", f": >{place}/x")
        assert refused.returncode != 0, place
        assert "Read-only file system" in refused.stderr
    facts = box.run("/bin/sh", "-c", "id -u; id -g; cat /proc/self/status")
    lines = facts.stdout.splitlines()
    assert lines[:2] == ["10001", "10001"]
    assert "NoNewPrivs:\t1" in lines
    assert {line.split()[1] for line in lines if line.startswith("Cap")} == {"0" * 16}
    reach = "import socket; socket.create_connection(('192.0.2.1', 9), timeout=5)"
    alone = box.run("/opt/wsiproc/bin/python", "-c", reach)
    assert "Network is unreachable" in alone.stderr


def test_nothing_is_compiled_that_the_installation_has_compiled(box: Box) -> None:
    count = "find /tmp/kernels -name '*.nbc' | wc -l"
    run = "/opt/wsiproc/bin/wsiproc-container run /slides/a.tiff --out /tmp/o --workers 0 --json"
    both = box.run("/bin/sh", "-c", f"cd /tmp && {run} >/dev/null && {count}")
    assert both.returncode == 0, both.stderr
    assert int(both.stdout) == len(list((box.installed / "kernels").rglob("*.nbc")))


def test_a_bundle_with_a_changed_byte_is_refused(bundle: Path, tmp_path: Path) -> None:
    changed = tmp_path / "bundle"
    shutil.copytree(bundle, changed, copy_function=os.link)
    wheel = next((changed / "wheels").glob("wsiproc-*.whl"))
    data = bytearray(wheel.read_bytes())
    data[len(data) // 2] ^= 1
    wheel.unlink()
    wheel.write_bytes(data)
    (tmp_path / "opt").mkdir()
    refused = install(changed, tmp_path / "opt")
    assert refused.returncode == 1
    assert "damaged" in refused.stderr
    assert list((tmp_path / "opt").iterdir()) == []


def test_another_python_is_refused_by_name(bundle: Path, tmp_path: Path) -> None:
    other = tmp_path / "python3"
    other.write_text("#!/bin/sh\necho 3.9\n")
    other.chmod(0o755)
    (tmp_path / "opt").mkdir()
    refused = install(bundle, tmp_path / "opt", python=str(other))
    assert refused.returncode == 2
    assert f"the bundle is for Python {sys.version_info[0]}." in refused.stderr
    assert list((tmp_path / "opt").iterdir()) == []
