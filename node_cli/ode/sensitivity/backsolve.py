"""Optimise, then discretise: the adjoint ODE solved backwards together with the state."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from node_cli.ode.failures import SolveFailed
from node_cli.ode.functional import FunctionalField
from node_cli.ode.reference import Norm, integrate, rms_norm
from node_cli.ode.solver import Solver
from node_cli.ode.work import Autocast, CountedField, Work


@dataclass(frozen=True)
class Backsolve:
    """The adjoint method of Chen et al. (2018): y is solved again, backwards, beside its adjoint.

    Backwards from t1 to t0, with lambda(t1) = dL/dy(t1):

        dy/dt = f,   dlambda/dt = -lambda^T df/dy,   dg/dt = -lambda^T df/dtheta,

    and dL/dy0 = lambda(t0), dL/dtheta = g(t0); dL/dt, when t requires grad, from
    dL/dt_i = (dL/dy_i)^T f(t_i, y_i) and dL/dt_0 = -lambda(t0)^T f(t_0, y_0).

    ``norm="full"`` controls the backward step size by the largest RMS norm among y, lambda and each
    parameter's g; ``"seminorm"`` leaves g out, which does not feed back into the solution (Kidger
    et al. 2021). ``solver`` is the backward solver, by default the forward one.

    Memory: y at the requested times only. Cost: one evaluation of f and one VJP per backward stage.
    The gradient is that of the ODE, not of the numerical solution: it differs by the order of the
    tolerance, and is wrong where y cannot be recovered backwards (strongly contracting f). Second
    derivatives raise RuntimeError. Buffers of f are updated by the forward pass only.

    Sources: Chen, Rubanova, Bettencourt and Duvenaud, "Neural ordinary differential equations",
    NeurIPS 2018, algorithm 1; Kidger, Chen and Lyons, "Hey, that's not an ODE", ICML 2021.
    """

    norm: Literal["full", "seminorm"] = "full"
    solver: Solver | None = None

    def __call__(
        self, field: nn.Module, y0: Tensor, t: Tensor, solver: Solver, work: Work
    ) -> Tensor:
        functional = FunctionalField(field)
        y: Tensor = _Backsolve.apply(
            self, field, functional, solver, work, t, y0, *functional.parameters
        )
        return y


class _Backsolve(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        method: Backsolve,
        field: nn.Module,
        functional: FunctionalField,
        solver: Solver,
        work: Work,
        t: Tensor,
        y0: Tensor,
        *parameters: Tensor,
    ) -> Tensor:
        ctx.autocast = Autocast(y0.device.type)
        with torch.no_grad():
            y, steps = integrate(CountedField(field, work, ctx.autocast), y0, t, solver)
        work.forward.add(steps)
        ctx.method, ctx.functional, ctx.work = method, functional, work
        ctx.solver = method.solver or solver
        ctx.save_for_backward(t, y, *parameters)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_y: Tensor) -> tuple[Tensor | None, ...]:
        t, y, *parameters = ctx.saved_tensors
        system = _BackwardSystem(ctx.functional, parameters, ctx.autocast, ctx.work)
        layout = _Layout([y[0], y[0], *parameters])
        norm = _adjoint_norm(layout, ctx.method.norm)

        def augmented(s: Tensor, state: Tensor) -> Tensor:
            y, adjoint, *_ = layout.split(state)
            return layout.join(system(s, y, adjoint))

        grad_t = torch.zeros_like(t) if ctx.needs_input_grad[5] else None
        adjoint = grad_y[-1]
        grads = [torch.zeros_like(p) for p in parameters]
        for i in range(len(t) - 1, 0, -1):
            if grad_t is not None:
                grad_t[i] = (grad_y[i] * system.field(t[i], y[i])).sum()
            end = layout.join([y[i], adjoint, *grads])
            try:
                start, steps = integrate(augmented, end, t[[i, i - 1]], ctx.solver, norm)
            except SolveFailed as error:
                raise error.of_backward_solve() from error
            ctx.work.backward.add(steps)
            _, adjoint, *grads = layout.split(start[-1])
            if grad_t is not None and i == 1:
                grad_t[0] = -(adjoint * system.field(t[0], y[0])).sum()
            adjoint = adjoint + grad_y[i - 1]
        return None, None, None, None, None, grad_t, adjoint, *grads


class _BackwardSystem:
    """The right-hand side of the backward system; the module's buffers are left alone."""

    def __init__(
        self,
        functional: FunctionalField,
        parameters: Sequence[Tensor],
        autocast: Autocast,
        work: Work,
    ) -> None:
        self.functional = functional
        self.parameters = [p.detach().requires_grad_() for p in parameters]
        self.autocast = autocast
        self.work = work

    def field(self, t: Tensor, y: Tensor) -> Tensor:
        self.work.nfe_backward += 1
        with self.autocast():
            return self.functional(self.parameters, t, y).to(y.dtype)

    def __call__(self, t: Tensor, y: Tensor, adjoint: Tensor) -> list[Tensor]:
        """(f, -adjoint^T df/dy, -adjoint^T df/dtheta for each parameter)."""
        with torch.enable_grad():
            y = y.detach().requires_grad_()
            dy = self.field(t, y)
        inputs = [y, *self.parameters]
        if not dy.requires_grad:  # f depends on neither y nor a trained parameter
            return [dy, *(torch.zeros_like(x) for x in inputs)]
        self.work.vjps_backward += 1
        products = torch.autograd.grad(
            dy, inputs, -adjoint, allow_unused=True, materialize_grads=True
        )
        return [dy.detach(), *products]


class _Layout:
    """Several tensors as one flat vector, the only state that a solver knows."""

    def __init__(self, examples: Sequence[Tensor]) -> None:
        self.shapes = [x.shape for x in examples]
        self.sizes = [x.numel() for x in examples]

    def join(self, tensors: Sequence[Tensor]) -> Tensor:
        return torch.cat([x.reshape(-1) for x in tensors])

    def split(self, flat: Tensor) -> list[Tensor]:
        pieces = flat.split(self.sizes)
        return [piece.view(shape) for piece, shape in zip(pieces, self.shapes, strict=True)]


def _adjoint_norm(layout: _Layout, name: Literal["full", "seminorm"]) -> Norm:
    count = 2 if name == "seminorm" else len(layout.shapes)
    return lambda state: torch.stack([rms_norm(x) for x in layout.split(state)[:count]]).max()
