"""The accounting: evaluations of f, VJPs and steps, counted by hand."""

import pytest
import torch
from torch import Tensor, nn

from node_cli.ode.sensitivity.backsolve import Backsolve
from node_cli.ode.sensitivity.discrete import Checkpointed, Discrete
from node_cli.ode.sensitivity.gauss import Gauss
from node_cli.ode.sensitivity.interpolating import Interpolating
from node_cli.ode.sensitivity.method import Sensitivity
from node_cli.ode.solver import Solver
from node_cli.ode.work import Steps, Work
from tests.ode.problems import solve_densely


class Probe(nn.Module):
    """A field that counts its own forward and backward calls, independently of ``Work``."""

    def __init__(self, stiffness: float = 1.0) -> None:
        super().__init__()
        self.rate = nn.Parameter(torch.tensor(stiffness, dtype=torch.float64))
        self.calls = 0
        self.vjps = 0

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        self.calls += 1
        # The product's own gradient is computed once per VJP of f.
        product = self.rate * (torch.cos(5 * t) - y)
        if product.requires_grad:
            product.register_hook(self._count)
        return product

    def _count(self, _: Tensor) -> None:
        self.vjps += 1


def solve(
    field: Probe, solver: Solver, sensitivity: Sensitivity, times: tuple[float, ...] = (0.0, 1.0)
) -> tuple[Work, int, int, int]:
    """Work, and the calls that the field itself saw: forward, backward, VJPs."""
    work = Work()
    y0 = torch.tensor([0.5, -1.0], dtype=torch.float64, requires_grad=True)
    y = sensitivity(field, y0, torch.tensor(times, dtype=torch.float64), solver, work)
    forward = field.calls
    y[-1].square().sum().backward()
    return work, forward, field.calls - forward, field.vjps


def total(steps: Steps) -> int:
    assert steps.accepted is not None
    assert steps.rejected is not None
    return steps.accepted + steps.rejected


EULER = Solver("euler", n_steps=7)
RK4 = Solver("rk4", step_size=0.25)
DOPRI5 = Solver("dopri5", rtol=1e-6, atol=1e-6)
SMOOTH = Solver("dopri5", rtol=1e-2, atol=1e-2)
REJECTING = Solver("dopri5", rtol=1e-6, atol=1e-6, first_step=1.0)


def test_euler_and_rk4() -> None:
    work, forward, backward, vjps = solve(Probe(), EULER, Discrete())
    assert (work.nfe_forward, forward) == (7, 7)
    assert (work.forward.accepted, work.forward.rejected) == (7, 0)
    work, forward, backward, vjps = solve(Probe(), RK4, Discrete())
    assert (work.nfe_forward, forward) == (16, 16)
    assert work.forward.accepted == 4
    assert work.nfe_backward == backward == 0
    assert work.vjps_backward == vjps == 16


def test_dopri5_without_rejected_steps() -> None:
    """f(t0), the heuristic, then 6 a step: FSAL saves the seventh."""
    work, forward, backward, vjps = solve(Probe(), SMOOTH, Discrete())
    assert work.forward.rejected == 0
    assert work.forward.accepted is not None
    assert work.nfe_forward == forward == 2 + 6 * work.forward.accepted
    # The last stage of the last step and the heuristic's f do not reach the result.
    assert work.vjps_backward == vjps == 6 * work.forward.accepted
    assert work.nfe_backward == backward == 0
    assert (work.backward.accepted, work.backward.rejected) == (0, 0)


def test_dopri5_with_rejected_steps() -> None:
    work, forward, _, vjps = solve(Probe(30.0), REJECTING, Discrete())
    assert work.forward.rejected
    # first_step replaces the heuristic and its evaluation of f.
    assert work.nfe_forward == forward == 1 + 6 * total(work.forward)
    assert work.vjps_backward == vjps == 6 * (total(work.forward) - work.forward.rejected)


@pytest.mark.parametrize("norm", ["full", "seminorm"])
def test_backsolve_with_dopri5(norm: str) -> None:
    work, forward, backward, vjps = solve(Probe(), DOPRI5, Backsolve(norm))
    assert work.nfe_forward == forward == 2 + 6 * total(work.forward)
    assert work.nfe_backward == backward == 2 + 6 * total(work.backward)
    assert work.vjps_backward == vjps == work.nfe_backward


def test_backsolve_over_several_intervals() -> None:
    """The backward solve starts anew at each requested time."""
    work, forward, backward, vjps = solve(Probe(), EULER, Backsolve(), (0.0, 0.3, 1.0))
    assert work.nfe_forward == forward == 14
    assert work.nfe_backward == backward == work.vjps_backward == vjps == 14
    assert work.backward.accepted == 14


def test_backsolve_with_another_backward_solver() -> None:
    work, _, backward, _ = solve(Probe(), EULER, Backsolve(solver=RK4))
    assert work.nfe_forward == 7
    assert work.nfe_backward == backward == 16


@pytest.mark.parametrize("solver", [EULER, RK4, SMOOTH, REJECTING], ids=str)
def test_checkpointed_recomputes_the_stages_that_the_result_depends_on(solver: Solver) -> None:
    """Of accepted steps alone: 6 of dopri5's 7, its last serving the error estimate."""
    work, forward, backward, vjps = solve(Probe(30.0), solver, Checkpointed())
    discrete, *_ = solve(Probe(30.0), solver, Discrete())
    assert work.nfe_forward == forward == discrete.nfe_forward
    assert work.forward == discrete.forward
    assert work.forward.accepted is not None
    stages = solver.tableau.stages_of_result * work.forward.accepted
    assert work.nfe_backward == backward == work.vjps_backward == vjps == stages
    assert vjps == discrete.vjps_backward
    assert (work.backward.accepted, work.backward.rejected) == (0, 0)


def test_interpolating_costs_one_f_and_one_vjp_per_backward_stage() -> None:
    work, forward, backward, vjps = solve(Probe(), DOPRI5, Interpolating())
    assert work.nfe_forward == forward == 2 + 6 * total(work.forward)
    # The forward solve knows the first step size: no evaluation to find one.
    assert work.nfe_backward == backward == 1 + 6 * total(work.backward)
    assert work.vjps_backward == vjps == work.nfe_backward


@pytest.mark.parametrize(("solver", "nodes"), [(DOPRI5, 3), (Solver("bosh3", 1e-3, 1e-3), 2)])
def test_gauss_costs_one_more_of_each_per_node(solver: Solver, nodes: int) -> None:
    """Nodes of the quadrature over each accepted backward step."""
    work, forward, backward, vjps = solve(Probe(), solver, Gauss())
    stages = solver.tableau.stages - 1
    assert work.nfe_forward == forward == 2 + stages * total(work.forward)
    assert work.backward.accepted is not None
    expected = 1 + stages * total(work.backward) + nodes * work.backward.accepted
    assert work.nfe_backward == backward == work.vjps_backward == vjps == expected


@pytest.mark.parametrize("sensitivity", [Interpolating(), Gauss()])
def test_dense_output_of_dopri8_costs_four_evaluations_per_accepted_step(
    sensitivity: Sensitivity,
) -> None:
    """Forward; and backward where lambda is interpolated, for gauss with its four nodes."""
    solver = Solver("dopri8", rtol=1e-8, atol=1e-8, first_step=1.0)
    work, forward, backward, vjps = solve(Probe(30.0), solver, sensitivity)
    assert work.forward.rejected
    assert work.forward.accepted is not None
    assert work.backward.accepted is not None
    assert work.nfe_forward == forward == 1 + 13 * total(work.forward) + 4 * work.forward.accepted
    extra = 4 + 4 if isinstance(sensitivity, Gauss) else 0
    expected = 1 + 13 * total(work.backward) + extra * work.backward.accepted
    assert work.nfe_backward == backward == work.vjps_backward == vjps == expected


class Stopwatch(Probe):
    """Remembers when it was evaluated."""

    def __init__(self) -> None:
        super().__init__()
        self.times: list[float] = []

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        self.times.append(float(t))
        return super().forward(t, y)


def test_a_backward_solve_begins_with_the_step_size_natural_to_the_forward_one() -> None:
    field, y0 = Stopwatch(), torch.tensor([0.5, -1.0], dtype=torch.float64)
    trajectory = solve_densely(field, y0, torch.tensor([0.0, 3.0]).double(), DOPRI5)[2]
    size = trajectory.longest_step(3.0)
    assert 0 < size < 1
    field = Stopwatch()
    _, forward, _, _ = solve(field, DOPRI5, Interpolating(), (0.0, 3.0))
    start, second = field.times[forward : forward + 2]
    assert start == 3.0
    assert start - second == pytest.approx(size / 5)  # c = 1/5


def test_a_backward_solve_that_is_told_nothing_finds_its_first_step() -> None:
    """After equal steps, whose size says nothing about the tolerance."""
    work, *_ = solve(Probe(), RK4, Interpolating(solver=DOPRI5))
    assert work.nfe_backward == 2 + 6 * total(work.backward)


@pytest.mark.parametrize("sensitivity", [Interpolating(), Gauss()])
def test_dense_output_of_fixed_steps_costs_f_at_the_end(sensitivity: Sensitivity) -> None:
    work, forward, backward, _ = solve(Probe(), EULER, sensitivity, (0.0, 0.3, 1.0))
    assert work.nfe_forward == forward == 14 + 1
    # Gauss: f at the end of each of the two backward solves, two nodes in each of 14 steps.
    extra = 2 + 2 * 14 if isinstance(sensitivity, Gauss) else 0
    assert work.nfe_backward == backward == 14 + extra
    assert work.backward.accepted == 14


def test_scipy_reports_no_steps() -> None:
    solver = Solver("scipy", rtol=1e-3, atol=1e-3, scipy_method="RK45")
    work, forward, backward, vjps = solve(Probe(), solver, Backsolve())
    assert (work.nfe_forward, work.nfe_backward) == (forward, backward)
    assert work.vjps_backward == vjps
    assert work.forward.accepted is work.backward.rejected is None


def test_without_gradient_only_the_forward_solve_is_counted() -> None:
    work = Work()
    with torch.no_grad():
        y0 = torch.ones(2, dtype=torch.float64)
        t = torch.tensor([0.0, 1.0], dtype=torch.float64)
        Backsolve()(Probe(), y0, t, EULER, work)
    assert (work.nfe_forward, work.nfe_backward, work.vjps_backward) == (7, 0, 0)
