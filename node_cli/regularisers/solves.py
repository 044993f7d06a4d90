"""The solves of a training step with its regularisers."""

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from node_cli.errors import UserError
from node_cli.ode.field import Autocast, Field
from node_cli.ode.penalties import StepPenalty
from node_cli.ode.solver import Solver
from node_cli.ode.work import Work
from node_cli.regularisers.regulariser import (
    Integrand,
    OfField,
    OfInterval,
    OfMoment,
    OfPath,
    OfSteps,
    Regulariser,
)


class Block(Protocol):
    """What is asked of an ODE block."""

    solver: Solver
    field: nn.Module

    @property
    def work(self) -> Work: ...

    def solve(
        self, field: nn.Module, y: Tensor, t: Tensor, penalties: tuple[StepPenalty, ...]
    ) -> tuple[Tensor, Tensor]:
        """The states at the times t [T], (T, *y.shape), and what each penalty has measured."""


class RegularisedSolves:
    """Solves as the regularisers of a training want it, and adds up what they measure.

    ``generators``: one for each of them, for this training step. ``measured``: by name, without
    weights; one that has no penalty is not there.
    """

    def __init__(
        self,
        regularisers: Mapping[str, Regulariser],
        generators: Mapping[str, torch.Generator],
    ) -> None:
        self.regularisers = regularisers
        self.generators = generators
        self.measured: dict[str, Tensor] = {}

    def __call__(self, block: Block, field: nn.Module, y: Tensor, t: Tensor) -> Tensor:
        """The states at the times t [T], float64, where y [N, *state] is that at t[0].

        ``field``: that of the block, as it is to be called. Raises ``SolveFailed``.
        """
        for name, interval in self._of(OfInterval).items():
            t = interval.times(t, self.generators[name])
        moments = {name: _drawn(t, self.generators[name]) for name in self._of(OfMoment)}
        times = _merged(t, moments)
        steps = self._of(OfSteps)
        penalties = tuple(x.penalty(self.generators[name]) for name, x in steps.items())
        paths = self._of(OfPath)
        integrands = {name: x.integrand(y, self.generators[name]) for name, x in paths.items()}

        if integrands:
            further = sum(path.further for path in paths.values())
            field_of_all = WithIntegrals(field, integrands, y.shape, block.work, further)
            start = torch.cat([y.reshape(-1), y.new_zeros(len(integrands))])
            found, of_steps = block.solve(field_of_all, start, times, penalties)
            states = found[:, : y.numel()].view(len(times), *y.shape)
            self._add(paths, found[-1, y.numel() :])
        else:
            states, of_steps = block.solve(field, y, times, penalties)
        self._add(steps, of_steps)

        known = times.tolist()
        f = Autocast(y.device.type).around(field)
        for name, moment in self._of(OfMoment).items():
            counted = _Counted(f, block.work)
            at, end = moments[name], float(t[-1])
            self._add(
                [name], [moment.measure(counted, block.solver, at, states[known.index(at)], end)]
            )
        for name, of_field in self._of(OfField).items():
            self._add([name], [of_field.measure(block.field)])
        return states if len(times) == len(t) else states[[known.index(x) for x in t.tolist()]]

    def _of(self, kind: type) -> dict[str, Any]:
        return {name: x for name, x in self.regularisers.items() if isinstance(x, kind)}

    def _add(self, names: Iterable[str], values: Iterable[Tensor]) -> None:
        for name, value in zip(names, values, strict=True):
            _check(name, value)
            before = self.measured.get(name)
            self.measured[name] = value if before is None else before + value


class WithIntegrals(nn.Module):
    """dy/dt = f(t, y) and integrals along y as one ODE, of a flat vector: y, then each integral.

    ``integrands``: by the names of their regularisers. ``shape``: of y. ``further``: evaluations
    that the integrands make each time, to be counted.
    """

    def __init__(
        self,
        field: nn.Module,
        integrands: Mapping[str, Integrand],
        shape: torch.Size,
        work: Work,
        further: int,
    ) -> None:
        super().__init__()
        self.field = field
        self.integrands = integrands
        self.shape = shape
        self.work = work
        self.further = further

    def forward(self, t: Tensor, state: Tensor) -> Tensor:
        y = state[: self.shape.numel()].view(self.shape)
        dy = self.field(t, y)
        self.work.nfe_penalty += self.further
        found = []
        for name, integrand in self.integrands.items():
            found.append(integrand(self.field, t, y, dy))
            _check(name, found[-1])
        return torch.cat([dy.reshape(-1).to(state.dtype), torch.stack(found).to(state.dtype)])


class _Counted:
    """f, each evaluation of which is one for a penalty."""

    def __init__(self, f: Field, work: Work) -> None:
        self.f = f
        self.work = work

    def __call__(self, t: Tensor, y: Tensor) -> Tensor:
        self.work.nfe_penalty += 1
        return self.f(t, y)


def _check(name: str, value: Tensor) -> None:
    """Raise ``UserError`` where a regulariser measures more than one number."""
    if value.ndim:
        raise UserError(f"regularize={name}: measures {[*value.shape]}, must be a 0-dim tensor")


def _drawn(t: Tensor, generator: torch.Generator) -> float:
    """A time between the first and the last, each as likely as the others."""
    place = float(torch.rand((), generator=generator, dtype=torch.float64))
    return float(t[0] + place * (t[-1] - t[0]))


def _merged(t: Tensor, moments: Mapping[str, float]) -> Tensor:
    """All times in the order of t."""
    if not moments:
        return t
    times = sorted({*t.tolist(), *moments.values()}, reverse=bool(t[-1] < t[0]))
    return torch.tensor(times, dtype=t.dtype)
