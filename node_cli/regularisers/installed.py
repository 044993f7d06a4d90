"""The regularisers that installed packages bring, in the form of rows of the table."""

from functools import cache
from inspect import getdoc, isabstract, isclass
from typing import Any

from node_cli.errors import UserError, one_line
from node_cli.parts.installed import Installed as Part
from node_cli.parts.installed import installed
from node_cli.parts.options import options_of
from node_cli.regularisers.options import Installed, Options
from node_cli.regularisers.table import REGULARISERS, Traits

KIND = "regulariser"


def traits_of(name: str) -> Traits | None:
    """What is known of a regulariser, ours or of an installed package; None where there is none.

    Imports the package. Raises ``UserError`` where that fails, or its entry point names no
    regulariser.
    """
    if name in REGULARISERS:
        return REGULARISERS[name]
    part = installed(KIND).get(name)
    return None if part is None else _traits(part)


@cache
def _traits(part: Part) -> Traits:
    from node_cli.regularisers.regulariser import OfInterval, OfPath, OfSteps, Regulariser

    what = f"regularize={part.name}: {part.origin}"
    made = part.load()
    if not (isclass(made) and issubclass(made, Regulariser)):
        raise UserError(
            f"{what}, {part.entry.value} is no class that derives from a kind of regulariser"
        )
    if isabstract(made):
        missing = ", ".join(sorted(made.__abstractmethods__))  # type: ignore[attr-defined]
        raise UserError(f"{what}, {part.entry.value} has no {missing}")
    moves_end = issubclass(made, OfInterval)
    options = options_of(made, 0, what, base=Options if moves_end else Installed)
    assert issubclass(options, Options)
    return Traits(
        (getdoc(made) or "").partition("\n\n")[0].replace("\n", " "),
        implementation=part.entry.value,
        options=options,
        source=part.origin,
        cost="see its package",
        estimate=made.estimate,
        of_steps=issubclass(made, OfSteps),
        differentiates_f=issubclass(made, OfPath) and bool(made.further),
        ends=moves_end,
    )


def build(name: str, options: Options) -> Any:
    """The regulariser itself, a ``Regulariser``. Raises ``UserError`` where one of an installed
    package cannot be made."""
    traits = traits_of(name)
    assert traits is not None, "the options were checked"
    try:
        return traits.build(options)
    except Exception as error:
        if name in REGULARISERS:
            raise
        raise UserError(
            f"regularize={name}: {traits.source} cannot make one: {type(error).__name__}, "
            f"{one_line(error)}"
        ) from error
