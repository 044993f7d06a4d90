"""The text of ``node-train --info parts``: every part that a configuration can name."""

from collections.abc import Iterator

from pydantic_core import PydanticUndefined

from node_cli.config.messages import plain
from node_cli.config.parts import options_model
from node_cli.errors import UserError
from node_cli.parts.installed import Installed, installed, registered, unusable
from node_cli.parts.kinds import KINDS
from node_cli.parts.ours import ours


def parts_text() -> str:
    """Of each kind the names with what they stand for, ours first, then those of installed packages
    with their options; last what cannot be used, and why.

    Cost: imports every package that has registered a part.
    """
    lines: list[str] = []
    for kind, row in KINDS.items():
        lines += [f"{kind}, chosen by {row.key.removesuffix('.name')}"]
        lines += [
            f"  {name:<18}{words.removesuffix('.')}{_options(kind, name)}".rstrip()
            for name, words in ours(kind).items()
        ]
        lines += [f"  {part.name:<18}{_described(part)}" for part in installed(kind).values()]
        lines += [""]
    if problems := [*_problems()]:
        lines += ["not usable", *(f"  {problem}" for problem in problems), ""]
    return "\n".join(lines)


def _described(part: Installed) -> str:
    """Where a part of a package comes from, and its options with their defaults."""
    try:
        return f"{part.origin}, {part.entry.value}{_options(part.kind, part.name)}"
    except UserError as error:
        return error.problems[0].partition(": ")[2]


def _options(kind: str, name: str) -> str:
    """The options of a part with their defaults; nothing for one that has none."""
    if kind == "observer" or (kind in ("data", "regulariser") and name in ours(kind)):
        return ""
    options = [
        option if field.default is PydanticUndefined else f"{option}={plain(field.default)}"
        for option, field in options_model(kind, name).model_fields.items()
        if option != "name"
    ]
    return f"; options {', '.join(options)}" * bool(options)


def _problems() -> Iterator[str]:
    for part in registered().parts:
        if reason := unusable(part):
            yield f"{part.kind} {part.name} of {part.origin}: {reason}"
    yield from registered().unreadable
