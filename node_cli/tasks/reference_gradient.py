"""The reference gradient of check_gradients, and how far others are from it."""

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn

from node_cli.models.model import Model
from node_cli.ode.failures import SolveFailed
from node_cli.ode.sensitivity.discrete import Checkpointed
from node_cli.ode.solver import Solver
from node_cli.ode.work import Work
from node_cli.records.columns import GRADIENTS
from node_cli.records.measures import work_cells

REFERENCE = "dopri8"
TOLERANCES = (1e-4, 1e-7, 1e-10)
MOST_NFE = 1000  # of one solve; an f with kinks (ReLU) may need as many

DIRECTIONS = 4
# The length of a step, relative to the norm of all parameters. It is small because a step across
# the kink of a ReLU makes the difference wrong (by 2e-3 with 1e-6, by 2e-8 with 1e-7, on 8 images
# of the conv model); the error by rounding is about 1e-7.
DIFFERENCE = 1e-7

Row = dict[str, Any]
"""A row of gradients.csv."""


class Reference:
    """The model in float64 under dopri8, and its gradient at the tightest tolerance that works.

    It is computed by ``checkpointed``: the gradient of ``discrete``, in the memory of one step.
    """

    def __init__(self, model: Model, loss: Callable[[Model], Tensor]) -> None:
        """Compute the gradient. Raises ``SolveFailed`` where even the loosest tolerance fails.

        ``loss``: returns the loss of a batch under a copy of ``model`` on any device, of any dtype.
        """
        device = next(model.parameters()).device
        here = torch.device("cpu") if device.type == "mps" else device  # has no float64
        self.model = model = deepcopy(model).to(here, torch.float64)
        self.loss: Callable[[], Tensor] = lambda: loss(model)
        for block in model.ode_blocks:
            block.sensitivity = Checkpointed()
        jump_t = model.ode_blocks[0].solver.jump_t
        found: list[tuple[Solver, Tensor, Tensor, Row]] = []
        for tol in TOLERANCES:
            solver = Solver(REFERENCE, rtol=tol, atol=tol, max_nfe=MOST_NFE, jump_t=jump_t)
            _solve_by(solver, model)
            model.zero_grad()
            model.take_work()
            try:
                value = self.loss()
            except SolveFailed:
                if not found:
                    raise
                break
            value.backward()
            found.append((solver, *_gradients(model), work_of(model)))
        *coarser, (self.solver, self.gradient, self.gradient_of_f, self.work) = found
        self.coarser = coarser[-1][1:3] if coarser else None
        _solve_by(self.solver, model)

    def row(self) -> Row:
        """Return the row of the reference: how it differs from a 1000 times looser one."""
        note = f"float64, {self.solver}; its error is against itself at 1000 times the tolerance"
        row = empty_row("reference", note) | self.work
        if self.coarser is not None:
            row |= self._difference(*self.coarser)
        return row

    def compared(self, model: Model) -> Row:
        """Return the errors of the gradient that a model holds, as columns of gradients.csv."""
        return self._difference(*_gradients(model))

    def _difference(self, gradient: Tensor, of_f: Tensor) -> Row:
        error_of_f = (of_f - self.gradient_of_f).norm() / self.gradient_of_f.norm()
        return _difference(gradient, self.gradient) | {"relative_error_f": _number(error_of_f)}

    @torch.no_grad()
    def finite_differences(self, generator: torch.Generator) -> Row:
        """Compare the gradient with central differences of the loss along random directions.

        Both are vectors with an entry for each direction. Cost: two solves for each.
        """
        parameters = [p for p in self.model.parameters() if p.requires_grad]
        values = [p.clone() for p in parameters]
        at = torch.cat([v.flatten() for v in values])
        step = DIFFERENCE * float(at.norm()) or DIFFERENCE
        found, expected = [], []
        for _ in range(DIRECTIONS):
            drawn = torch.randn(len(at), generator=generator, dtype=torch.float64)
            direction = (drawn / drawn.norm()).to(at.device)
            losses = []
            for sign in (1, -1):
                moved = (at + sign * step * direction).split([v.numel() for v in values])
                for parameter, value in zip(parameters, moved, strict=True):
                    parameter.copy_(value.view_as(parameter))
                losses.append(self.loss())
            found.append((losses[0] - losses[1]) / (2 * step))
            expected.append(self.gradient @ direction.cpu())
        for parameter, value in zip(parameters, values, strict=True):
            parameter.copy_(value)
        a, b = torch.stack(found).cpu(), torch.stack(expected)
        note = f"central differences of the loss in {DIRECTIONS} random directions"
        return empty_row("finite_differences", note) | _difference(a, b)


def empty_row(name: str, note: str | None = None) -> Row:
    """Return a row of gradients.csv without numbers."""
    return dict.fromkeys(GRADIENTS.columns) | {"sensitivity": name, "note": note}


def _solve_by(solver: Solver, model: Model) -> None:
    for block in model.ode_blocks:
        block.solver = solver


def _gradients(model: Model) -> tuple[Tensor, Tensor]:
    """The gradient by all trained parameters of a model, and the one by those of f alone."""
    return _gradient(model), _gradient(nn.ModuleList(block.field for block in model.ode_blocks))


def _gradient(module: nn.Module) -> Tensor:
    """The gradient by every trained parameter as one vector, float64 on the CPU."""
    parts = [
        torch.zeros_like(p) if p.grad is None else p.grad
        for p in module.parameters()
        if p.requires_grad
    ]
    return torch.cat([p.detach().flatten().double().cpu() for p in parts or [torch.zeros(0)]])


def _difference(found: Tensor, expected: Tensor) -> Row:
    """Relative error in the Euclidean norm, and cosine; None where they are not finite."""
    cosine = found @ expected / (found.norm() * expected.norm())
    return {
        "relative_error": _number((found - expected).norm() / expected.norm()),
        "cosine": _number(cosine.clamp(-1, 1)),
    }


def _number(x: Tensor) -> float | None:
    return float(x) if bool(x.isfinite()) else None


def work_of(model: Model) -> Row:
    """Take what the ODE blocks have counted, as columns of gradients.csv."""
    work = model.take_work()
    assert isinstance(work, Work)
    work.read()
    return work_cells(work)
