"""Runge-Kutta steps compiled: all stages, the result and the norm of the error in one graph."""

from collections.abc import Callable, Hashable
from typing import Any

import torch
from torch import Tensor, nn

from node_cli.ode.norms import Norm, rms_norm
from node_cli.ode.solver import Solver
from node_cli.ode.step import Attempt, Stage
from node_cli.ode.work import Autocast

System = Callable[..., Tensor]
"""A right-hand side that can be traced: (t, y, *extra) -> dy. ``extra``: one value per stage of
each of the tensors that ``CompiledStepper.extra`` gives."""

Function = Callable[..., Any]


class CompiledSteps(nn.Module):
    """A field, and the compiled functions that belong to it.

    Given one of these for a field, a solver of the native engine computes whole steps in one graph
    each. Cost: some seconds for each function and each shape of y, and again for a last batch of
    another size. Do not use it for a few hundred steps of training.
    """

    def __init__(self, field: nn.Module) -> None:
        super().__init__()
        self.field = field
        self._functions: dict[Hashable, Function] = {}

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        dy: Tensor = self.field(t, y)
        return dy

    def compiled(self, key: Hashable, make: Callable[[], Function]) -> Function:
        """The function of that key, compiled at its first use.

        Without graph breaks and once per shape: times and sizes are tensors within.
        """
        if key not in self._functions:
            self._functions[key] = torch.compile(make(), fullgraph=True, dynamic=False)
        return self._functions[key]

    def stepper(
        self,
        solver: Solver,
        autocast: Autocast,
        count: Callable[[int], object],
        *,
        dense: bool = False,
    ) -> "CompiledStepper":
        """Steps of the field itself; they can be differentiated where y or a parameter is."""
        system = autocast.around(self.field)
        return CompiledStepper(self, ("field", autocast.key), system, solver, count, dense=dense)

    def result_of_step(
        self, solver: Solver, autocast: Autocast
    ) -> Callable[[list[float], float, Tensor], Tensor]:
        """y1 from the times of the stages, dt and y0, of a step known to be accepted."""
        key = ("result", autocast.key, solver.name)
        function = self.compiled(key, lambda: _result(autocast.around(self.field), solver))

        def result(times: list[float], dt: float, y0: Tensor) -> Tensor:
            moments = torch.tensor(times, dtype=y0.dtype, device=y0.device)
            y1: Tensor = function(moments, moments.new_tensor(dt), y0)
            return y1

        return result


class CompiledStepper:
    """Computes the steps of ``system`` in one graph each. Implements ``Stepper``.

    ``key``: tells this system from others of the same ``home``. ``count`` is told how many
    evaluations of the system are about to be made. ``extra``: from the times of stages to further
    arguments of the system, one row per stage. ``dense``: the middle of each step is wanted.
    """

    def __init__(
        self,
        home: CompiledSteps,
        key: Hashable,
        system: System,
        solver: Solver,
        count: Callable[[int], object],
        norm: Norm = rms_norm,
        extra: Callable[[list[float]], list[Tensor]] = lambda _: [],
        *,
        dense: bool = False,
    ) -> None:
        self.home = home
        self.key = (key, solver.name, solver.rtol, solver.atol, dense)
        self.dense = dense
        self.system = system
        self.solver = solver
        self.tableau = solver.tableau
        self.count = count
        self.norm = norm
        self.extra = extra

    def evaluate(self, t: float, y: Tensor) -> Stage:
        self.count(1)
        moment = torch.tensor(t, dtype=y.dtype, device=y.device)
        function = self.home.compiled((self.key, "evaluate"), lambda: self.system)
        return Stage(moment, y, function(moment, y, *(e[0] for e in self.extra([t]))))

    def probe(self, t: float, y: Tensor) -> Tensor:
        return self.evaluate(t, y).k

    def attempt(self, first: Stage, times: list[float], dt: float, *, final: bool) -> Attempt:
        self.count(self.tableau.stages - 1)
        y0 = first.y
        moments = torch.tensor(times, dtype=y0.dtype, device=y0.device)
        function = self.home.compiled(
            (self.key, "step", final),
            lambda: _step(self.system, self.solver, self.norm, final=final, dense=self.dense),
        )
        y1, last, error, middle = function(
            moments, moments.new_tensor(dt), y0, first.k, *self.extra(times)
        )
        return Attempt(
            y1,
            Stage(moments[-1], y1, last) if self.tableau.first_same_as_last else None,
            None if error is None else float(error),
            None,
            middle,
        )


def _step(system: System, solver: Solver, norm: Norm, *, final: bool, dense: bool) -> Function:
    """The function that makes one step.

    ``final``: nothing follows this step, so that its last stage, which serves the error alone,
    needs no gradient.
    """
    tableau = solver.tableau
    fsal = tableau.first_same_as_last

    def step(
        moments: Tensor, dt: Tensor, y0: Tensor, k0: Tensor, *extra: Tensor
    ) -> tuple[Any, ...]:
        slopes = [k0]
        y = y0
        for i in range(1, tableau.stages):
            y = weighted(y0, tableau.a[i], slopes, dt)
            unused = fsal and final and i == tableau.stages - 1
            k = system(moments[i], y.detach() if unused else y, *(e[i] for e in extra))
            slopes.append(k.detach() if unused else k)
        y1 = y if fsal else weighted(y0, tableau.b, slopes, dt)
        error = middle = None
        with torch.no_grad():
            if tableau.b_error is not None:
                assert solver.rtol is not None and solver.atol is not None
                scale = solver.atol + solver.rtol * torch.maximum(y0.abs(), y1.abs())
                zero = torch.zeros_like(y0)
                error = norm(weighted(zero, tableau.b_error, slopes, dt) / scale)
            if dense and tableau.mid is not None:
                middle = weighted(y0, tableau.mid, slopes, dt)
        return y1, slopes[-1] if fsal else None, error, middle

    return step


def _result(system: System, solver: Solver) -> Function:
    """The function that takes a step known to be accepted: y1 from y0, the first stage included."""
    tableau = solver.tableau

    def result(moments: Tensor, dt: Tensor, y0: Tensor) -> Tensor:
        slopes: list[Tensor] = []
        for i in range(tableau.stages_of_result):
            slopes.append(system(moments[i], weighted(y0, tableau.a[i], slopes, dt)))
        return weighted(y0, tableau.b, slopes, dt)

    return result


def weighted(y: Tensor, weights: tuple[float, ...], slopes: list[Tensor], dt: Tensor) -> Tensor:
    """y plus dt times the weighted slopes."""
    for weight, k in zip(weights, slopes, strict=False):
        if weight:
            y = y + (dt * weight) * k
    return y
