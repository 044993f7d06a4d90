"""A penalty on one further step."""

from torch import Tensor

from node_cli.ode.engines.eager.single_step import single_step
from node_cli.ode.field import Field
from node_cli.ode.penalties import error_of_step
from node_cli.ode.solver import Solver
from node_cli.regularisers.regulariser import OfMoment


class Local(OfMoment):
    """E |h| of one step from a time that is drawn from the interval, each as likely as the others.

    The step has the size that the solver would take there, as a constant. It is differentiated by
    autograd, and y, where it begins, by the gradient method of the solve.
    """

    def measure(self, f: Field, solver: Solver, t: float, y: Tensor, end: float) -> Tensor:
        step = single_step(f, solver, t, y, end)
        return error_of_step(solver, step) * abs(step.dt)
