"""Nothing that is read is run: no pickle, no eval, no shell, anywhere in the package."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = sorted(p for part in ("wsiproc", "plugins") for p in (ROOT / part).rglob("*.py"))
NEVER_IMPORTED = {"pickle", "cPickle", "_pickle", "cloudpickle", "dill", "joblib", "marshal"} | {
    "shelve",
    "yaml",
    "xmlrpc",
}
NEVER_CALLED = {"eval", "exec", "compile", "__import__"} | {
    "os.system",
    "os.popen",
    "subprocess.getoutput",
    "subprocess.getstatusoutput",
    "shutil.unpack_archive",
    "pandas.read_pickle",
    "pd.read_pickle",
    "torch.jit.load",
}
NEVER_ASKED = {("shell", True), ("allow_pickle", True), ("weights_only", False)}
UNPACKS = {"extractall"}


def name_of(call: ast.expr) -> str:
    """``os.system`` of ``os.system(...)``."""
    return ast.unparse(call) if isinstance(call, ast.Name | ast.Attribute) else ""


def faults(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                for name in names:
                    if name.name.split(".")[0] in NEVER_IMPORTED:
                        yield f"{node.lineno}: imports {name.name}"
            case ast.ImportFrom(module=str(module)):
                if module.split(".")[0] in NEVER_IMPORTED:
                    yield f"{node.lineno}: imports {module}"
            case ast.Call(func=func, keywords=keywords):
                name = name_of(func)
                if name in NEVER_CALLED or name.split(".")[-1] in UNPACKS:
                    yield f"{node.lineno}: calls {name}"
                given = {
                    (k.arg, k.value.value) for k in keywords if isinstance(k.value, ast.Constant)
                }
                yield from (f"{node.lineno}: {k}={v}" for k, v in given & NEVER_ASKED)
                if name == "torch.load" and ("weights_only", True) not in given:
                    yield f"{node.lineno}: torch.load without weights_only"
            case _:
                pass


@pytest.mark.parametrize("source", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_a_module_runs_nothing_that_it_reads(source: Path) -> None:
    assert not list(faults(ast.parse(source.read_text("utf-8"))))


@pytest.mark.parametrize(
    "bad",
    [
        "import pickle",
        "from yaml import load",
        "eval(text)",
        "import os; os.system(words)",
        "import subprocess; subprocess.run(words, shell=True)",
        "np.load(path, allow_pickle=True)",
        "torch.load(path)",
        "tar.extractall()",
    ],
)
def test_what_is_looked_for_is_found(bad: str) -> None:
    assert list(faults(ast.parse(bad)))
