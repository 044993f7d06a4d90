"""Notes: what a checked configuration allows, and its user should know."""

from collections.abc import Callable

import pytest

from node_cli.config.check import checked
from node_cli.config.schema import Config

Configure = Callable[..., Config]


@pytest.mark.parametrize(
    ("precision", "below", "above"),
    [
        ("float32", 1e-9, 1e-5),
        ("tf32", 1e-5, 1e-2),
        ("bf16", 1e-4, 1e-1),
        ("float64", 1e-17, 1e-12),
    ],
)
def test_a_tolerance_below_what_the_precision_gives_is_a_note(
    configure: Configure, precision: str, below: float, above: float
) -> None:
    def notes(*overrides: str) -> list[str]:
        return checked(configure(f"precision={precision}", *overrides).model_dump())[1]

    (note,) = notes(f"solver.rtol={below}", f"solver.atol={above}")
    assert f"{below:g}" in note
    assert f"precision={precision}" in note
    assert notes(f"solver.tol={above}") == []
    assert notes("solver=rk4") == [], "no tolerance at all"
    assert notes("model=resnet") == [], "no solver at all"
    backwards = ["sensitivity=backsolve", f"solver.tol={above}", f"sensitivity.rtol={below}"]
    (note,) = notes(*backwards)
    assert f"{below:g}" in note


def test_a_schedule_that_ends_before_it_begins_is_a_note(configure: Configure) -> None:
    def notes(*overrides: str) -> list[str]:
        return checked(configure("schedule=step", *overrides).model_dump())[1]

    (note,) = notes("schedule.milestones=[30,40]", "epochs=30")
    assert note.startswith("schedule.milestones=[30,40]: none is below epochs=30")
    assert notes("schedule.milestones=[29,40]", "epochs=30") == []
