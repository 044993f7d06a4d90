"""Sections of several choices at once: their defaults, and options of what is not chosen."""

from collections.abc import Collection
from typing import Any

from node_cli.config import files
from node_cli.config.messages import plain
from node_cli.config.schema import several
from node_cli.config.tree import Tree, show
from node_cli.parts.installed import choices


def fill(tree: Tree) -> None:
    """Give options that are missing the defaults of the shipped files; none is chosen where the
    section is missing."""
    for section in several():
        chosen = tree.setdefault(section, {})
        if isinstance(chosen, dict):
            for name, options in chosen.items():
                if isinstance(options, dict) and "name" in options:
                    chosen[name] = files.values_of(section, name) | options


def drop_unused(tree: Tree, typed: Collection[str]) -> dict[str, str]:
    """Drop options of what is not chosen; a line for each that was typed. A file composed before
    may have set them, and only a file of the group has the name in it."""
    lines: dict[str, str] = {}
    for section, row in several().items():
        chosen = tree.get(section)
        if not isinstance(chosen, dict):
            continue
        names = [name for name, options in chosen.items() if _is_chosen(options)]
        for name in chosen.keys() - {*names}:
            if name in choices(row.kind):
                instead = f"{name} is not among {section}={plain(names)}"
                lines |= {
                    key: f"{show(tree, key)}: not used, {instead}"
                    for key in sorted(typed)
                    if key.startswith(f"{section}.{name}.")
                }
                chosen.pop(name)
    return lines


def _is_chosen(options: Any) -> bool:
    return not isinstance(options, dict) or "name" in options
