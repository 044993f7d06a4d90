"""Optimise, then discretise: the adjoint ODE solved backwards together with the state."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.func import functional_call

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
        parameters = {name: p for name, p in field.named_parameters() if p.requires_grad}
        y: Tensor = _Backsolve.apply(
            self, field, solver, work, tuple(parameters), t, y0, *parameters.values()
        )
        return y


class _Backsolve(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        method: Backsolve,
        field: nn.Module,
        solver: Solver,
        work: Work,
        names: tuple[str, ...],
        t: Tensor,
        y0: Tensor,
        *parameters: Tensor,
    ) -> Tensor:
        ctx.autocast = Autocast(y0.device.type)
        with torch.no_grad():
            y, steps = integrate(CountedField(field, work, ctx.autocast), y0, t, solver)
        work.forward.add(steps)
        ctx.method, ctx.field, ctx.names, ctx.work = method, field, names, work
        ctx.solver = method.solver or solver
        ctx.save_for_backward(t, y, *parameters)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_y: Tensor) -> tuple[Tensor | None, ...]:
        t, y, *parameters = ctx.saved_tensors
        work: Work = ctx.work
        vjp = _FieldVJP(
            ctx.field, dict(zip(ctx.names, parameters, strict=True)), ctx.autocast, work
        )
        layout = _Layout([y[0], y[0], *parameters])
        norm = _adjoint_norm(layout, ctx.method.norm)
        grad_t = torch.zeros_like(t) if ctx.needs_input_grad[5] else None

        adjoint = grad_y[-1]
        grads = [torch.zeros_like(p) for p in parameters]
        for i in range(len(t) - 1, 0, -1):
            if grad_t is not None:
                grad_t[i] = (grad_y[i] * vjp.field(t[i], y[i])).sum()
            end = layout.join([y[i], adjoint, *grads])
            start, steps = integrate(
                lambda s, state: layout.join(vjp(s, *layout.split(state)[:2])),
                end,
                t[[i, i - 1]],
                ctx.solver,
                norm,
            )
            work.backward.add(steps)
            _, adjoint, *grads = layout.split(start[-1])
            if i == 1 and grad_t is not None:
                grad_t[0] = -(adjoint * vjp.field(t[0], y[0])).sum()
            adjoint = adjoint + grad_y[i - 1]
        return None, None, None, None, None, grad_t, adjoint, *grads


class _FieldVJP:
    """Right-hand side of the backward system, f evaluated without touching its module's buffers."""

    def __init__(
        self, field: nn.Module, parameters: dict[str, Tensor], autocast: Autocast, work: Work
    ) -> None:
        self.module = field
        self.parameters = {name: p.detach().requires_grad_() for name, p in parameters.items()}
        # Copies: what BatchNorm writes into them is dropped.
        self.buffers = {name: b.clone() for name, b in field.named_buffers()}
        self.autocast = autocast
        self.work = work

    def field(self, t: Tensor, y: Tensor) -> Tensor:
        self.work.nfe_backward += 1
        with self.autocast():
            dy: Tensor = functional_call(self.module, self.parameters | self.buffers, (t, y))
        return dy.to(y.dtype)

    def __call__(self, t: Tensor, y: Tensor, adjoint: Tensor) -> list[Tensor]:
        """(f, -adjoint^T df/dy, -adjoint^T df/dtheta for each parameter)."""
        with torch.enable_grad():
            y = y.detach().requires_grad_()
            dy = self.field(t, y)
            inputs = [y, *self.parameters.values()]
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
