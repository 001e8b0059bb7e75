"""Results and slides to look at, served as `wsiproc view` serves them, and a browser."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

import wsiproc
from wsiproc.results.stored import StoredResult, open_result
from wsiproc.slide._drawn import DrawnSlide
from wsiproc.testing.results import drawn_result

pytest.importorskip("starlette", reason="the extra `view` is not installed")
pytest.importorskip("uvicorn", reason="the extra `view` is not installed")

CLASSES = ("tumour", "lymphocyte", "stroma")
CHROMIUM = Path("/usr/bin/chromium")


@pytest.fixture(scope="session")
def one(tmp_path_factory: pytest.TempPathFactory) -> StoredResult:
    """A drawn result of three classes, in two chunks."""
    return drawn_result(tmp_path_factory.mktemp("a") / "S-1", nuclei=3500, classes=CLASSES, seed=1)


@pytest.fixture(scope="session")
def other(tmp_path_factory: pytest.TempPathFactory) -> StoredResult:
    """Other nuclei on the same slide."""
    return drawn_result(tmp_path_factory.mktemp("b") / "S-1", nuclei=3500, classes=CLASSES, seed=2)


@pytest.fixture(scope="session")
def run(
    small: DrawnSlide, mask_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> StoredResult:
    """A result of a slide that is there."""
    out = tmp_path_factory.mktemp("run")
    found = wsiproc.run(small.path, model=str(mask_model), out=out, slide_id="S-7")
    return open_result(found.folder)


@dataclass(frozen=True)
class Served:
    """A server that runs; `get` asks it, below the token."""

    address: str

    def get(self, path: str) -> bytes:
        with urllib.request.urlopen(self.address + path, timeout=60) as answer:
            content: bytes = answer.read()
        return content

    def json(self, path: str) -> Any:
        return json.loads(self.get(path))

    def refusal(self, path: str) -> tuple[int, str]:
        """Code and text of an answer that is none."""
        with pytest.raises(urllib.error.HTTPError) as refused:
            self.get(path)
        return refused.value.code, refused.value.read().decode()


Serve = Callable[..., Served]


@pytest.fixture(scope="session")
def serve() -> Iterator[Serve]:
    """Serve a result, to the end of the session."""
    from wsiproc.view.serving import serving
    from wsiproc.view.shown import show

    with ExitStack() as stack:
        known: dict[tuple[Path | None, ...], Served] = {}

        def serve_(result: Path, slide: Path | None = None, against: Path | None = None) -> Served:
            key = (result, slide, against)
            if key not in known:
                address = stack.enter_context(serving(show(result, slide, against)))
                known[key] = Served(address)
            return known[key]

        yield serve_


@dataclass
class Opened:
    """A page in a browser, and what went wrong in it."""

    page: Any
    troubles: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def number(self, selector: str) -> int:
        """The first number that stands in an element."""
        return int(self.page.inner_text(selector).split()[0].replace(",", ""))

    def rest(self) -> None:
        """Wait until all that was asked for is drawn and counted."""
        self.page.wait_for_timeout(100)
        self.page.wait_for_selector("body[data-still=true]", timeout=60_000)


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Headless Chromium, drawing by its own software: the same picture with and without a GPU."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if not CHROMIUM.exists():
        pytest.skip(f"there is no {CHROMIUM}")
    with playwright.sync_playwright() as driver:
        software = ["--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
        browser = driver.chromium.launch(executable_path=str(CHROMIUM), args=software)
        yield browser
        browser.close()


@pytest.fixture
def opened(browser: Any) -> Iterator[Callable[[str], Opened]]:
    """Open an address; whatever the page complains of, or asks of others, fails the test."""
    pages: list[Opened] = []

    def open_(address: str) -> Opened:
        context = browser.new_context(viewport={"width": 1200, "height": 800})
        opened = Opened(context.new_page())
        pages.append(opened)
        opened.page.on("pageerror", lambda error: opened.troubles.append(str(error)))
        opened.page.on("console", lambda said: opened.troubles.append(said.text))
        opened.page.on("request", lambda request: opened.asked.append(request.url))
        opened.page.goto(address)
        opened.page.wait_for_selector("body[data-state=ready]", timeout=120_000)
        opened.rest()
        return opened

    yield open_
    for one in pages:
        one.page.context.close()
    assert [trouble for one in pages for trouble in one.troubles] == []
    hosts = {url.split("/")[2].split(":")[0] for one in pages for url in one.asked if "//" in url}
    assert hosts <= {"127.0.0.1"}
