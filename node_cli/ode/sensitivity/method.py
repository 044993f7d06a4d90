"""A sensitivity method with a backward pass of its own, as one autograd function."""

from abc import ABC, abstractmethod
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from node_cli.ode.engines import reference
from node_cli.ode.engines.compiled import solve as compiled_solve
from node_cli.ode.engines.compiled.captured import CapturedField
from node_cli.ode.engines.compiled.field import CompiledField
from node_cli.ode.engines.compiled.solve import Loop, Recorded
from node_cli.ode.engines.eager import solve as eager_solve
from node_cli.ode.engines.eager.dense_output import Trajectory
from node_cli.ode.engines.eager.linearised import Linearised
from node_cli.ode.engines.eager.solve import OnAccept
from node_cli.ode.engines.eager.step import Stepper
from node_cli.ode.field import untouched_buffers
from node_cli.ode.norms import rms_norm
from node_cli.ode.solver import Keep, Solver
from node_cli.ode.work import Autocast, CountedField, Work, no_autocast

DenseOutput = Trajectory | Recorded
"""y(t) at any time of a solve."""


@dataclass(frozen=True)
class Problem:
    """What is to be solved, how, and where its cost is counted."""

    field: nn.Module
    t: Tensor
    solver: Solver
    work: Work
    autocast: Autocast
    parameters: list[nn.Parameter]
    y0: Tensor

    @property
    def compiled(self) -> CompiledField | None:
        """The field, if it is solved by compiled loops, which know nothing of dL/dt."""
        field = self.field if isinstance(self.field, CompiledField) else None
        can = self.solver.engine == "native" and not self.t.requires_grad
        return field if field and field.enabled and can else None

    @property
    def captured(self) -> CapturedField:
        """f as compiled loops call it."""
        assert self.compiled
        return self.compiled.captured(self.autocast, self.y0)

    def backward_solver(self, chosen: Solver | None) -> Solver:
        """By default the forward one, without the first step that it may have been given."""
        return chosen or replace(self.solver, first_step=None)

    def counted(self, *, backward: bool = False) -> CountedField:
        """f without a graph."""
        return CountedField(self.field, self.work, self.autocast, backward=backward)

    def solution(self) -> Tensor:
        """y at the requested times, without a graph, and nothing else."""
        return self.solve_in_loop("nothing")[0] if self.compiled else self.solve()

    @torch.no_grad()
    def solve(self, on_accept: OnAccept = lambda *_: None) -> Tensor:
        """y at the requested times, without a graph. ``on_accept``: native engine only, step by
        step."""
        if self.solver.engine == "torchdiffeq":
            y, steps = reference.integrate(self.counted(), self.y0, self.t, self.solver)
        else:
            stepper = Stepper(self.counted(), self.solver)
            y0 = self.y0.detach()
            y, steps = eager_solve.integrate(stepper, y0, self.t, self.solver, on_accept=on_accept)
        self.work.forward.add(steps)
        return y

    def loop(self, keep: Keep) -> Loop:
        """The forward solve as a compiled loop, and what it keeps."""
        assert self.compiled
        f = self.captured
        return Loop(
            self.compiled,
            ("f", self.compiled.key(self.autocast, self.y0)),
            lambda t, y, *parameters: f.at(t, y, parameters),
            f.parameters,
            self.solver,
            rms_norm,
            keep,
            f.saved,
            self.work.evaluated,
        )

    def solve_in_loop(self, keep: Keep) -> tuple[Tensor, Recorded | None]:
        """y at the requested times by a compiled loop, and what is kept of it."""
        y, steps, recorded = compiled_solve.integrate(self.loop(keep), self.y0, self.t)
        self.work.forward.add(steps)
        return y, recorded

    def solve_densely(self) -> tuple[Tensor, DenseOutput]:
        """y at the requested times, and at any other."""
        if self.compiled:
            y, recorded = self.solve_in_loop("trajectory")
            assert recorded
            return y, recorded
        trajectory = Trajectory(self.solver.tableau)
        y = self.solve(trajectory.record)
        trajectory.finish(Stepper(self.counted(), self.solver))
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
        problem = Problem(field, t, solver, work, Autocast(y0.device.type), parameters, y0)
        if torch.is_grad_enabled() and any(x.requires_grad for x in (y0, t, *parameters)):
            y: Tensor = _Function.apply(self, problem, t, y0, *parameters)
            return y
        return problem.solution()

    @abstractmethod
    def forward(self, problem: Problem) -> tuple[Tensor, Any]:
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
        y, ctx.kept = method.forward(problem)
        ctx.method, ctx.problem = method, problem
        ctx.save_for_backward(y, y0, *parameters)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_y: Tensor) -> tuple[Tensor | None, ...]:
        y, *_ = ctx.saved_tensors  # complains of any that has been changed since
        field = ctx.problem.field
        untouched = untouched_buffers(field) if ctx.method.evaluates_backwards else nullcontext()
        # f enters the autocast of the forward pass again, wherever the backward pass is called.
        with untouched, no_autocast(y.device.type):
            found = ctx.method.gradient(ctx.problem, ctx.kept, y, grad_y)
        return None, None, found.t, found.y0, *found.parameters
