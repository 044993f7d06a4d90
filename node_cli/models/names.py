"""The names of stems, fields and heads without torch: read from the source of their tables."""

import ast
from functools import cache
from pathlib import Path

TABLES = {"stem": "stems.py", "field": "fields.py", "head": "heads.py"}


@cache
def names() -> dict[str, dict[str, str]]:
    """For ``stem``, ``field``, ``head``: each name, and what it stands for in a line."""
    return {kind: _rows(Path(__file__).with_name(file)) for kind, file in TABLES.items()}


def _rows(path: Path) -> dict[str, str]:
    """The rows of the file's table, the dictionary in capitals: ``{"name": Part(made, ...)}``."""
    body = ast.parse(path.read_text(encoding="utf-8")).body
    lines = {
        node.name: (ast.get_docstring(node) or "").partition("\n\n")[0].replace("\n", " ")
        for node in body
        if isinstance(node, ast.ClassDef | ast.FunctionDef)
    }
    (table,) = (
        node.value
        for node in body
        if isinstance(node, ast.AnnAssign) and isinstance(node.value, ast.Dict)
    )
    found = {}
    for key, row in zip(table.keys, table.values, strict=True):
        assert isinstance(key, ast.Constant) and isinstance(row, ast.Call)
        made = row.args[0]
        assert isinstance(made, ast.Name)
        found[str(key.value)] = lines[made.id]
    return found
