"""The names of our parts as help knows them are those of the tables."""

from collections.abc import Callable
from importlib import import_module

import pytest

from node_cli.config.schema import Config
from node_cli.errors import UserError
from node_cli.models.classifier import build
from node_cli.parts.kinds import KINDS
from node_cli.parts.ours import ours


@pytest.mark.parametrize("kind", KINDS)
def test_every_row_is_found_with_what_it_is(kind: str) -> None:
    rows: dict[str, object] = {}
    for place in KINDS[kind].ours:
        module, _, table = place.partition(":")
        rows |= getattr(import_module(module), table)
    assert [*ours(kind)] == [*rows]
    if kind in ("stem", "field", "head"):
        for name, part in rows.items():
            line = ours(kind)[name]
            assert line and "\n" not in line
            assert " ".join((part.make.__doc__ or "").split()).startswith(line)  # type: ignore[attr-defined]


def test_options_of_ours_are_those_of_their_signatures(configure: Callable[..., Config]) -> None:
    given = configure("model.field_options.width=4").model.field_options
    assert given == {"width": 4, "depth": 2, "activation": "tanh"}
    assert configure().model.field_options == {}, "the defaults, without importing torch"
    for option, line in (("width=0", "greater than or equal to 1"), ("activation=tan", "tanh?")):
        with pytest.raises(UserError, match=f"{option}: .*{line[:-1]}"):
            configure(f"model.field_options.{option}")


def test_options_reach_the_part(configure: Callable[..., Config]) -> None:
    config = configure("model.field_options.width=4", "model.field_options.depth=1")
    shapes = [[*p.shape] for p in build(config, (1, 28, 28), 10).core.parameters()]
    assert shapes == [[4, 20], [4], [20, 4], [20]]
