"""Missing keys take the defaults of the YAML files, and values of older forms that of today.

A configuration that an older version has written lacks the keys that are new since then.
"""

import re
from typing import Any

from node_cli.config import data, several_choices
from node_cli.config.files import common_values, default_choices, root_values, values_of
from node_cli.config.schema import Config, sections, variants
from node_cli.config.section import variant_of
from node_cli.config.tree import Tree, get


def fill(tree: Tree) -> None:
    """Give missing keys the defaults of the shipped files: those of the root, and of the groups
    the files that were chosen. A choice that has no file among these takes what all choices of its
    group have in common."""
    several_choices.fill(tree)
    data.translate(tree)
    missing = [name for name in Config.model_fields if name not in tree]
    if not missing and not any(_lacks_options(tree, section) for section in sections()):
        return
    root, choices = root_values(), default_choices()
    for name in missing:
        if choice := choices.get(name):
            tree[name] = {"name": choice}
        elif name in root:
            tree[name] = {} if name in sections() else root[name]
    for section in sections():
        if isinstance(values := tree.get(section), dict):
            found = _shipped(tree, section)
            values |= {k: _resolved(v, tree) for k, v in found.items() if k not in values}


def followed(tree: Tree, key: str) -> str | None:
    """The root key whose value a key of a section has by default, if it has that value."""
    section, _, name = key.partition(".")
    if section not in sections() or not isinstance(tree.get(section), dict):
        return None
    leader = _interpolated(_shipped(tree, section).get(name))
    return leader if leader and get(tree, key) == tree.get(leader) else None


def _shipped(tree: Tree, section: str) -> Tree:
    """The defaults of a section, interpolations not resolved."""
    if section not in default_choices():
        values: Tree = root_values().get(section) or {}
        return values
    name = str(tree[section].get("name"))
    return values_of(section, name) or common_values(section)


def _lacks_options(tree: Tree, section: str) -> bool:
    values = tree.get(section)
    if not isinstance(values, dict):
        return False
    variant = variant_of(variants(section), values)
    return variant is None or not set(variant.model_fields) <= set(values)


def _resolved(value: Any, tree: Tree) -> Any:
    key = _interpolated(value)
    return tree.get(key) if key else value


def _interpolated(value: Any) -> str | None:
    """The root key in ``${key}``, the only interpolation that the files have."""
    key = re.fullmatch(r"\$\{(\w+)\}", value) if isinstance(value, str) else None
    return key[1] if key else None
