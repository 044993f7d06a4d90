"""The adjoint equations, as far as the methods that solve them backwards share them."""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from node_cli.ode.drift import Drift, Unit
from node_cli.ode.engines.engine import Engine, backward_solve
from node_cli.ode.norms import Norm, SharedNorm, rms_norm
from node_cli.ode.problem import AdjointSystem, Gradients, Nodes, Problem
from node_cli.ode.sensitivity.method import Sensitivity
from node_cli.ode.sensitivity.methods import NormName
from node_cli.ode.solver import Solver
from node_cli.ode.transfer import vector

Cross = Callable[[int, Tensor, list[Tensor]], tuple[Tensor, list[Tensor]]]
"""(i, lambda, dL/dtheta so far) at t[i] -> (lambda, dL/dtheta) at t[i - 1]: lambda is shaped like
y0, dL/dtheta a tensor for each trained parameter."""

BackwardsFrom = Callable[[Tensor], tuple[Tensor, list[Tensor]]]
"""The state of an adjoint system where an interval ends -> the one where it begins, and what
quadrature found of dL/dtheta."""


class Crossed(NamedTuple):
    """Where an interval begins: lambda, dL/dtheta so far, and y where it was solved again."""

    adjoint: Tensor
    by_parameters: list[Tensor]
    y: Tensor | None = None


CrossBy = Callable[[BackwardsFrom, Tensor, Tensor, list[Tensor]], Crossed]
"""(solve, y, lambda, dL/dtheta so far), where an interval between two requested times ends."""


@dataclass(frozen=True)
class Posed:
    """What is solved backwards between two requested times, whether it is computed or traced.

    ``nodes``: of the quadrature that finds dL/dtheta; None where the system has it. ``drift``: the
    unit of the drift of a y that is solved again, at most ``max_drift``.
    """

    system: AdjointSystem
    solver: Solver
    cross: CrossBy
    nodes: Nodes | None = None
    drift: Unit | None = None
    max_drift: float | None = None

    def drifted(self, sizes: Tensor, times: list[float]) -> Drift:
        """The drift of a backward pass: ``sizes`` (n,) at the ``times`` where intervals begin."""
        return Drift(sizes, times, self.solver, self.max_drift)


class Continuous(Sensitivity):
    """A method that solves an adjoint ODE backwards. ``solver``: the backward one, None for the
    forward one."""

    solver: Solver | None

    @abstractmethod
    def posed(self, problem: Problem, y: Tensor) -> Posed:
        """y: an example of a state."""

    def gradient(self, engine: Engine, record: Any, y: Tensor, grad_y: Tensor) -> Gradients:
        """See ``Sensitivity.gradient``. y, grad_y: (T, *y0.shape)."""
        problem = engine.problem
        posed = self.posed(problem, y[0])
        backwards = backward_solve(engine, posed.system, posed.solver, along=record)
        drifts: list[Tensor] = []

        def cross(
            i: int, adjoint: Tensor, by_parameters: list[Tensor]
        ) -> tuple[Tensor, list[Tensor]]:
            times = problem.t[[i, i - 1]]

            def solve(end: Tensor) -> tuple[Tensor, list[Tensor]]:
                if posed.nodes is None:
                    return backwards.solve(end, times), []
                return backwards.solve_with_quadrature(end, times, posed.nodes)

            found = posed.cross(solve, y[i], adjoint, by_parameters)
            if posed.drift and found.y is not None:
                drifts.append(posed.drift.distance(found.y, y[i - 1]))
            return found.adjoint, found.by_parameters

        found = integrate_adjoint(problem, y, grad_y, cross)
        if drifts:
            times = problem.t[:-1].tolist()[::-1]
            problem.work.drifted(posed.drifted(torch.stack(drifts), times))
        return found


def backward_solver(problem: Problem, chosen: Solver | None) -> Solver:
    """By default the forward solver, without a first step, which would be the forward one's."""
    return chosen or replace(problem.solver, first_step=None)


def integrate_adjoint(problem: Problem, y: Tensor, grad_y: Tensor, cross: Cross) -> Gradients:
    """From dL/dy at the requested times to the gradients, backwards through these times.

    lambda(t) = dL/dy(t) jumps by dL/dy_i at every requested time t_i, and ``cross`` solves in
    between, backwards,

        dlambda/dt = -lambda^T df/dy,    dg/dt = -lambda^T df/dtheta,

    so that dL/dy0 = lambda(t0), dL/dtheta = g(t0); dL/dt_i = (dL/dy_i)^T f(t_i, y_i) and
    dL/dt_0 = -lambda(t0)^T f(t0, y0). ``y``, ``grad_y``: (T, *y0.shape). Cost: that of ``cross``,
    and one evaluation of f per requested time where dL/dt is wanted.
    """
    t = problem.t
    grad_t = torch.zeros(len(t), dtype=t.dtype, device=t.device) if t.requires_grad else None
    adjoint = grad_y[-1]
    by_parameters = [torch.zeros_like(p) for p in problem.parameters]
    f = problem.counted(backward=True)
    for i in range(len(t) - 1, 0, -1):
        if grad_t is not None:
            grad_t[i] = (grad_y[i] * f(t[i].to(y), y[i])).sum()
        adjoint, by_parameters = cross(i, adjoint, by_parameters)
        if grad_t is not None and i == 1:
            grad_t[0] = -(adjoint * f(t[0].to(y), y[0])).sum()
        adjoint = adjoint + grad_y[i - 1]
    return Gradients(grad_t, adjoint, by_parameters)


def relative_to_lambda(cross: CrossBy, shared: SharedNorm | None) -> CrossBy:
    """``cross``, lambda and g in units of the RMS that lambda has where the interval begins.

    The result is the same, since the equations are linear; but the tolerances become relative, and
    the steps do not depend on the scale of the loss. Where the loss is a mean over many images,
    lambda is far below any usual atol, and its error would not be controlled at all.

    ``shared``: takes the RMS over the parts of several processes.
    """

    def scaled(
        solve: BackwardsFrom, y: Tensor, adjoint: Tensor, by_parameters: list[Tensor]
    ) -> Crossed:
        if shared:
            unit = _one_for_zero(shared(adjoint)).to(adjoint.dtype)
        else:
            largest = _one_for_zero(adjoint.abs().max())
            unit = _one_for_zero(largest * rms_norm(adjoint / largest))  # squares stay in range
        found = cross(solve, y, adjoint / unit, [g / unit for g in by_parameters])
        return Crossed(found.adjoint * unit, [g * unit for g in found.by_parameters])

    return scaled


def _one_for_zero(x: Tensor) -> Tensor:
    return x + (x == 0)


class Layout:
    """Several tensors as one flat vector (n,), the state of a solver.

    First the ``states``, which a system reads, then the ``integrals``, which nothing depends on:
    examples of each, for their shapes.
    """

    def __init__(self, states: Sequence[Tensor], integrals: Sequence[Tensor]) -> None:
        self.example = states[0]
        self.count = len(states)
        self.shapes = [x.shape for x in (*states, *integrals)]
        self.sizes = [x.numel() for x in (*states, *integrals)]
        self.state_sizes = [*self.sizes[: self.count], sum(self.sizes[self.count :])]

    def join(self, tensors: Sequence[Tensor]) -> Tensor:
        """One vector of all of them, states first."""
        flat: Tensor = torch._utils._flatten_dense_tensors(tensors)
        return flat

    def split(self, flat: Tensor) -> list[Tensor]:
        """The tensors of a vector, states first, as views."""
        pieces = flat.split_with_sizes(self.sizes)
        return [piece.view(shape) for piece, shape in zip(pieces, self.shapes, strict=True)]

    def states(self, flat: Tensor) -> list[Tensor]:
        """The states of a vector alone: views of every integral would cost more than a small f."""
        pieces = flat.split_with_sizes(self.state_sizes)
        shapes = self.shapes[: self.count]
        return [piece.view(shape) for piece, shape in zip(pieces[:-1], shapes, strict=True)]

    def norm(self, name: NormName, shared: SharedNorm | None = None) -> Norm:
        """The largest RMS norm among all tensors; for ``seminorm`` among the states alone, but
        NaN where an integral is not finite. ``shared``: over the states of several processes; only
        with ``seminorm``, since an integral is a sum over all their images."""
        semi = name == "seminorm"
        if shared:
            if not semi:
                raise ValueError("steps of several processes are shared with norm=seminorm alone")
            return self._shared_seminorm(shared)
        sizes = self.sizes[: self.count] if semi else self.sizes
        roots = vector([size**-0.5 for size in sizes], self.example)

        def largest(flat: Tensor) -> Tensor:
            pieces = flat.split_with_sizes(self.state_sizes if semi else self.sizes)
            norms = torch.stack([torch.linalg.vector_norm(x) for x in pieces[: len(sizes)]])
            found = (norms * roots).max()
            return found + 0 * torch.linalg.vector_norm(pieces[-1]) if semi else found

        return largest

    def _shared_seminorm(self, shared: SharedNorm) -> Norm:
        def largest(flat: Tensor) -> Tensor:
            pieces = flat.split_with_sizes(self.state_sizes)
            return shared.largest(pieces[: self.count], finite=pieces[-1])

        return largest
