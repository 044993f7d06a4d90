"""A sensitivity method with a backward pass of its own, as one autograd function."""

from abc import ABC, abstractmethod
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from node_cli.ode import native, reference
from node_cli.ode.compiled import CompiledSteps
from node_cli.ode.functional import untouched_buffers
from node_cli.ode.native import OnAccept
from node_cli.ode.sensitivity.linearised import Linearised
from node_cli.ode.solver import Solver
from node_cli.ode.step import EagerStepper, Stepper
from node_cli.ode.trajectory import Trajectory
from node_cli.ode.work import Autocast, CountedField, Work


@dataclass(frozen=True)
class Problem:
    """What is to be solved, how, and where its cost is counted."""

    field: nn.Module
    t: Tensor
    solver: Solver
    work: Work
    autocast: Autocast
    parameters: list[nn.Parameter]
    y_shape: torch.Size

    @property
    def compiled(self) -> CompiledSteps | None:
        """The field, if its steps are compiled."""
        return self.field if isinstance(self.field, CompiledSteps) else None

    def stepper(self, *, dense: bool = False) -> Stepper:
        """Steps of the forward solve. ``dense``: a ``Trajectory`` is to be made of them."""
        if self.compiled:
            count = self.work.evaluated
            return self.compiled.stepper(self.solver, self.autocast, count, dense=dense)
        return EagerStepper(self.counted(), self.solver)

    def backward_solver(self, chosen: Solver | None) -> Solver:
        """By default the forward one, but for its first step: the adjoint has another scale."""
        return chosen or replace(self.solver, first_step=None)

    def counted(self, *, backward: bool = False) -> CountedField:
        """f without a graph."""
        return CountedField(self.field, self.work, self.autocast, backward=backward)

    @torch.no_grad()
    def solve(
        self, y0: Tensor, on_accept: OnAccept = lambda *_: None, *, dense: bool = False
    ) -> Tensor:
        """y at the requested times, without a graph. ``on_accept``: native engine only."""
        if self.solver.engine == "torchdiffeq":
            y, steps = reference.integrate(self.counted(), y0, self.t, self.solver)
        else:
            stepper = self.stepper(dense=dense)
            y, steps = native.integrate(
                stepper, y0.detach(), self.t, self.solver, on_accept=on_accept
            )
        self.work.forward.add(steps)
        return y

    def solve_densely(self, y0: Tensor) -> tuple[Tensor, Trajectory]:
        """The same, and its dense output."""
        trajectory = Trajectory(self.solver.tableau)
        y = self.solve(y0, trajectory.record, dense=True)
        trajectory.finish(self.stepper())
        return y, trajectory

    def linearised(
        self, *, backward: bool = True, with_parameters: bool = True, with_time: bool = False
    ) -> Linearised:
        """f with a graph around each evaluation."""
        return Linearised(
            self.counted(backward=backward),
            self.parameters if with_parameters else [],
            with_time=with_time,
        )


class Gradients(NamedTuple):
    """dL/dt (T,), None where it is not wanted; dL/dy0; dL/dtheta of each trained parameter."""

    t: Tensor | None
    y0: Tensor
    parameters: list[Tensor]


class CustomGradient(ABC):
    """Implements ``Sensitivity``; a method says what it keeps of the forward solve, and how the
    gradient follows from that.

    Second derivatives raise RuntimeError, as does a backward pass after y0, the result or a
    parameter has been changed in place. Buffers of f are updated by the forward pass only. Where no
    gradient is wanted, nothing is kept.
    """

    evaluates_backwards: ClassVar[bool] = True

    def __call__(
        self, field: nn.Module, y0: Tensor, t: Tensor, solver: Solver, work: Work
    ) -> Tensor:
        parameters = [p for p in field.parameters() if p.requires_grad]
        problem = Problem(field, t, solver, work, Autocast(y0.device.type), parameters, y0.shape)
        if torch.is_grad_enabled() and any(x.requires_grad for x in (y0, t, *parameters)):
            return self.differentiable(problem, y0)
        return problem.solve(y0)

    def differentiable(self, problem: Problem, y0: Tensor) -> Tensor:
        """y at the requested times, part of autograd's graph."""
        y: Tensor = _Function.apply(self, problem, problem.t, y0, *problem.parameters)
        return y

    @abstractmethod
    def forward(self, problem: Problem, y0: Tensor) -> tuple[Tensor, Any]:
        """y at the requested times, without a graph, and whatever ``gradient`` needs."""

    @abstractmethod
    def gradient(self, problem: Problem, kept: Any, y: Tensor, grad_y: Tensor) -> Gradients:
        """From dL/dy, shaped like y, (T, *y0.shape). ``kept``: what ``forward`` has given."""


class _Function(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        method: CustomGradient,
        problem: Problem,
        t: Tensor,
        y0: Tensor,
        *parameters: Tensor,
    ) -> Tensor:
        y, ctx.kept = method.forward(problem, y0)
        ctx.method, ctx.problem = method, problem
        ctx.save_for_backward(y, y0, *parameters)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_y: Tensor) -> tuple[Tensor | None, ...]:
        y, *_ = ctx.saved_tensors  # complains of any that has been changed since
        field = ctx.problem.field
        with untouched_buffers(field) if ctx.method.evaluates_backwards else nullcontext():
            found = ctx.method.gradient(ctx.problem, ctx.kept, y, grad_y)
        return None, None, found.t, found.y0, *found.parameters
