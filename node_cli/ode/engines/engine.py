"""The one choice of an engine, and what every engine does.

An engine computes the steps of a problem: one by one (``eager``), in a compiled loop
(``compiled``), or by torchdiffeq (``reference``). Gradient methods know it by the protocols here.
"""

from typing import Any, Protocol

from torch import Tensor, nn

from node_cli.ode.engines.compiled.engine import Compiled
from node_cli.ode.engines.compiled.field import CompiledField
from node_cli.ode.engines.eager.engine import Eager
from node_cli.ode.engines.reference.engine import Reference
from node_cli.ode.jumps import OneSided, Piece
from node_cli.ode.norms import rms_norm
from node_cli.ode.problem import AdjointSystem, Gradients, Nodes, Problem
from node_cli.ode.solver import Keep, Solver


class StepRecord(Protocol):
    """The accepted steps of a solve that has kept ``stages`` or ``states``."""

    def pull_back(self, grad_y: Tensor) -> Gradients:
        """The gradients of the numerical solution from dL/dy at the requested times.

        ``grad_y``: (T, *y0.shape). Step sizes that were chosen are constants. Cost: one VJP for
        each stage that the result depends on, and where only ``states`` were kept, or ``stages``
        have been used up by an earlier call, one evaluation of f before it.
        """


class PenalisedRecord(Protocol):
    """The accepted steps of a solve of a problem with penalties on them."""

    def penalties(self) -> Tensor:
        """What each of them has measured in the solve, (P,)."""

    def pull_back(self, grad_y: Tensor, grad_penalties: Tensor) -> Gradients:
        """``StepRecord.pull_back``, with the gradients of the penalties, times dL/dR (P,)."""


class DenseRecord(Protocol):
    """y(t) at any time of a solve that has kept its ``trajectory``: a polynomial on each step."""

    def at(self, t: float) -> Tensor:
        """y(t), shaped like y0, a tensor of its own; t within the solve."""


class BackwardSolve(Protocol):
    """An adjoint system with its solver."""

    def solve(self, end: Tensor, t: Tensor) -> Tensor:
        """The state at t[1] from ``end``, that at t[0]; t: (2,). Raises ``SolveFailed``."""

    def solve_with_quadrature(
        self, end: Tensor, t: Tensor, nodes: Nodes
    ) -> tuple[Tensor, list[Tensor]]:
        """``solve``, and -int lambda^T df/dtheta dt between the two times, where the state is
        lambda, shaped like y; a tensor for each trained parameter.

        By Gauss quadrature with these nodes and weights over each step, y and lambda there from the
        dense outputs of both solves. Cost, beside that of ``solve``: one evaluation of f and one
        product per node and step.
        """


class Engine(Protocol):
    """Computes the steps of one problem.

    ``differentiates``: what the engine keeps by itself so that autograd can go through its steps;
    a solution that is solved with it has a graph.
    """

    problem: Problem
    differentiates: frozenset[Keep]

    def solve(self, keep: Keep) -> tuple[Tensor, Any]:
        """y at the requested times, (T, *y0.shape), without a graph, and a record of what is kept:
        None for ``nothing``, else a ``StepRecord`` or a ``DenseRecord``; of a problem with
        penalties a ``PenalisedRecord``, whatever is kept.

        The cost is added to ``problem.work``. Raises ``SolveFailed``.
        """

    def backwards(self, system: AdjointSystem, solver: Solver, along: Any) -> BackwardSolve:
        """``system`` solved by ``solver``, along the ``DenseRecord`` of this engine's forward
        solve, or None. Steps are limited as ``follows_forward_steps`` says."""


def engine_for(problem: Problem) -> Engine:
    """torchdiffeq where the solver says so, a compiled loop where the field is a ``CompiledField``
    that is enabled and dL/dt is not wanted, else eager steps; so too where there are penalties on
    the steps, where the norm is not the RMS, and where the field is called with other parameters
    than its own (``torch.func.functional_call``)."""
    if problem.solver.engine == "torchdiffeq":
        return Reference(problem)
    field = problem.field
    if (
        isinstance(field, CompiledField)
        and field.enabled
        and not problem.penalties
        and problem.norm is rms_norm
        and not problem.t.requires_grad
        and field.has_its_own_parameters()
    ):
        return Compiled(problem, field)
    return Eager(problem)


def one_sided(field: nn.Module, piece: Piece) -> nn.Module:
    """The field as a piece of a solve sees it: compiled for itself where the field is compiled."""
    if piece.start is None and piece.end is None:
        return field
    if isinstance(field, CompiledField):
        return field.within(*piece.bounds)
    return OneSided(field, *piece.bounds)


def backward_solve(
    engine: Engine, system: AdjointSystem, solver: Solver, along: DenseRecord | None = None
) -> BackwardSolve:
    """``system`` solved by the engine that ``solver`` names; where that is the native one, as the
    forward solve was, eager or compiled."""
    chosen: Engine = engine
    if solver.engine == "torchdiffeq":
        chosen = Reference(engine.problem)
    elif isinstance(engine, Reference):
        chosen = Eager(engine.problem)
    return chosen.backwards(system, solver, along)
