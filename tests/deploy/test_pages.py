"""The pages and files say what is there: links, commands, options, exit codes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import typer.main

from wsiproc.cli.app import app

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "docs" / "hospital.md", *sorted((ROOT / "deploy").rglob("*.md"))]
STARTERS = [
    ROOT / "deploy" / name
    for name in (
        "container/compose.yaml",
        "kubernetes/nightly/cronjob.yaml",
        "kubernetes/indexed/job.yaml",
        "kubernetes/dask/job.yaml",
        "slurm/array.sbatch",
        "systemd/wsiproc-batch@.service",
    )
]
VERBS = typer.main.get_command(app).commands  # type: ignore[attr-defined]


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def options(verb: str) -> set[str]:
    """Options of a verb."""
    return {name for each in VERBS[verb].params for name in each.opts if name.startswith("--")}


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
        assert (page.parent / link).exists(), link


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_verbs_and_their_options_exist(page: Path) -> None:
    text = page.read_text().replace("\\\n", " ")
    for line in text.splitlines():
        for verb, words in re.findall(r"wsiproc ([a-z]+) ([^`#;|)]*)", line):
            if verb in VERBS and verb != "audit":
                assert set(re.findall(r"(?<= )--[a-z-]+", f" {words}")) <= options(verb), line


@pytest.mark.parametrize("file", STARTERS, ids=named)
def test_a_night_is_started_with_options_that_exist(file: Path) -> None:
    text = re.sub(r"(?m)^ *#.*\n", "", file.read_text()).replace("\\\n", " ")
    # From the word `batch` to the end of its command, in a line or as a list of YAML.
    parts = re.findall(r"(?m)\bbatch \S+ --.*$|- batch\n(?:\s+- .*\n)+", text)
    assert parts, "no call of batch was found"
    for part in parts:
        given = set(re.findall(r"(?<![\w-])--[a-z-]+", part))
        assert {"--model", "--out", "--site-key"} <= given
        assert given <= options("batch")


@pytest.mark.parametrize(
    "file",
    [path for path in sorted((ROOT / "deploy").rglob("*")) if path.is_file()],
    ids=named,
)
def test_no_file_names_a_host_on_the_network(file: Path) -> None:
    """Images and packages come from wherever the site's own tools look."""
    addresses = re.findall(r"\w+://[\w.]*", file.read_text())
    own = {"tls://10.0.0.10", "tls://wsiproc", "file://"}
    assert set(addresses) <= own


def test_the_operators_page_speaks_of_every_exit_code() -> None:
    text = (ROOT / "docs" / "hospital.md").read_text()
    table = text[text.index("## Exit codes") : text.index("## Once a month")]
    rows = re.findall(r"^\| ([\d, ]+) \|", table, re.MULTILINE)
    codes = {int(code) for row in rows for code in row.split(",")}
    assert codes == {0, 1, 2, 10, 20, 65, 66, 69, 73, 75, 124, 130, 143}
