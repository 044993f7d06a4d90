"""What the code says of a choice, read without importing it: docstrings, and the comment above a
tableau."""

import ast
from functools import cache
from pathlib import Path

from node_cli.ode.sensitivity.methods import SENSITIVITIES
from node_cli.regularisers.table import REGULARISERS

PACKAGE = Path(__file__).parents[1]
TABLEAUS = PACKAGE / "ode" / "tableaus.py"


def said_of(group: str, choice: str) -> str:
    """The docstring of what a choice names, or where its formula is from; empty where the code says
    nothing beside the configuration."""
    match group:
        case "solver":
            return _above(choice)
        case "sensitivity":
            return _docstring(SENSITIVITIES[choice].implementation)
        case "regularize":
            traits = REGULARISERS[choice]
            doc = _docstring(traits.implementation)
            return f"{doc}\n\nCost: {traits.cost}. Source: {traits.source}."
    return ""


def _docstring(implementation: str) -> str:
    module, _, name = implementation.partition(":")
    path = PACKAGE.joinpath(*module.split(".")[1:]).with_suffix(".py")
    for node in _parsed(path).body:
        if isinstance(node, ast.ClassDef) and node.name == name:
            return ast.get_docstring(node) or ""
    raise AssertionError(implementation)


def _above(method: str) -> str:
    """The comment above the tableau of a method; empty for one that is torchdiffeq's alone."""
    tree = _parsed(TABLEAUS)
    lines = TABLEAUS.read_text(encoding="utf-8").splitlines()
    assigned = {
        target.id: node
        for node in tree.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    table = assigned["TABLEAUS"].value
    assert isinstance(table, ast.Dict)
    for key, value in zip(table.keys, table.values, strict=True):
        if isinstance(key, ast.Constant) and key.value == method and isinstance(value, ast.Name):
            end = assigned[value.id].lineno - 1
            while not lines[end - 1].startswith("#"):
                end -= 1
            start = end
            while lines[start - 1].startswith("#"):
                start -= 1
            return " ".join(line.lstrip("# ") for line in lines[start:end])
    return ""


@cache
def _parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))
