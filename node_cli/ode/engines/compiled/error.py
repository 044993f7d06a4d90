"""The error of a trial step, in the body of a compiled loop."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from node_cli.ode.engines.formulas import traced_sum
from node_cli.ode.norms import Norm
from node_cli.ode.solver import Solver


def error_of(
    solver: Solver, norm: Norm, y: Tensor, y1: Tensor, slopes: Sequence[Tensor], dt: Tensor
) -> Tensor:
    """The estimated local error in units of the tolerance, float64, NaN where a stage or y1 is not
    finite; ``Stepper._error`` is the twin for eager steps."""
    weights = solver.tableau.b_error
    assert weights is not None
    assert solver.rtol is not None
    assert solver.atol is not None
    error = traced_sum(torch.zeros_like(y), weights, slopes, dt)
    # An infinite y1 would have an error of zero in these units; f(t1, y1) may have no weight.
    error = torch.where(y1.isfinite() & slopes[-1].isfinite(), error, math.nan)
    return norm(error / (solver.atol + solver.rtol * torch.maximum(y.abs(), y1.abs()))).double()


def nan_if_hopeless(error: Tensor, y: Tensor, k: Tensor) -> Tensor:
    """The error; NaN where it is infinite because y or k, where the step begins, is not finite: no
    smaller step helps. A loop of one turn or none."""

    def look(go: Tensor, error: Tensor) -> tuple[Tensor, Tensor]:
        finite = y.isfinite().all() & k.isfinite().all()
        return torch.zeros_like(go), torch.where(finite, error, math.nan)

    found: Tensor
    start = (error.isinf().long(), error.clone())
    _, found = torch.while_loop(lambda go, _: go > 0, look, start)
    return found
