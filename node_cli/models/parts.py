"""Rows of the tables of stems, fields and heads: what ``model.stem``, ``field``, ``head`` name."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from torch import nn

from node_cli.config.messages import not_among
from node_cli.errors import UserError
from node_cli.models.shape import Shape

TAKES = {"vector": (1, "a vector [D]"), "image": (3, "an image [C, H, W]")}


@dataclass(frozen=True)
class Part:
    """``make``: called with the shape of what the part is given, and for a head with the number of
    classes; its docstring says in the first line what the part is. ``takes``: the only kind of
    shape that it can be given."""

    make: Callable[..., nn.Module]
    takes: Literal["vector", "image"] | None = None

    def __call__(self, *arguments: object) -> nn.Module:
        return self.make(*arguments)


def make(
    key: str, table: Mapping[str, Part], name: str | None, shape: Shape, *more: int, after: str
) -> nn.Module:
    """The part of that name, for a given shape.

    ``key``: of the configuration, for messages; ``after``: what gives the shape. Raises
    ``UserError`` where there is no such part, or it does not take the shape.
    """
    if name is None or name not in table:
        raise UserError(not_among(key, name, table))
    part = table[name]
    if part.takes is not None:
        dimensions, what = TAKES[part.takes]
        if len(shape) != dimensions:
            raise UserError(f"{key}={name}: needs {what}, but the {after} gives {[*shape]}")
    return part(shape, *more)
