"""Limits for files that a few lines make enormous: aliases of YAML that multiply, interpolations
that double a text again and again. Counted before anything is built."""

import re
from pathlib import Path
from typing import Any

import yaml

from node_cli.errors import UserError

LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the fast one needs libyaml

MOST_BYTES = 4_000_000
MOST_NODES = 100_000
MOST_CHARACTERS = 1_000_000


def check_yaml(path: Path) -> None:
    """Raise ``UserError`` where a YAML file is too large, with its aliases written out. A file that
    is no YAML, or is not there, is left to whoever reads it."""
    try:
        if (size := path.stat().st_size) > MOST_BYTES:
            raise UserError(f"{path}: {size:,} bytes, at most {MOST_BYTES:,} are read")
        root = yaml.compose(path.read_text(encoding="utf-8"), Loader=LOADER)
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        if isinstance(error, UserError):
            raise
        return
    nodes = 0 if root is None else _nodes(root, {}, set())
    if nodes > MOST_NODES:
        raise UserError(
            f"{path}: more than {MOST_NODES:,} values, with its aliases written out; too many"
        )


def _nodes(node: yaml.Node, known: dict[int, int], above: set[int]) -> int:
    """How many nodes there are with every alias written out. One that is part of itself is left to
    the reader, which refuses it."""
    if id(node) in known:
        return known[id(node)]
    if id(node) in above:
        return 0
    above.add(id(node))
    count = 1
    if isinstance(node, yaml.MappingNode):
        inner = [part for pair in node.value for part in pair]
    else:
        inner = node.value if isinstance(node, yaml.SequenceNode) else []
    for part in inner:
        count = min(count + _nodes(part, known, above), MOST_NODES + 1)
    above.discard(id(node))
    known[id(node)] = count
    return count


def check_interpolations(tree: Any) -> None:
    """Raise ``UserError`` where interpolations would make a text, or a section, of a size that no
    configuration has. ``tree``: plain values, interpolations not resolved."""

    known: dict[str, int] = {}

    def size_at(key: str) -> int:
        if key not in known:
            known[key] = 0  # while it is being counted: one that refers to itself is refused later
            value = tree
            for part in key.split("."):
                value = value.get(part) if isinstance(value, dict) else None
            known[key] = size(value)
        return known[key]

    def size(value: Any) -> int:
        if isinstance(value, dict | list):
            parts = value.values() if isinstance(value, dict) else value
            return min(1 + sum(map(size, parts)), 2 * MOST_CHARACTERS)
        total = max(len(value), 1) if isinstance(value, str) else 1
        for name in _referred(value) if isinstance(value, str) else ():
            total = min(total + size_at(name), 2 * MOST_CHARACTERS)
        return total

    largest = size(tree)
    if largest > MOST_CHARACTERS:
        raise UserError(
            f"interpolations: more than {MOST_CHARACTERS:,} characters when written out; too many"
        )


def _referred(text: str) -> list[str]:
    """The keys in the interpolations of a text; of a resolver, words that may be keys."""
    names = []
    for inside in re.findall(r"\$\{([^{}]*)\}", text):
        head, is_resolver, arguments = inside.partition(":")
        names += re.findall(r"[\w.]+", arguments) if is_resolver else [head.strip(". ")]
    return names
