"""Conditions that people write, such as ``area_um2 > 60 AND score >= .8``, evaluated by DuckDB.

A condition is one expression over the columns of a row.  It is parsed by DuckDB, and every part
of the parsed tree has to be on a list: columns that are there, numbers and texts, comparisons,
arithmetic, and functions that look at nothing but their arguments.  So it can't hold a second
statement, a query, a file or a setting; and it gives the same each time.  As a second wall, the
database it is evaluated in holds nothing, may not touch files, and can't be told otherwise.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from wsiproc.errors import ConfigError

_SIGNS: Final = frozenset({"+", "-", "*", "/", "//", "%", "**", "^"})
_PATTERNS: Final = frozenset(
    {"~~", "!~~", "~~*", "!~~*", "~~~"}
    | {f"{no}{like}_escape" for no in ("", "not_") for like in ("like", "ilike")}
)
"""What DuckDB makes of LIKE, ILIKE and GLOB."""
_NUMBERS: Final = (
    "abs", "round", "floor", "ceil", "ceiling", "trunc", "sign", "sqrt", "cbrt", "pow", "power",
    "exp", "ln", "log", "log2", "log10", "sin", "cos", "tan", "asin", "acos", "atan", "atan2",
    "degrees", "radians", "pi", "mod", "fmod", "greatest", "least", "isnan", "isfinite", "isinf",
    "ifnull", "nullif", "list_value", "struct_extract",
)  # fmt: skip
_TEXTS: Final = (
    "lower", "upper", "length", "contains", "starts_with", "ends_with", "prefix", "suffix",
    "regexp_matches", "regexp_full_match",
)  # fmt: skip
FUNCTIONS: Final = _SIGNS | _PATTERNS | frozenset(_NUMBERS) | frozenset(_TEXTS)
"""What a condition may call."""
_CLASSES: Final = frozenset(
    {"COMPARISON", "CONJUNCTION", "OPERATOR", "BETWEEN", "CASE", "CAST"}
    | {"CONSTANT", "FUNCTION", "COLUMN_REF"}
)
_WORDS: Final = {
    "SUBQUERY": "a query of its own",
    "WINDOW": "a window function",
    "STAR": "a star",
    "PARAMETER": "a parameter",
    "LAMBDA": "a lambda",
}


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition that was understood; see `understood`.

    Parameters
    ----------
    text
        As it was written.
    columns
        The columns it looks at.
    """

    text: str
    columns: tuple[str, ...]

    def holds(self, rows: pa.Table, database: duckdb.DuckDBPyConnection) -> NDArray[np.bool_]:
        """``[n]`` for which rows it is true; where a value is missing, it is not.

        Parameters
        ----------
        database
            From `private`.

        Raises
        ------
        ConfigError
            If it cannot be evaluated, or is no condition.
        """
        if not len(rows):
            return np.zeros(0, np.bool_)
        with blamed(self.text):
            database.register("rows", rows.select(self.columns) if self.columns else rows)
            # The end of the line ends a comment in it, too.
            told = database.execute(f"SELECT ({self.text}\n) AS told FROM rows")  # noqa: S608
            answer = told.fetchnumpy()["told"]
        if answer.dtype != np.bool_:
            raise ConfigError(
                f"--where {self.text}: that is a value, not a condition; compare it with something"
            )
        held: NDArray[np.bool_] = np.ma.filled(answer, False)
        return held


def understood(text: str, columns: Sequence[str]) -> Condition:
    """A condition, if it is one and harmless.

    Parameters
    ----------
    columns
        Those that there are.

    Raises
    ------
    ConfigError
        If it is not one expression over them, or asks for what a condition may not do.
    """
    try:
        parts = list(_parts(_parsed(text)))
    except RecursionError:
        raise ConfigError("--where: the condition is nested too deeply") from None
    used: dict[str, None] = {}
    for part in parts:
        kind = part["class"]
        if kind not in _CLASSES:
            what = _WORDS.get(kind, kind.lower())
            raise ConfigError(f"--where {text}: a condition cannot hold {what}")
        if kind == "FUNCTION":
            _allowed(part, text)
        if kind == "COLUMN_REF":
            name = part["column_names"][0]
            found = next((one for one in columns if one.lower() == name.lower()), None)
            if found is None or (len(part["column_names"]) > 1 and found != "bbox"):
                whole = ".".join(part["column_names"])
                raise ConfigError(
                    f"--where {text}: there is no column {whole!r}; there are {', '.join(columns)}"
                )
            used[found] = None
    return Condition(text, tuple(used))


@contextmanager
def private() -> Iterator[duckdb.DuckDBPyConnection]:
    """An empty database in memory that reaches nothing outside of it.

    One thread, so that sums are taken in the order of rows and are the same each time.
    """
    database = duckdb.connect(
        ":memory:",
        config={
            "enable_external_access": "false",
            "autoinstall_known_extensions": "false",
            "autoload_known_extensions": "false",
            "allow_community_extensions": "false",
            "threads": 1,
        },
    )
    try:
        database.execute("SET python_enable_replacements = false")
        database.execute("SET lock_configuration = true")
        yield database
    finally:
        database.close()


@contextmanager
def blamed(text: str) -> Iterator[None]:
    """What DuckDB refuses inside is the condition's fault."""
    try:
        yield
    except duckdb.Error as error:
        raise ConfigError(f"--where {text}: {_first_line(error)}") from None


def _parsed(text: str) -> dict[str, Any]:
    """The tree of one expression, and nothing but one expression."""
    wanted = "one condition is wanted, such as area_um2 > 60"
    if not text.strip():
        raise ConfigError(f"--where is empty: {wanted}")
    with private() as database:
        said = database.execute("SELECT json_serialize_sql($1)", [f"SELECT {text}\n"]).fetchone()
    assert said is not None
    tree = json.loads(said[0])
    if tree["error"]:
        said_of = str(tree["error_message"]).splitlines()[0]
        raise ConfigError(f"--where {text}: {said_of}; {wanted}")
    statements = tree["statements"]
    node = statements[0]["node"] if len(statements) == 1 else {}
    chosen = node.get("select_list", [])
    plain = (
        node.get("type") == "SELECT_NODE"
        and len(chosen) == 1
        and not chosen[0].get("alias")
        and node["from_table"]["type"] == "EMPTY"
        and not node["modifiers"]
        and not node["cte_map"]["map"]
        and not any(node.get(one) for one in ("where_clause", "having", "qualify", "sample"))
        and not node["group_expressions"]
    )
    if not plain:
        raise ConfigError(f"--where {text}: {wanted}")
    tree_of: dict[str, Any] = chosen[0]
    return tree_of


def _parts(tree: Any) -> Iterator[dict[str, Any]]:
    """Every expression of a tree, itself first."""
    if isinstance(tree, dict):
        if "class" in tree:
            yield tree
            if tree["class"] == "CONSTANT":
                return
        for value in tree.values():
            yield from _parts(value)
    elif isinstance(tree, list):
        for value in tree:
            yield from _parts(value)


def _allowed(call: dict[str, Any], text: str) -> None:
    name = call["function_name"].lower()
    if name not in FUNCTIONS or call.get("catalog"):
        raise ConfigError(
            f"--where {text}: a condition cannot call {name}(); it can call "
            + ", ".join(sorted((*_NUMBERS, *_TEXTS)))
        )


def _first_line(error: Exception) -> str:
    line = str(error).splitlines()[0]
    return line.partition("Error: ")[2] or line
