"""The names of our own parts without torch: read from the source of their tables."""

import ast
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

from node_cli.parts.kinds import KINDS

PACKAGE = Path(__file__).parents[1]


@cache
def ours(kind: str) -> dict[str, str]:
    """Each name of a kind of part, and what it stands for in a line, empty where its table does
    not say."""
    found: dict[str, str] = {}
    for place in KINDS[kind].ours:
        module, _, table = place.partition(":")
        path = PACKAGE.joinpath(*module.split(".")[1:]).with_suffix(".py")
        found |= _rows(path, table)
    return found


def made_by(kind: str, name: str) -> Any:
    """What makes one of our parts: imports its table, and torch with it."""
    for place in KINDS[kind].ours:
        module, _, table = place.partition(":")
        rows = getattr(import_module(module), table)
        if name in rows:
            return rows[name].make
    raise AssertionError(name)


def _rows(path: Path, table: str) -> dict[str, str]:
    """The rows of the file's table: ``{"name": Part(made, ...)}`` or ``{"name": made}``."""
    body = ast.parse(path.read_text(encoding="utf-8")).body
    lines = {
        node.name: (ast.get_docstring(node) or "").partition("\n\n")[0].replace("\n", " ")
        for node in body
        if isinstance(node, ast.ClassDef | ast.FunctionDef)
    }
    rows = next(node for node in body if _assigned(node) == table).value  # type: ignore[attr-defined]
    assert isinstance(rows, ast.Dict)
    found = {}
    for key, row in zip(rows.keys, rows.values, strict=True):
        assert isinstance(key, ast.Constant)
        made = row.args[0] if isinstance(row, ast.Call) and row.args else row
        match made:
            case ast.Name():
                line = lines.get(made.id, "")
            case ast.Constant(value=str(text)):
                line = text
            case _:
                line = ""
        found[str(key.value)] = line
    return found


def _assigned(node: ast.stmt) -> str | None:
    """The name that a statement gives a value to."""
    targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
    return targets[0].id if isinstance(targets[0], ast.Name) else None
