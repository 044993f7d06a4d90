"""``odeint`` and ``odeint_adjoint``, for use as a library: the signature of torchdiffeq's
functions, with every gradient method of this package, and the cost of each solve."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from node_cli.ode import arguments
from node_cli.ode.arguments import ATOL, RTOL, Shapes, split
from node_cli.ode.checks import leaves_behind
from node_cli.ode.work import Work

State = Tensor | tuple[Tensor, ...]


def odeint(
    func: Callable[..., Any],
    y0: State,
    t: Tensor,
    *,
    rtol: float = RTOL,
    atol: float = ATOL,
    method: str | None = None,
    options: Mapping[str, Any] | None = None,
    event_fn: None = None,
    sensitivity: str = "discrete",
    adjoint_rtol: float | None = None,
    adjoint_atol: float | None = None,
    adjoint_method: str | None = None,
    adjoint_options: Mapping[str, Any] | None = None,
    adjoint_params: Sequence[Tensor] | None = None,
    work: Work | None = None,
) -> Any:
    """Solve dy/dt = func(t, y) from y0 at t[0], so that gradients by y0, t and parameters follow.

    Args:
        func: called as ``func(t, y)``, t 0-dim; returns dy/dt, shaped like y. A module, whose
            parameters get gradients; or another callable, of which the leaf tensors get them that
            its first result depends on (for which it is evaluated once more).
        y0: a tensor of any shape, or a tuple of tensors, which func then is given and returns.
        t: (T,), strictly increasing or decreasing.
        rtol, atol: of the local error of a step, read by methods that estimate it.
        method: a name in ``solver.METHODS``, or ``scipy_solver``; None: dopri5.
        options: of the method: fields of ``Solver``, ``max_num_steps`` and ``solver`` by
            torchdiffeq's names, and ``norm`` (of a state, in adaptive methods). Fixed-step methods
            without ``step_size`` and ``n_steps`` take one step from time to time.
        event_fn: has to be None; there are no events here.
        sensitivity: a name in ``SENSITIVITIES``: how gradients are computed.
        adjoint_rtol, adjoint_atol, adjoint_method, adjoint_options: of the backward solve, by
            default those of the forward one; for methods that have one. Further options are
            ``norm`` (``"seminorm"`` or ``"full"``) and ``max_drift`` of those that read them.
        adjoint_params: further tensors that func depends on.
        work: the cost is added to it.

    Returns:
        y at every time, (T, *y0.shape), each landed on; for a tuple a tuple of these.

    Raises:
        SolveFailed: from here or from the backward pass.
        NotImplementedError: for ``event_fn``, and for a func with callbacks.
        TypeError, ValueError: a name, an option or a number that is none; see also
            ``Sensitivity.__call__``.

    Differences from torchdiffeq's are in docs/library.md.
    """
    arguments.refuse_absent(func, event_fn)
    if not isinstance(t, Tensor) or not t.is_floating_point():
        raise TypeError("t has to be a tensor of floating-point numbers")
    flat, shapes = _flat(y0)
    solver, norm = arguments.solver(method, rtol, atol, options, flat.dtype, shapes)
    backward = (adjoint_rtol, adjoint_atol, adjoint_method, adjoint_options)
    gradient = arguments.sensitivity(sensitivity, solver, backward, flat.dtype)
    field = _Field(func, shapes)
    if torch.is_grad_enabled():
        field.depends_on(adjoint_params or ())
        if not isinstance(func, nn.Module):
            field.depends_on(_leaves(field, t[:1], flat))
    given = (flat, t, *field.parameters())
    wanted = torch.is_grad_enabled() and any(x.requires_grad for x in given)
    if wanted:
        arguments.check_pair(sensitivity, solver)
    with torch.set_grad_enabled(wanted):
        y = gradient(field, flat, t, solver, work or Work(), norm=norm)
    return y if shapes is None else split(y, shapes)


def odeint_adjoint(*args: Any, sensitivity: str = "backsolve", **options: Any) -> Any:
    """``odeint`` by the adjoint method, as torchdiffeq's function of this name."""
    return odeint(*args, sensitivity=sensitivity, **options)


class _Field(nn.Module):
    """func of one tensor, with the tensors that it depends on as its parameters."""

    def __init__(self, func: Callable[..., Any], shapes: Shapes | None) -> None:
        super().__init__()
        self.func = func
        self.shapes = shapes

    def depends_on(self, tensors: Sequence[Tensor]) -> None:
        known = {id(x) for x in self.parameters()}
        for x in tensors:
            if id(x) not in known and x.requires_grad:
                self._parameters[f"given{len(self._parameters)}"] = x  # type: ignore[assignment]

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        if self.shapes is None:
            dy: Tensor = self.func(t, y)
            return dy
        parts = split(y, self.shapes)
        found = self.func(t, parts)
        if not isinstance(found, tuple | list) or len(found) != len(parts):
            raise TypeError(f"func has to return a tuple of {len(parts)} tensors, as y is one")
        for x, part in zip(found, parts, strict=True):
            if x.shape != part.shape:
                got, expected = tuple(x.shape), tuple(part.shape)
                raise ValueError(f"func returns a tensor of shape {got} for a y of {expected}")
        return torch.cat([x.reshape(-1) for x in found])


def _flat(y0: State) -> tuple[Tensor, Shapes | None]:
    """A tensor as it is, or the parts of a tuple in one vector, with their shapes."""
    if isinstance(y0, Tensor):
        return y0, None
    if not isinstance(y0, tuple) or not y0 or not all(isinstance(x, Tensor) for x in y0):
        raise TypeError("y0 has to be a tensor, or a tuple of tensors")
    return torch.cat([x.reshape(-1) for x in y0]), [x.shape for x in y0]


def _leaves(field: _Field, t: Tensor, y0: Tensor) -> list[Tensor]:
    """The tensors that require grad behind the first result of a function, but for those that the
    field knows and what they are made of. t: (1,), or empty."""
    if not len(t):
        return []
    with torch.enable_grad(), torch.random.fork_rng(devices=[]):
        y = y0.detach().clone().requires_grad_(y0.is_floating_point() or y0.is_complex())
        dy = field(t[0].detach().to(y.real.dtype), y)
        return list(leaves_behind(dy, (y, *field.parameters())))
