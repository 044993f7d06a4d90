"""The adjoint equations, as far as the methods that solve them backwards share them."""

from collections.abc import Callable, Sequence
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from node_cli.ode.engines import reference
from node_cli.ode.engines.compiled import solve as compiled_solve
from node_cli.ode.engines.compiled.solve import Loop, Recorded
from node_cli.ode.engines.eager import solve as eager_solve
from node_cli.ode.engines.eager.dense_output import Trajectory
from node_cli.ode.engines.eager.linearised import Products
from node_cli.ode.engines.eager.solve import LongestStep
from node_cli.ode.engines.eager.step import Stage, Stepper
from node_cli.ode.failures import SolveFailed
from node_cli.ode.norms import Norm, rms_norm
from node_cli.ode.sensitivity.method import DenseOutput, Gradients, Problem
from node_cli.ode.sensitivity.traceable import Traceable
from node_cli.ode.solver import Keep, Solver

Gradient = list[Tensor]
"""dL/dtheta so far, one tensor per trained parameter."""

Cross = Callable[[int, Tensor, Gradient], tuple[Tensor, Gradient]]
"""Takes lambda and dL/dtheta from t[i] to t[i - 1]."""

NormName = Literal["full", "seminorm"]


class Differentiable(Protocol):
    """f, and its products with a vector: what the right-hand side of an adjoint system needs."""

    def evaluate(self, t: Tensor, y: Tensor) -> Stage: ...

    def products(self, stage: Stage, v: Tensor) -> Products: ...


def sweep(problem: Problem, y: Tensor, grad_y: Tensor, cross: Cross) -> Gradients:
    """From dL/dy at the requested times to the gradients.

    lambda(t) = dL/dy(t) jumps by dL/dy_i at every requested time t_i, and ``cross`` solves in
    between, backwards,

        dlambda/dt = -lambda^T df/dy,    dg/dt = -lambda^T df/dtheta,

    so that dL/dy0 = lambda(t0), dL/dtheta = g(t0); dL/dt_i = (dL/dy_i)^T f(t_i, y_i) and
    dL/dt_0 = -lambda(t0)^T f(t0, y0). ``y``, ``grad_y``: (T, *y0.shape).
    """
    t = problem.t
    grad_t = torch.zeros(len(t), dtype=t.dtype, device=t.device) if t.requires_grad else None
    adjoint = grad_y[-1]
    gradient = [torch.zeros_like(p) for p in problem.parameters]
    f = problem.counted(backward=True)
    for i in range(len(t) - 1, 0, -1):
        if grad_t is not None:
            grad_t[i] = (grad_y[i] * f(t[i].to(y), y[i])).sum()
        adjoint, gradient = cross(i, adjoint, gradient)
        if grad_t is not None and i == 1:
            grad_t[0] = -(adjoint * f(t[0].to(y), y[0])).sum()
        adjoint = adjoint + grad_y[i - 1]
    return Gradients(grad_t, adjoint, gradient)


def relative_to_lambda(cross: Cross) -> Cross:
    """The same, lambda and g in units of the RMS that lambda has where the interval begins.

    Nothing else changes, since the equations are linear; but the tolerances become relative, and
    the steps do not depend on the scale of the loss. Of a mean over many images lambda is far below
    any usual atol, and its error would not be controlled at all.
    """

    def scaled(i: int, adjoint: Tensor, gradient: Gradient) -> tuple[Tensor, Gradient]:
        largest = float(adjoint.abs().max()) or 1.0
        unit = largest * float(rms_norm(adjoint / largest)) or 1.0  # no square leaves its range
        adjoint, gradient = cross(i, adjoint / unit, [g / unit for g in gradient])
        return adjoint * unit, [g * unit for g in gradient]

    return scaled


class Backwards:
    """A system that is solved backwards, from one requested time to the one before.

    ``system``: (f, t, state, *values) -> derivative of the state; costs one evaluation of f and one
    product. ``path``: of y, whose value at t is then the only one of the values. ``name`` tells the
    system from others of the same field, ``state`` is what a failure calls the state. Compiled
    loops solve it where they do the forward problem.

    Where both solvers are adaptive, steps along a path are no longer than those natural to the
    forward solve there, and the first one is as long. For lambda may be smooth where f, and so the
    integrand of g, is not: y would show that, and is not in the state.
    """

    def __init__(
        self,
        name: str,
        system: Callable[..., Tensor],
        problem: Problem,
        solver: Solver,
        norm: Norm = rms_norm,
        *,
        state: str,
        with_parameters: bool = True,
        path: DenseOutput | None = None,
    ) -> None:
        self.problem = problem
        self.solver = solver
        self.norm = norm
        self.name = name
        self.system = system
        self.with_parameters = with_parameters
        self.state = state
        self.path = path
        adaptive = problem.solver.method.kind == solver.method.kind == "adaptive"
        self.limited = path is not None and adaptive and solver.engine == "native"
        f = problem.linearised(with_parameters=with_parameters)

        def eager(t: Tensor, state: Tensor) -> Tensor:
            return system(f, t, state, *([path.at(float(t))] if path else []))

        self.eager = eager

    @torch.no_grad()
    def solve(self, end: Tensor, t: Tensor) -> Tensor:
        """The state at t[1] from that at t[0]. Raises ``SolveFailed``."""
        return self._solve(end, t, "nothing")[0]

    @torch.no_grad()
    def solve_densely(self, end: Tensor, t: Tensor) -> tuple[Tensor, DenseOutput]:
        """The same, and the state at any time between."""
        state, path = self._solve(end, t, "trajectory")
        assert path
        return state, path

    def _solve(self, end: Tensor, t: Tensor, keep: Keep) -> tuple[Tensor, DenseOutput | None]:
        path: DenseOutput | None = None
        try:
            if self.solver.engine == "torchdiffeq":
                states, steps = reference.integrate(self.eager, end, t, self.solver, self.norm)
            elif self.problem.compiled:
                states, steps, path = compiled_solve.integrate(self._loop(keep), end, t)
            else:
                stepper = Stepper(self.eager, self.solver, self.norm)
                path = Trajectory(self.solver.tableau)
                record = path.record if keep == "trajectory" else lambda *_: None
                states, steps = eager_solve.integrate(
                    stepper, end, t, self.solver, self.norm, record, self._longest_step()
                )
                if keep == "trajectory":
                    path.finish(stepper)
        except SolveFailed as error:
            raise error.of_backward_solve(self.state) from error
        self.problem.work.backward.add(steps)
        return states[-1], path

    def _longest_step(self) -> LongestStep | None:
        if not self.limited:
            return None
        assert isinstance(self.path, Trajectory)
        return self.path.longest_step

    def _loop(self, keep: Keep) -> Loop:
        problem, captured, path = self.problem, self.problem.captured, self.path
        count = len(captured.parameters)

        def traced(t: Tensor, state: Tensor, *inputs: Any) -> tuple[Tensor, list[Tensor]]:
            f = Traceable(captured, inputs[:count], with_parameters=self.with_parameters)
            values = []
            if path:
                tape, steps = inputs[count:]
                values = [tape.at(t.double(), steps)]
            return self.system(f, t, state, *values), []

        def longest_step(t: Tensor, *inputs: Any) -> Tensor:
            tape, steps = inputs[count:]
            longest: Tensor = tape.longest_step(t, steps)
            return longest

        inputs: list[object] = [*captured.parameters]
        if path:
            assert isinstance(path, Recorded)
            inputs += [path.tape, path.tape.times.new_tensor(path.count)]
        assert problem.compiled
        owner = problem.compiled
        forward = problem.solver.name if path else None  # what the tape has depends on it
        key = (self.name, forward, owner.key(problem.autocast, problem.y0))
        solver, norm = self.solver, self.norm
        longest = longest_step if self.limited else None
        return Loop(owner, key, traced, inputs, solver, norm, keep, [], self._count, longest)

    def _count(self, times: int) -> None:
        self.problem.work.evaluated(times, backward=True)
        self.problem.work.vjps_backward += times


class Layout:
    """Several tensors as one flat vector, the only state that a solver knows.

    First the ``states``, which a system reads, then the ``integrals``, which nothing depends on.
    """

    def __init__(self, states: Sequence[Tensor], integrals: Sequence[Tensor]) -> None:
        self.count = len(states)
        self.shapes = [x.shape for x in (*states, *integrals)]
        self.sizes = [x.numel() for x in (*states, *integrals)]
        self.state_sizes = [*self.sizes[: self.count], sum(self.sizes[self.count :])]

    def join(self, tensors: Sequence[Tensor]) -> Tensor:
        return torch.cat([x.reshape(-1) for x in tensors])

    def split(self, flat: Tensor) -> list[Tensor]:
        """All of them."""
        pieces = flat.split_with_sizes(self.sizes)
        return [piece.view(shape) for piece, shape in zip(pieces, self.shapes, strict=True)]

    def states(self, flat: Tensor) -> list[Tensor]:
        """The states alone: views of every integral would be dearer than a small f."""
        pieces = flat.split_with_sizes(self.state_sizes)
        shapes = self.shapes[: self.count]
        return [piece.view(shape) for piece, shape in zip(pieces[:-1], shapes, strict=True)]

    def norm(self, name: NormName) -> Norm:
        """The largest RMS norm among all tensors, or for ``seminorm`` the states."""
        count = self.count if name == "seminorm" else len(self.sizes)
        roots = [size**-0.5 for size in self.sizes[:count]]

        def largest(flat: Tensor) -> Tensor:
            pieces = flat.split_with_sizes(self.sizes)[:count]
            norms = torch.stack([torch.linalg.vector_norm(x) for x in pieces])
            return (norms * norms.new_tensor(roots)).max()

        return largest
