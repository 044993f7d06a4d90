"""A solve with fixed steps, written out: a graph without loops and branches, to be exported."""

from torch import Tensor, nn

from node_cli.ode.engines.eager.step import plain, stages_of_step
from node_cli.ode.engines.formulas import stage_times, weighted_sum
from node_cli.ode.engines.step_control import end_of_equal_step
from node_cli.ode.solver import Solver
from node_cli.ode.tableaus import TABLEAUS
from node_cli.ode.transfer import scalar


class Unrolled(nn.Module):
    """y(t1) of dy/dt = field(t, y) from y(t0), by the steps that the eager engine takes.

    ``solver``: one that ``can_be_unrolled``. Nothing is counted or checked. The graph is as long as
    there are evaluations of f.
    """

    def __init__(self, field: nn.Module, t0: float, t1: float, solver: Solver) -> None:
        super().__init__()
        assert can_be_unrolled(solver)
        self.field = field
        self.t0, self.t1 = t0, t1
        self.tableau = solver.tableau
        self.count = solver.steps_in(t1 - t0)

    def forward(self, y: Tensor) -> Tensor:
        tableau, evaluate, t = self.tableau, plain(self.field), self.t0
        for j in range(self.count):
            end = end_of_equal_step(self.t0, self.t1, j, self.count)
            times = [t, *stage_times(tableau, t, end, y.dtype)]
            moments = [scalar(time, y) for time in times]
            first = evaluate(moments[0], y)
            stages = stages_of_step(
                evaluate, tableau, first, moments, end - t, tableau.stages_of_result
            )
            slopes = [stage.k for stage in stages]
            y = weighted_sum(y, [b * (end - t) for b in tableau.b[: len(slopes)]], slopes)
            t = end
        return y


def can_be_unrolled(solver: Solver) -> bool:
    """Whether its steps depend on nothing but the interval, and are those of a tableau of ours."""
    return solver.method.kind == "fixed" and solver.name in TABLEAUS and not solver.jump_t
