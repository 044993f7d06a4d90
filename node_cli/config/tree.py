"""A configuration as composed and not yet checked: nested plain values, keys dotted."""

from typing import Any

from node_cli.config.messages import plain

Tree = dict[str, Any]

# Stands for a value that is wrong in itself: it is given, but equals no choice.
WRONG = object()


def get(tree: Tree, key: str) -> Any:
    """The value at a dotted key; None where there is no such key."""
    value: Any = tree
    for name in key.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    return value


def put(tree: Tree, key: str, value: Any) -> None:
    """Replace the value at a dotted key, if there is one."""
    section, _, name = key.rpartition(".")
    inner = get(tree, section) if section else tree
    if isinstance(inner, dict) and name in inner:
        inner[name] = value


def lay(tree: Tree, key: str, value: Any) -> None:
    """Set the value at a dotted key, whether or not there is one."""
    section, _, name = key.rpartition(".")
    inner = get(tree, section) if section else tree
    if isinstance(inner, dict):
        inner[name] = value


def show(tree: Tree, key: str) -> str:
    """``key=value``; for a group, the name of what was chosen, or the list of them."""
    value = get(tree, key)
    if isinstance(value, dict):
        value = value.get("name") if "name" in value or "." in key else [*value]
    return f"{key}={plain(value)}"
