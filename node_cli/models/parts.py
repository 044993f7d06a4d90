"""Rows of the tables of stems, fields and heads: what ``model.stem``, ``field``, ``head`` name."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from torch import nn

from node_cli.config.messages import not_among
from node_cli.errors import UserError, one_line
from node_cli.models.shape import Shape
from node_cli.parts.installed import choices, installed
from node_cli.parts.kinds import KINDS

TAKES = {"vector": (1, "a vector [D]"), "image": (3, "an image [C, H, W]")}


@dataclass(frozen=True)
class Part:
    """``make``: called with the shape of what the part is given, and for a head with the number of
    classes, and then with its options by name; its docstring says in the first line what the part
    is. ``takes``: the only kind of
    shape that it can be given."""

    make: Callable[..., nn.Module]
    takes: Literal["vector", "image"] | None = None

    def __call__(self, *arguments: object, **options: object) -> nn.Module:
        return self.make(*arguments, **options)


def make(
    kind: str,
    table: Mapping[str, Part],
    name: str | None,
    options: Mapping[str, Any],
    shape: Shape,
    *more: int,
    after: str,
) -> nn.Module:
    """The part of that name, ours or of an installed package, for a given shape.

    ``kind``: of ``parts.kinds``. ``options``: its arguments by name, as checked by
    ``config.parts``. ``after``: what gives the shape. Raises ``UserError`` where there is no such
    part, or it does not take the shape.
    """
    key = KINDS[kind].key
    if name is None or name not in table:
        return _of_package(kind, name, options, shape, *more)
    part = table[name]
    if part.takes is not None:
        dimensions, what = TAKES[part.takes]
        if len(shape) != dimensions:
            raise UserError(f"{key}={name}: needs {what}, but the {after} gives {[*shape]}")
    return part(shape, *more, **options)


def _of_package(
    kind: str, name: str | None, options: Mapping[str, Any], shape: Shape, *more: int
) -> nn.Module:
    key = KINDS[kind].key
    part = installed(kind).get(name or "")
    if part is None:
        raise UserError(not_among(key, name, choices(kind)))
    make = part.load()
    try:
        module = make(shape, *more, **options)
    except Exception as error:  # it does not take such a shape, or these options together
        raise UserError(
            f"{key}={name}: {part.origin} cannot make one for {[*shape]}: "
            f"{type(error).__name__}, {one_line(error)}"
        ) from error
    if not isinstance(module, nn.Module):
        raise UserError(f"{key}={name}: {part.origin} makes a {type(module).__name__}, no module")
    return module
