"""The interface that every sensitivity method implements."""

from typing import Protocol

from torch import Tensor, nn

from node_cli.ode.solver import Solver
from node_cli.ode.work import Work


class Sensitivity(Protocol):
    """Solves dy/dt = field(t, y) so that a backward pass through the result is defined.

    ``field``: a module called as ``field(t, y)`` with t 0-dim. ``y0``: any shape. ``t``: (T,),
    monotonic. Returns y at the requested times, ``(T, *y0.shape)``. The cost of the forward solve
    and, once it has run, of the backward pass is added to ``work``. Buffers, such as a BatchNorm's
    statistics, see every forward evaluation, and no backward one. Raises ``SolveFailed``.
    """

    def __call__(
        self, field: nn.Module, y0: Tensor, t: Tensor, solver: Solver, work: Work
    ) -> Tensor: ...
