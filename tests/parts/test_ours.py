"""The names of our parts as help knows them are those of the tables."""

from importlib import import_module

import pytest

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
