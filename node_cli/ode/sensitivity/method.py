"""What a gradient method is, and how its backward pass becomes part of autograd."""

from abc import ABC, abstractmethod
from contextlib import ExitStack
from dataclasses import replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from node_cli.ode.checks import AGAIN, NOT_REPEATED, random_states, stands_still
from node_cli.ode.engines.engine import Engine, engine_for, one_sided
from node_cli.ode.failures import Unsuitable
from node_cli.ode.field import Tensors, no_autocast, silent_hooks, untouched_buffers
from node_cli.ode.jumps import pieces
from node_cli.ode.norms import Norm, rms_norm
from node_cli.ode.problem import Gradients, Problem
from node_cli.ode.sensitivity.methods import SENSITIVITIES, Traits
from node_cli.ode.solver import FirstSteps, Keep, Solver
from node_cli.ode.work import Work


class Sensitivity(ABC):
    """A gradient method: its row in ``SENSITIVITIES`` says what it needs of the forward solve,
    ``gradient`` how the gradients follow from that.

    Second derivatives raise RuntimeError (but for those that autograd takes through torchdiffeq),
    as does a backward pass after y0, the result or a parameter has been changed in place. Where no
    gradient is wanted, nothing is kept. A backward pass may be repeated (``retain_graph=True``).
    Parameters are those that the field has during the forward solve, also where it was called with
    others than its own (``torch.func.functional_call``); their hooks see the whole gradient, once.
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
        *,
        norm: Norm = rms_norm,
    ) -> Tensor:
        """Solve dy/dt = field(t, y) so that a backward pass through the result is defined.

        Args:
            field: called as ``field(t, y)``, t 0-dim. Its buffers, such as a BatchNorm's
                statistics, see every forward evaluation and no backward one.
            y0: any shape, float32 or float64 (with torchdiffeq any floating-point or complex
                number that it takes).
            t: (T,), strictly increasing or decreasing; or one time, or equal ones, at which y is
                y0. f is given t in the dtype of y0 (see ``field.Field``).
            solver: of the forward solve.
            work: the cost of the forward solve is added to it and, once it has run, that of the
                backward pass.
            first_steps: remembered first step sizes, for solvers with ``first_step="warm"``.
            norm: measures y in the forward solve of an adaptive solver.

        Returns:
            y at the requested times, ``(T, *y0.shape)``.

        Raises:
            SolveFailed: from here or, of a backward solve, from the backward pass.
            TypeError, ValueError: y0 or t is none that can be solved, f gives no dy/dt, changes y,
                depends on a tensor that would get no gradient (from the backward pass, but for
                ``discrete``), or draws random numbers, with an adaptive solver or where the
                backward pass evaluates it again.
            RuntimeError: inside a transform of torch.func.
        """
        return self.solve(Problem.posed(field, y0, t, solver, work, first_steps, norm=norm))

    def solve(self, problem: Problem) -> Tensor:
        """``__call__``, of a problem without penalties."""
        if problem.solver.jump_t:
            return self._in_pieces(problem)
        t, y0, parameters = problem.t, problem.y0, problem.parameters
        if stands_still(t):
            still: Tensor = _Still.apply(problem, t, y0, *parameters)
            return still
        engine = engine_for(problem)
        before = random_states(y0.device)
        y: Tensor
        if torch.is_grad_enabled() and self.keeps in engine.differentiates:
            y, _ = engine.solve(self.keeps)
        elif torch.is_grad_enabled() and any(x.requires_grad for x in (y0, t, *parameters)):
            y = _Function.apply(self, engine, t, y0, *parameters)
        else:
            y, _ = engine.solve("nothing")
        if random_states(y0.device) != before:
            self._refuse_random(problem.solver, y)
        return y

    def penalised(self, problem: Problem) -> tuple[Tensor, Tensor]:
        """``solve``, and what each penalty on the accepted steps has measured, (P,).

        A backward pass through either is defined, with step sizes as constants. Raises ValueError
        where the method does not differentiate the steps of the native engine, where f jumps, and
        where t requires a gradient or is one time alone.
        """
        t, y0, solver = problem.t, problem.y0, problem.solver
        if self.traits.gradient_of != "steps" or solver.engine != "native" or solver.jump_t:
            raise ValueError(f"sensitivity={self.name}, {solver}: no steps to differentiate")
        if t.requires_grad or stands_still(t):
            raise ValueError("penalties on the steps need two times at least, as constants")
        before = random_states(y0.device)
        y, measured = _Function.apply(self, engine_for(problem), t, y0, *problem.parameters)
        if random_states(y0.device) != before:
            self._refuse_random(solver, y)
        return y, measured

    def _in_pieces(self, problem: Problem) -> Tensor:
        """One solve after the other, from each time at which f jumps to the next."""
        jumps = problem.solver.jump_t
        assert jumps
        problem = replace(problem, solver=replace(problem.solver, jump_t=None))
        if stands_still(problem.t):
            return self.solve(problem)
        found = []
        for piece in pieces(problem.t, jumps):
            field = one_sided(problem.field, piece)
            y = self.solve(replace(problem, field=field, tensors=Tensors(field), t=piece.t))
            found.append(y[piece.rows])
            # What is remembered is of the first piece.
            problem = replace(problem, y0=y[-1], first_steps=FirstSteps())
        return torch.cat(found)

    def _refuse_random(self, solver: Solver, y: Tensor) -> None:
        """f has drawn random numbers in the solve whose result is y."""
        reason = None
        if solver.method.kind in ("adaptive", "scipy"):
            reason = NOT_REPEATED
        elif y.requires_grad and self.keeps != "stages":
            reason = f"sensitivity={self.name} evaluates f again, and would get others"
        if reason:
            raise Unsuitable(f"f draws random numbers (dropout?); {reason}. {AGAIN}")
        if y.grad_fn is not None and hasattr(y.grad_fn, "random"):
            y.grad_fn.random = True  # the ctx of ``_Function``

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
        ctx: Any,
        method: Sensitivity,
        engine: Engine,
        t: Tensor,
        y0: Tensor,
        *parameters: Tensor,
    ) -> Any:
        y, ctx.record = engine.solve(method.keeps)
        ctx.method, ctx.engine = method, engine
        ctx.evaluates = method.keeps != "stages"
        ctx.random = False
        ctx.save_for_backward(y, y0, *parameters)
        return (y, ctx.record.penalties()) if engine.problem.penalties else y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_y: Tensor, *grad_penalties: Tensor) -> tuple[Tensor | None, ...]:
        y, *_ = ctx.saved_tensors  # raises where one of them has been changed since
        method, engine = ctx.method, ctx.engine
        problem = engine.problem
        if ctx.evaluates and ctx.random:
            raise RuntimeError(
                f"a second backward pass of sensitivity={method.name} evaluates f again, which "
                "draws random numbers (dropout?)"
            )
        with ExitStack() as stack:
            stack.enter_context(silent_hooks(problem.parameters))
            # f enters the autocast of the forward pass again, wherever the backward pass is called.
            # This one is around all of it, so that weights are cast once.
            stack.enter_context(problem.autocast.again())
            stack.enter_context(no_autocast(y.device.type))
            if ctx.evaluates:
                stack.enter_context(problem.tensors.again())
                stack.enter_context(untouched_buffers(problem.field))
            ctx.evaluates = True  # the next time, stages have been used up
            if grad_penalties:
                found = ctx.record.pull_back(grad_y, *grad_penalties)
            else:
                found = method.gradient(engine, ctx.record, y, grad_y)
        return None, None, found.t, found.y0, *found.parameters


class _Still(torch.autograd.Function):
    """y0 at each of T equal times, as the limit of a solve over a vanishing interval."""

    @staticmethod
    def forward(ctx: Any, problem: Problem, t: Tensor, y0: Tensor, *parameters: Tensor) -> Tensor:
        ctx.problem = problem
        ctx.save_for_backward(y0)
        return y0.detach().expand(len(t), *y0.shape).clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_y: Tensor) -> tuple[Tensor | None, ...]:
        (y0,) = ctx.saved_tensors
        problem, grad_t = ctx.problem, None
        t = problem.t
        if ctx.needs_input_grad[1]:
            with untouched_buffers(problem.field):
                f = problem.counted(backward=True)(t[0].detach().to(y0), y0.detach().clone())
            grad_t = (grad_y * f).reshape(len(t), -1).sum(1).to(t)
            grad_t[0] -= grad_t.sum()
        zeros = [torch.zeros_like(p) for p in problem.parameters]
        return None, grad_t, grad_y.sum(0), *zeros
