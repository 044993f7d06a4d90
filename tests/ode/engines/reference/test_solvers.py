"""Solver classes from our tableaus, for methods that torchdiffeq does not have."""

import pytest
import torch

from node_cli.ode.engines.reference import solvers
from node_cli.ode.engines.reference.solve import integrate
from node_cli.ode.solver import METHODS, Solver
from node_cli.ode.tableaus import TABLEAUS
from tests.ode.problems import pendulum, times


def test_every_method_has_a_class() -> None:
    assert set(METHODS) <= set(solvers._CLASSES)


@pytest.mark.parametrize("name", [name for name in TABLEAUS if name != "tsit5"])
def test_a_class_from_a_tableau_computes_what_torchdiffeqs_own_does(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """But for the two pairs of which torchdiffeq reuses a last stage that is not f(t1, y1)."""
    tableau, t = TABLEAUS[name], times(0.0, 0.4, 1.0)
    options = {"rtol": 1e-5, "atol": 1e-5} if tableau.adaptive else {"n_steps": 5}
    solver = Solver(name, engine="torchdiffeq", **options)
    y, steps = integrate(pendulum, times(0.7, 0.4), t, solver)
    if tableau.adaptive:
        made = solvers._landing(solvers._adaptive_class(tableau))
    else:
        made = solvers._fixed_class(tableau)
    monkeypatch.setitem(solvers._CLASSES, name, made)
    again, steps_again = integrate(pendulum, times(0.7, 0.4), t, solver)
    assert steps == steps_again
    tol = 1e-12 if tableau.first_same_as_last or not tableau.adaptive else 1e-4
    torch.testing.assert_close(again, y, rtol=tol, atol=tol)
