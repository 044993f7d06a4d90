"""How large the first step is, and the next one."""

import math
from typing import Protocol

import torch

from node_cli.ode.engines.eager.step import Stage, Stepper
from node_cli.ode.norms import Norm
from node_cli.ode.solver import Solver

SAFETY = 0.9
SMALLEST_FACTOR = 0.2
LARGEST_FACTOR = 10.0
SMALLEST_ERROR = 1e-10  # a step without error says nothing about the next


class Controller(Protocol):
    """Proposes by which factor to change the step size after a step.

    ``error``: the estimate of the local error in units of the tolerance; a step is accepted where
    it is at most 1.
    """

    def factor(self, error: float) -> float: ...


class Integral:
    """factor = 0.9 error^(-1/k), within [0.2, 10], and at least 1 after an accepted step.

    ``order``: k, that of the method. The controller of torchdiffeq. Source: Hairer, Norsett and
    Wanner, "Solving Ordinary Differential Equations I", 2nd ed., sec. II.4, eq. (4.13).
    """

    def __init__(self, order: int) -> None:
        self.order = order

    def factor(self, error: float) -> float:
        if error == 0:
            return LARGEST_FACTOR
        smallest = 1.0 if error < 1 else SMALLEST_FACTOR
        return min(LARGEST_FACTOR, max(SAFETY * math.pow(error, -1 / self.order), smallest))


class ProportionalIntegral:
    """factor = 0.9 error^(-0.7/k) previous^(0.4/k), within [0.2, 10], at most 1 after a rejection.

    ``previous``: the error of the last accepted step. Smoother step sizes than ``Integral`` where
    stability rather than accuracy limits them. Source: Hairer and Wanner, "Solving Ordinary
    Differential Equations II", 2nd ed., sec. IV.2, eq. (2.43c).
    """

    def __init__(self, order: int) -> None:
        self.order = order
        self.previous = 1.0

    def factor(self, error: float) -> float:
        error = max(error, SMALLEST_ERROR)
        factor = SAFETY * math.pow(error, -0.7 / self.order)
        factor *= math.pow(self.previous, 0.4 / self.order)
        factor = min(LARGEST_FACTOR, max(factor, SMALLEST_FACTOR))
        if error > 1:
            return min(1.0, factor)
        self.previous = error
        return factor


def controller(solver: Solver) -> Controller:
    """The one that the solver asks for."""
    order = solver.tableau.order
    return ProportionalIntegral(order) if solver.controller == "pi" else Integral(order)


@torch.no_grad()
def initial_step(
    stepper: Stepper, t0: float, first: Stage, direction: float, solver: Solver, norm: Norm
) -> float:
    """A first step size (positive) from the scales of y, f and its change over a tiny step.

    ``first``: f at (t0, y0). ``direction``: 1 or -1. Costs one evaluation of f. NaN where f is not
    finite. Source: Hairer, Norsett and Wanner, "Solving Ordinary Differential Equations I", 2nd
    ed., sec. II.4, with torchdiffeq's rounding of its rules.
    """
    assert solver.rtol is not None
    assert solver.atol is not None
    _, y0, f0 = first
    scale = y0.abs().mul_(solver.rtol).add_(solver.atol)
    d0, d1 = torch.stack([norm(y0 / scale), norm(f0 / scale)]).tolist()
    h0 = 1e-6 if d0 < 1e-5 or d1 < 1e-5 else 0.01 * d0 / d1
    f1 = stepper.probe(t0 + direction * h0, torch.add(y0, f0, alpha=direction * h0))
    d2 = float(norm((f1 - f0) / scale)) / h0 if h0 else math.nan
    if d1 <= 1e-15 and d2 <= 1e-15:
        h1 = max(1e-6, h0 * 1e-3)
    else:
        h1 = (0.01 / max(d1, d2)) ** (1 / solver.tableau.order)
    return min(100 * h0, h1)
