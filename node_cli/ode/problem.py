"""What is solved, as plain data: an ODE, the adjoint system that goes with it, and gradients."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from torch import Tensor, nn

from node_cli.ode.checks import check_start
from node_cli.ode.field import Autocast, Field, Tensors
from node_cli.ode.norms import Norm, SharedNorm, rms_norm
from node_cli.ode.penalties import StepPenalty
from node_cli.ode.solver import FirstSteps, Solver
from node_cli.ode.work import CountedField, Work


@dataclass(frozen=True)
class Problem:
    """dy/dt = field(t, y) from y0 at t[0]; how it is solved, and where its cost is counted.

    Attributes:
        field: called as ``field(t, y)``, t 0-dim.
        y0: any shape, float32 or float64.
        t: (T,), strictly increasing or decreasing, T >= 2: the requested times.
        solver: of the forward solve.
        work: counts evaluations of f, VJPs and steps.
        autocast: under which f is evaluated.
        tensors: the parameters and buffers of ``field``.
        first_steps: read and written where a solver has ``first_step="warm"``.
        penalties: on the accepted steps, which the solve measures.
        norm: measures y where the forward solver is adaptive.
    """

    field: nn.Module
    y0: Tensor
    t: Tensor
    solver: Solver
    work: Work
    autocast: Autocast
    tensors: Tensors
    first_steps: FirstSteps
    penalties: tuple[StepPenalty, ...] = ()
    norm: Norm = rms_norm

    @classmethod
    def posed(
        cls,
        field: nn.Module,
        y0: Tensor,
        t: Tensor,
        solver: Solver,
        work: Work,
        first_steps: FirstSteps | None = None,
        *,
        penalties: tuple[StepPenalty, ...] = (),
        norm: Norm = rms_norm,
    ) -> "Problem":
        """The problem with the autocast that is on now, and the tensors that the field has now.

        Raises what ``check_start`` raises.
        """
        check_start(y0, solver.engine)
        autocast, tensors = Autocast(y0.device.type), Tensors(field)
        first_steps = first_steps or FirstSteps()
        return cls(field, y0, t, solver, work, autocast, tensors, first_steps, penalties, norm)

    @property
    def shared(self) -> SharedNorm | None:
        """The norm by which several processes choose the same steps, backwards too; None where they
        do not."""
        return self.norm if isinstance(self.norm, SharedNorm) else None

    @property
    def parameters(self) -> list[nn.Parameter]:
        """The trained parameters of the field."""
        return self.tensors.trained

    def counted(self, f: Field | None = None, *, backward: bool = False) -> CountedField:
        """f, each evaluation of which is counted, as one of the backward pass or the forward.

        ``f``: what computes it, by default the field.
        """
        return CountedField(
            f or self.field,
            self.work,
            self.autocast,
            backward=backward,
            # What is evaluated backwards has been looked at forwards.
            repeatable=not backward and self.solver.method.kind in ("adaptive", "scipy"),
        )


class Gradients(NamedTuple):
    """dL/dt (T,), None where it is not wanted; dL/dy0, shaped like y0; dL/dtheta, a tensor for each
    trained parameter."""

    t: Tensor | None
    y0: Tensor
    parameters: list[Tensor]


class Products(NamedTuple):
    """v^T df/dy (shaped like y), v^T df/dt (0-dim, None unless wanted), v^T df/dtheta."""

    y: Tensor
    t: Tensor | None
    parameters: list[Tensor]


class Evaluation(Protocol):
    """An evaluation of f of which a product can be had; ``k`` = f(t, y)."""

    @property
    def k(self) -> Tensor: ...


class Differentiable(Protocol):
    """f and its vector-Jacobian products, from which the right-hand side of an adjoint system is
    made, whether it is computed or traced."""

    def evaluate(self, t: Tensor, y: Tensor) -> Evaluation:
        """f(t, y). t: 0-dim; y: a state, no part of an autograd graph."""

    def products(self, evaluation: Any, v: Tensor) -> Products:
        """v^T times the Jacobians of f at an evaluation, once for each; v: shaped like y."""


@dataclass(frozen=True)
class AdjointSystem:
    """An ODE that is solved backwards from one requested time to the one before.

    Attributes:
        name: tells the system from others of the same field; equal names must mean equal systems,
            since compiled code is found by it.
        derivative: (f, t, state) -> d state / dt, or (f, t, state, y) where the system is solved
            along a known y(t). Makes one evaluation of f and one product.
        state_in_words: what a failure calls the state.
        norm: by which the state is measured.
        with_parameters: whether the products by the parameters are needed.
    """

    name: str
    derivative: Callable[..., Tensor]
    state_in_words: str
    norm: Norm = rms_norm
    with_parameters: bool = True


Nodes = tuple[tuple[float, float], ...]
"""Of a quadrature on [0, 1]: (node, weight) each."""
