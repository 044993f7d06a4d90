"""Penalties on the accepted steps: their values, and their gradients against finite differences."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from node_cli.ode.engines.eager.solve import integrate
from node_cli.ode.engines.eager.step import Stepper
from node_cli.ode.penalties import StageValues, StepPenalty, error_of_step, stiffness_of_step
from node_cli.ode.problem import Problem
from node_cli.ode.sensitivity.backsolve import Backsolve
from node_cli.ode.sensitivity.discrete import Checkpointed, Discrete, OfSteps
from node_cli.ode.solver import FirstSteps, Solver
from node_cli.ode.work import Work


class Field(nn.Module):
    """tanh(W [y, t]), in float64."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(3)
        self.weight = nn.Parameter(2 * torch.randn(4, 5, dtype=torch.float64, generator=generator))

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return (torch.cat([y, t.expand(len(y), 1)], 1) @ self.weight.T).tanh()


ERROR = StepPenalty(lambda solver, step: error_of_step(solver, step) * abs(step.dt))
STIFFNESS = StepPenalty(stiffness_of_step)
ONE = StepPenalty(ERROR.measure, place=0.4)
STATES = StepPenalty(lambda solver, step: sum(s.square().sum() for s in step.states))  # type: ignore

SOLVERS = {
    "tsit5": Solver("tsit5", rtol=1e-3, atol=1e-3, first_step=0.2),
    "dopri5": Solver("dopri5", rtol=1e-4, atol=1e-4, first_step=0.1),
    "bosh3": Solver("bosh3", rtol=1e-2, atol=1e-2, first_step=0.1),
    "adaptive_heun": Solver("adaptive_heun", rtol=1e-1, atol=1e-1, first_step=0.1),
    "dopri8": Solver("dopri8", rtol=1e-5, atol=1e-5, first_step=0.3),
    "rk4": Solver("rk4", n_steps=3),
}


def start() -> Tensor:
    generator = torch.Generator().manual_seed(5)
    return torch.randn(3, 4, dtype=torch.float64, generator=generator)


def penalties_for(solver: Solver) -> tuple[StepPenalty, ...]:
    found = [STATES]
    if solver.tableau.adaptive:
        found += [ERROR, ONE]
    if solver.tableau.stages_at_one_time:
        found.append(STIFFNESS)
    return tuple(found)


def solved(
    field: nn.Module,
    y0: Tensor,
    solver: Solver,
    method: OfSteps,
    penalties: tuple[StepPenalty, ...],
    work: Work | None = None,
) -> Tensor:
    """A loss of all states and all penalties."""
    t = torch.tensor([0.0, 0.4, 1.3], dtype=torch.float64)
    y, r = method.penalised(
        Problem.posed(field, y0, t, solver, work or Work(), penalties=penalties)
    )
    weights = torch.linspace(0.5, 2.0, len(r), dtype=torch.float64)
    return (
        y * torch.linspace(-1, 1, y.numel(), dtype=torch.float64).view_as(y)
    ).sum() + weights @ r


@pytest.mark.parametrize("method", [Discrete(), Checkpointed()], ids=lambda m: m.name)
@pytest.mark.parametrize("name", SOLVERS)
def test_gradients_are_those_of_finite_differences(name: str, method: OfSteps) -> None:
    """Of the numbers that the fixed sequence of steps gives: step sizes are constants."""
    solver, field, y0 = SOLVERS[name], Field(), start().requires_grad_()
    penalties = penalties_for(solver)
    loss = solved(field, y0, solver, method, penalties)
    loss.backward()
    steps = accepted_steps(field, y0.detach(), solver)
    generator = torch.Generator().manual_seed(0)
    # The stages at one time of dopri8 are so close that differences of their slopes are rounded.
    size, rtol = (1e-4, 1e-5) if name == "dopri8" else (1e-6, 1e-6)
    for x in (y0, field.weight):
        direction = torch.randn(x.shape, dtype=torch.float64, generator=generator)
        values = []
        for sign in (1, -1):
            with torch.no_grad():
                x += sign * size * direction
                values.append(by_given_steps(field, y0, solver, steps, penalties))
                x -= sign * size * direction
        expected = (values[0] - values[1]) / (2 * size)
        torch.testing.assert_close((x.grad * direction).sum(), expected, rtol=rtol, atol=1e-7)
    torch.testing.assert_close(
        loss.detach(), by_given_steps(field, y0.detach(), solver, steps, penalties)
    )


def accepted_steps(field: nn.Module, y0: Tensor, solver: Solver) -> list[tuple[float, float]]:
    steps: list[tuple[float, float]] = []
    t = torch.tensor([0.0, 0.4, 1.3], dtype=torch.float64)
    with torch.no_grad():
        integrate(
            Stepper(field, solver),
            y0,
            t,
            solver,
            on_accept=lambda step, *_: steps.append((step.t0, step.t1)),
        )
    return steps


def by_given_steps(
    field: Callable[[Tensor, Tensor], Tensor],
    y: Tensor,
    solver: Solver,
    steps: list[tuple[float, float]],
    penalties: tuple[StepPenalty, ...],
) -> Tensor:
    """The loss of ``solved`` by steps of these sizes, written out."""
    tableau, states, sums = solver.tableau, [y], [0.0] * len(penalties)
    for j, (t0, t1) in enumerate(steps):
        at, slopes = [], []
        for c, row in zip(tableau.c, tableau.a, strict=True):
            at.append(
                y
                + (t1 - t0)
                * sum((a * k for a, k in zip(row, slopes, strict=True)), torch.zeros_like(y))
            )
            slopes.append(field(torch.tensor(t0 + c * (t1 - t0), dtype=torch.float64), at[-1]))
        y1 = y + (t1 - t0) * sum(b * k for b, k in zip(tableau.b, slopes, strict=True))
        values = StageValues(at, slopes, y1, t1 - t0)
        for p, penalty in enumerate(penalties):
            if penalty.counts(j, len(steps)):
                sums[p] += penalty.measure(solver, values)
        y = y1
        if t1 in (0.4, 1.3):
            states.append(y)
    all_states = torch.stack(states)
    weights = torch.linspace(0.5, 2.0, len(sums), dtype=torch.float64)
    signs = torch.linspace(-1, 1, all_states.numel(), dtype=torch.float64).view_as(all_states)
    return (all_states * signs).sum() + weights @ torch.stack(sums)


def test_both_methods_agree_and_a_second_backward_pass_does() -> None:
    solver, field = SOLVERS["tsit5"], Field()
    found = []
    for method in (Discrete(), Checkpointed()):
        loss = solved(field, start(), solver, method, penalties_for(solver))
        for _ in range(2):
            (gradient,) = torch.autograd.grad(loss, [field.weight], retain_graph=True)
            found.append(gradient)
    for other in found[1:]:
        torch.testing.assert_close(found[0], other, rtol=1e-14, atol=1e-14)


def test_a_penalty_costs_one_product_and_no_evaluation() -> None:
    solver, field, y0 = SOLVERS["tsit5"], Field(), start()
    t = torch.tensor([0.0, 1.3], dtype=torch.float64)
    plain, penalised = Work(), Work()
    Discrete()(field, y0, t, solver, plain, FirstSteps()).sum().backward()
    y, r = Discrete().penalised(Problem.posed(field, y0, t, solver, penalised, penalties=(ERROR,)))
    (y.sum() + r.sum()).backward()
    assert penalised.nfe_forward == plain.nfe_forward
    assert penalised.nfe_backward == 0
    assert penalised.vjps_backward == plain.vjps_backward + 1


def test_the_error_is_the_one_that_the_solver_compares_with_one() -> None:
    solver, field, y0 = SOLVERS["tsit5"], Field(), start()
    seen = []

    def look(step, first, attempt) -> None:  # type: ignore[no-untyped-def]
        stages = attempt.stages
        values = StageValues([s.y for s in stages], [s.k for s in stages], attempt.y1, step.dt)
        seen.append((float(error_of_step(solver, values)), attempt.error))

    with torch.no_grad():
        t = torch.tensor([0.0, 1.3], dtype=torch.float64)
        integrate(Stepper(field, solver), y0, t, solver, on_accept=look)
    assert seen
    for ours, of_solver in seen:
        assert ours == pytest.approx(of_solver, rel=1e-12)


def test_the_stiffness_of_a_linear_ode_is_its_largest_eigenvalue() -> None:
    """Of -50 y it is 50, at every step."""
    solver = Solver("tsit5", rtol=1e-6, atol=1e-6)
    y0 = torch.ones(1, 1, dtype=torch.float64)
    seen = []

    def look(step, first, attempt) -> None:  # type: ignore[no-untyped-def]
        stages = attempt.stages
        values = StageValues([s.y for s in stages], [s.k for s in stages], attempt.y1, step.dt)
        seen.append(float(stiffness_of_step(solver, values)))

    with torch.no_grad():
        t = torch.tensor([0.0, 0.5], dtype=torch.float64)
        integrate(Stepper(lambda t, y: -50 * y, solver), y0, t, solver, on_accept=look)
    assert seen == pytest.approx([50.0] * len(seen))


def test_a_step_without_any_change_has_no_stiffness() -> None:
    still = torch.zeros(2, 3, dtype=torch.float64)
    step = StageValues([still] * 7, [still] * 7, still, 0.1)
    assert float(stiffness_of_step(SOLVERS["tsit5"], step)) == 0


def test_other_methods_refuse() -> None:
    solver, field = SOLVERS["tsit5"], Field()
    t = torch.tensor([0.0, 1.0], dtype=torch.float64)
    with pytest.raises(ValueError, match="no steps to differentiate"):
        Backsolve(solver, "full").penalised(
            Problem.posed(field, start(), t, solver, Work(), penalties=(ERROR,))
        )
