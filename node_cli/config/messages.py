"""The one-line messages about a key and its value."""

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any

from node_cli.config.schema import keys


def unknown_key(key: str, value: Any) -> str:
    """The line for a key that the schema does not have."""
    known = [*keys(), "resume"]
    section = key.rpartition(".")[0]
    close = get_close_matches(key, known, n=1) or [
        k for k in known if k.rpartition(".")[2] == key.rpartition(".")[2]
    ]
    neighbours = [k for k in known if k.rpartition(".")[0] == section] or [
        k for k in known if "." not in k
    ]
    hint = f" (did you mean {close[0]}?)" if close else ""
    return f"{key}={plain(value)}: no such key{hint}; there are {', '.join(neighbours)}"


def choose(key: str, value: Any, choices: Iterable[str]) -> str:
    """The line for a value that is not among the choices."""
    choices = list(choices)
    close = get_close_matches(str(value), choices, n=1)
    hint = f" (did you mean {close[0]}?)" if close else ""
    return f"{key}={plain(value)}: choose from {', '.join(choices)}{hint}"


def plain(value: Any) -> str:
    """A value as it is typed on the command line."""
    if isinstance(value, list):
        return f"[{','.join(map(plain, value))}]"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "{...}"
    text = "null" if value is None else str(value)
    return text if text.isprintable() else repr(text)
