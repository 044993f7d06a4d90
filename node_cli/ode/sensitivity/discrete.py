"""Discretise, then optimise: the exact gradient of the numerical solution."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from node_cli.ode.reference import integrate
from node_cli.ode.solver import Solver
from node_cli.ode.work import Autocast, CountedField, Work


@dataclass(frozen=True)
class Discrete:
    """Reverse-mode differentiation of the solver's own steps, step sizes held constant.

    Gives dL/dtheta, dL/dy0 and, when t requires grad, dL/dt of the numerical solution, exact to
    rounding at any tolerance. Memory: NFE times the activations of f. Cost: one VJP for every
    evaluation of f that the result depends on, no further evaluation. Do not use it where that
    memory does not fit, or with scipy, whose solution carries no gradient.

    Source: Gholami, Keutzer and Biros, "ANODE: Unconditionally accurate memory-efficient gradients
    for neural ODEs", IJCAI 2019, section 3 (the discretise-then-optimise gradient).
    """

    def __call__(
        self, field: nn.Module, y0: Tensor, t: Tensor, solver: Solver, work: Work
    ) -> Tensor:
        assert solver.name != "scipy" or not torch.is_grad_enabled(), "has no gradient"
        counted = CountedField(field, work, Autocast(y0.device.type))
        y, steps = integrate(counted, y0, t, solver)
        work.forward.add(steps)
        return y
