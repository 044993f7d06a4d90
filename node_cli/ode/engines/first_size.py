"""The size of a first step by tensors alone: in compiled loops, and where asking for a number means
that the host waits for a device."""

from torch import Tensor

from node_cli.ode.engines.step_control import first_size, probing_size
from node_cli.ode.field import Field
from node_cli.ode.norms import Norm
from node_cli.ode.solver import Solver


def heuristic_size(
    f: Field, norm: Norm, solver: Solver, t: Tensor, direction: Tensor | float, y: Tensor, k: Tensor
) -> tuple[Tensor, Tensor]:
    """``first_size`` from the scales of y, f and its change over a tiny step; and the sum of the
    first two scales, which is finite where y and f are.

    ``t``: where the solve begins, 0-dim float64, as are the results. ``k``: f(t, y). Cost: one
    evaluation. The twin of ``_heuristic_size`` of eager steps.
    """
    assert solver.rtol is not None
    assert solver.atol is not None
    scale = y.abs() * solver.rtol + solver.atol
    d0, d1 = norm(y / scale).to(t.dtype), norm(k / scale).to(t.dtype)
    h0 = probing_size(d0, d1)
    h = direction * h0
    probe = f((t + h).to(y.dtype), y + h.to(y.dtype) * k)
    d2 = norm((probe - k) / scale).to(t.dtype) / h0
    size: Tensor = first_size(h0, d1, d2, solver.tableau.order)
    return size, d0 + d1
