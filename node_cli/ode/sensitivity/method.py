"""What a gradient method is, and how its backward pass becomes part of autograd."""

from abc import ABC, abstractmethod
from contextlib import nullcontext
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from node_cli.ode.engines.engine import Engine, engine_for
from node_cli.ode.field import Autocast, no_autocast, untouched_buffers
from node_cli.ode.problem import Gradients, Problem
from node_cli.ode.sensitivity.methods import SENSITIVITIES, Traits
from node_cli.ode.solver import FirstSteps, Keep, Solver
from node_cli.ode.work import Work


class Sensitivity(ABC):
    """A gradient method: its row in ``SENSITIVITIES`` says what it needs of the forward solve,
    ``gradient`` how the gradients follow from that.

    Second derivatives raise RuntimeError (but for those that autograd takes through torchdiffeq),
    as does a backward pass after y0, the result or a parameter has been changed in place. Where no
    gradient is wanted, nothing is kept.
    """

    name: ClassVar[str]

    @property
    def traits(self) -> Traits:
        return SENSITIVITIES[self.name]

    @property
    def keeps(self) -> Keep:
        """What the forward solve records."""
        return self.traits.keeps

    def __call__(
        self,
        field: nn.Module,
        y0: Tensor,
        t: Tensor,
        solver: Solver,
        work: Work,
        first_steps: FirstSteps | None = None,
    ) -> Tensor:
        """Solve dy/dt = field(t, y) so that a backward pass through the result is defined.

        Args:
            field: called as ``field(t, y)``, t 0-dim. Its buffers, such as a BatchNorm's
                statistics, see every forward evaluation and no backward one.
            y0: any shape, float32 or float64.
            t: (T,), strictly increasing or decreasing, T >= 2.
            solver: of the forward solve.
            work: the cost of the forward solve is added to it and, once it has run, that of the
                backward pass.
            first_steps: remembered first step sizes, for solvers with ``first_step="warm"``.

        Returns:
            y at the requested times, ``(T, *y0.shape)``.

        Raises:
            SolveFailed: from here or, of a backward solve, from the backward pass.
        """
        parameters = [p for p in field.parameters() if p.requires_grad]
        autocast = Autocast(y0.device.type)
        first_steps = first_steps or FirstSteps()
        problem = Problem(field, y0, t, solver, work, autocast, parameters, first_steps)
        engine = engine_for(problem)
        y: Tensor
        if torch.is_grad_enabled() and self.keeps in engine.differentiates:
            y, _ = engine.solve(self.keeps)
        elif torch.is_grad_enabled() and any(x.requires_grad for x in (y0, t, *parameters)):
            y = _Function.apply(self, engine, t, y0, *parameters)
        else:
            y, _ = engine.solve("nothing")
        return y

    @abstractmethod
    def gradient(self, engine: Engine, record: Any, y: Tensor, grad_y: Tensor) -> Gradients:
        """dL/dt (T,), dL/dy0 (shaped like y0) and dL/dtheta from dL/dy.

        Args:
            engine: of the forward solve; ``engine.problem`` is what was solved.
            record: what it has kept; None where the method keeps nothing.
            y: the solution at the requested times, (T, *y0.shape).
            grad_y: dL/dy, shaped like y.
        """


class _Function(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, method: Sensitivity, engine: Engine, t: Tensor, y0: Tensor, *parameters: Tensor
    ) -> Tensor:
        y, ctx.record = engine.solve(method.keeps)
        ctx.method, ctx.engine = method, engine
        ctx.save_for_backward(y, y0, *parameters)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_y: Tensor) -> tuple[Tensor | None, ...]:
        y, *_ = ctx.saved_tensors  # raises where one of them has been changed since
        method, engine = ctx.method, ctx.engine
        evaluates = method.keeps != "stages"
        untouched = untouched_buffers(engine.problem.field) if evaluates else nullcontext()
        # f enters the autocast of the forward pass again, wherever the backward pass is called.
        with untouched, no_autocast(y.device.type):
            found = method.gradient(engine, ctx.record, y, grad_y)
        return None, None, found.t, found.y0, *found.parameters
