"""The table of gradient methods says the truth about their classes."""

import subprocess
import sys
from dataclasses import dataclass, fields, is_dataclass, replace

import pytest
import torch
from torch import Tensor

from node_cli.ode.engines.engine import DenseRecord, Engine
from node_cli.ode.problem import Gradients
from node_cli.ode.sensitivity.method import Sensitivity
from node_cli.ode.sensitivity.methods import SENSITIVITIES, Traits
from node_cli.ode.solver import METHODS, Solver
from tests.ode.problems import MLP, gradients, times, worst


def test_reading_the_table_does_not_import_torch() -> None:
    code = "import sys, node_cli.ode.sensitivity.methods; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("name", SENSITIVITIES)
def test_a_class_has_the_options_of_its_row(name: str) -> None:
    traits = SENSITIVITIES[name]
    method = traits.build()
    assert is_dataclass(method)
    options = traits.options - {"rtol", "atol"}  # those of the backward solver
    assert {field.name for field in fields(method)} == options
    if traits.norms:
        assert traits.norm in traits.norms
        assert getattr(method, "norm") == traits.norm  # noqa: B009
    if traits.solves_backwards:
        solver = Solver("dopri5", rtol=1e-3, atol=1e-3)
        assert traits.build(solver=solver).solver is solver


def test_options_depend_on_the_backward_solver() -> None:
    assert SENSITIVITIES["discrete"].options_with(METHODS["dopri5"]) == set()
    backsolve, gauss = SENSITIVITIES["backsolve"], SENSITIVITIES["gauss"]
    always = {"solver", "max_drift"}
    assert backsolve.options_with(METHODS["dopri5"]) == {*always, "norm", "rtol", "atol"}
    assert backsolve.options_with(METHODS["rk4"]) == always
    assert backsolve.options_with(METHODS["implicit_adams"]) == {*always, "rtol", "atol"}
    assert gauss.options_with(METHODS["dopri5"]) == {"solver", "rtol", "atol"}


def test_an_option_that_a_method_does_not_have_is_refused() -> None:
    with pytest.raises(TypeError):
        SENSITIVITIES["gauss"].build(norm="full")


@pytest.mark.parametrize("traits", SENSITIVITIES.values(), ids=SENSITIVITIES)
def test_words_are_there(traits: Traits) -> None:
    for words in (traits.meaning, traits.memory, traits.cost, traits.large_error):
        assert words and not words.endswith(".")


@dataclass(frozen=True)
class Riemann(Sensitivity):
    """The adjoint by many Euler steps, y from the dense output; without dL/dt."""

    name = "riemann"
    steps: int = 2000

    def gradient(self, engine: Engine, record: DenseRecord, y: Tensor, grad_y: Tensor) -> Gradients:
        problem = engine.problem
        parameters = problem.parameters
        adjoint, by_parameters = grad_y[-1], [torch.zeros_like(p) for p in parameters]
        for i in range(len(problem.t) - 1, 0, -1):
            start, end = problem.t[[i - 1, i]].tolist()
            dt = (end - start) / self.steps
            for j in range(self.steps, 0, -1):
                middle = start + (j - 0.5) * dt
                with torch.enable_grad():
                    state = record.at(middle).requires_grad_()
                    dy = problem.field(torch.tensor(middle), state)
                    by_y, *found = torch.autograd.grad(dy, [state, *parameters], adjoint * dt)
                adjoint = adjoint + by_y
                torch._foreach_add_(by_parameters, found)
            adjoint = adjoint + grad_y[i - 1]
        return Gradients(torch.zeros_like(problem.t), adjoint, by_parameters)


def test_a_method_is_a_class_and_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which states what the forward solve records for it."""
    row = replace(
        SENSITIVITIES["interpolating"],
        implementation=f"{__name__}:Riemann",
        solves_backwards=False,
        norms=(),
        norm=None,
    )
    monkeypatch.setitem(SENSITIVITIES, "riemann", row)
    solver, t = Solver("dopri5", rtol=1e-8, atol=1e-8), times(0.0, 0.4, 1.0)
    method = SENSITIVITIES["riemann"].build()
    assert isinstance(method, Riemann)
    *found, _ = gradients(method, MLP(), t, solver)
    *expected, _ = gradients(SENSITIVITIES["discrete"].build(), MLP(), t, solver)
    assert worst(tuple(found), tuple(expected)) < 1e-3
