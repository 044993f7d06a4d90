"""What the YAML files say in their comments of a choice and of its keys: the only text on them."""

import re
from functools import cache
from pathlib import Path

from node_cli.config.files import CONF, written_in

_KEY = re.compile(r"^(?P<indent> *)(?:- )?(?:override )?(?P<key>[\w/]+):(?P<rest>.*)$")
_COMMENT = re.compile(r"(?:^|\s)#\s*(?P<text>.*)$")


@cache
def of_file(path: Path) -> str:
    """The comment that a file begins with, as one line; empty where it has none."""
    lines = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        if not line.startswith("# @package"):
            lines.append(line.lstrip("# "))
    return " ".join(lines)


@cache
def of_keys(path: Path) -> dict[str, str]:
    """The comment beside each key of a file, dotted for a key of a section."""
    found: dict[str, str] = {}
    above: list[tuple[int, str]] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if (match := _KEY.match(line)) is None:
            continue
        indent, key = len(match["indent"]), match["key"]
        above = [(i, name) for i, name in above if i < indent]
        above.append((indent, key))
        if comment := _COMMENT.search(_without_quoted(match["rest"])):
            found[".".join(name for _, name in above)] = comment["text"]
    return found


def of_choice(group: str, choice: str) -> str:
    """What the file of a choice begins with."""
    return of_file(CONF / group / f"{choice}.yaml")


def of_option(group: str, choice: str, option: str) -> str:
    """What is said of an option of a choice, in its file or in those that it builds on."""
    for path in written_in(group, choice):
        if words := of_keys(path).get(option):
            return words
    return ""


def _without_quoted(text: str) -> str:
    """What follows a key without a value in quotes, which may have a # in it."""
    return re.sub(r"^\s*('[^']*'|\"[^\"]*\")", "", text)
