"""Cores: what stands between stem and head, all built from the same fields.

The state of each is at least float32: under autocast only f runs in the lower precision.
"""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Protocol

import torch
from torch import Tensor, nn

from node_cli.ode.engines.compiled.field import CompiledField
from node_cli.ode.field import FunctionalCall
from node_cli.ode.norms import Norm, rms_norm
from node_cli.ode.penalties import StepPenalty
from node_cli.ode.problem import Problem
from node_cli.ode.sensitivity.method import Sensitivity
from node_cli.ode.solver import FirstSteps, Solver, StepMemory
from node_cli.ode.transfer import scalar
from node_cli.ode.work import Meter, Work


class Solves(Protocol):
    """Solves for an ODE block in the place of ``ODEBlock.solve``, for a while."""

    def __call__(self, block: "ODEBlock", field: nn.Module, y: Tensor, t: Tensor) -> Tensor:
        """The states at the times t [T], float64; ``field``: that of the block, to be called."""


class ODEBlock(nn.Module):
    """y(t1) of dy/dt = field(t, y) with y(t0) the input; [N, *state] to [N, *state].

    ``functional``: the field is called with its parameters and buffers passed in. Raises
    ``SolveFailed``. The step sizes of an adaptive solver depend on the whole batch, and with them,
    within the tolerance, the result for each sample. First step sizes are remembered here, in
    training alone, for solvers with ``first_step="warm"``. ``norm`` measures states in training.
    """

    def __init__(
        self,
        field: nn.Module,
        t0: float,
        t1: float,
        solver: Solver,
        sensitivity: Sensitivity,
        *,
        functional: bool = False,
    ) -> None:
        super().__init__()
        self.field = field
        self.t0 = t0
        self.t1 = t1
        self.solver = solver
        self.sensitivity = sensitivity
        self.first_steps = FirstSteps()
        self.norm: Norm = rms_norm
        self.solves: Solves | None = None
        self._meter: Meter | None = None
        self._work = Work(reads_later=True)
        # What a solve calls. Tuples, since these are no parts of the model beside the field.
        self._functional = (FunctionalCall(field),) if functional else ()
        self._called: tuple[nn.Module] = self._functional or (field,)

    def compile_core(self, *, solves: bool) -> None:
        """From now on solve in one compiled graph; without ``solves``, or if it has buffers, f is
        compiled alone."""
        if solves and not any(True for _ in self.field.buffers()):
            self._functional = ()
            self._called = (CompiledField(self.field),)
        else:
            self.field.compile(fullgraph=True, dynamic=False)

    @property
    def compiled(self) -> CompiledField | None:
        """The field, if solves are compiled."""
        called = self._called[0]
        return called if isinstance(called, CompiledField) else None

    @contextmanager
    def uncompiled(self) -> Iterator[None]:
        """Solves step by step, whatever has been compiled."""
        if self.compiled:
            self.compiled.enabled = False
        try:
            yield
        finally:
            if self.compiled:
                self.compiled.enabled = True

    def forward(self, y: Tensor) -> Tensor:
        # On the CPU, as steps are chosen.
        return self.at(y, torch.tensor([self.t0, self.t1], dtype=torch.float64))[-1]

    def at(self, y: Tensor, t: Tensor) -> Tensor:
        """The states at the times ``t`` [T], float64, where y is that at t[0]; [T, N, *state]."""
        y = _state(y)
        with self._functional[0].solving() if self._functional else nullcontext():
            field = self._called[0]
            return self.solves(self, field, y, t) if self.solves else self.solve(field, y, t)[0]

    def solve(
        self, field: nn.Module, y: Tensor, t: Tensor, penalties: tuple[StepPenalty, ...] = ()
    ) -> tuple[Tensor, Tensor]:
        """``at`` with another field, and what each penalty on the steps has measured, (P,)."""
        first_steps = self.first_steps if self.training else self.first_steps.copy()
        norm = self.norm if self.training else rms_norm
        problem = Problem.posed(
            field, y, t, self.solver, self._work, first_steps, penalties=penalties, norm=norm
        )
        if penalties:
            return self.sensitivity.penalised(problem)
        return self.sensitivity.solve(problem), y.new_zeros(0)

    @contextmanager
    def solved_by(self, solves: Solves) -> Iterator[None]:
        """Within it, ``solves`` is asked for every solution."""
        self.solves = solves
        try:
            yield
        finally:
            self.solves = None

    @property
    def work(self) -> Work:
        """What is being counted until ``take_work``."""
        return self._work

    @contextmanager
    def measured_by(self, meter: Meter) -> Iterator[None]:
        """Within it, ``meter`` measures evaluations of f and their products, step by step."""
        self._meter = self._work.meter = meter
        try:
            yield
        finally:
            self._meter = self._work.meter = None

    def set_sensitivity(self, sensitivity: Sensitivity) -> None:
        """Take another gradient method, whose backward solver remembers nothing yet."""
        self.sensitivity = sensitivity
        self.first_steps.backward = StepMemory()

    def warm_starts(self) -> list[StepMemory]:
        """Of the forward and the backward solver, in this order, those that start warm."""
        solvers = (self.solver, getattr(self.sensitivity, "solver", None))
        memories = (self.first_steps.forward, self.first_steps.backward)
        return [
            memory
            for solver, memory in zip(solvers, memories, strict=True)
            if solver is not None and solver.first_step == "warm"
        ]

    def take_work(self) -> Work:
        """What has been counted since the last call; counting starts again from zero.

        After a backward pass its ``read`` has to be called.
        """
        work, self._work = self._work, Work(reads_later=True, meter=self._meter)
        return work


class Chain(nn.Sequential):
    """Parts one after the other: cores, and what stands before, between and after them."""


def ode_blocks(core: nn.Module) -> list[ODEBlock]:
    """The ODE blocks of a core, in the order in which they are solved."""
    parts = core if isinstance(core, Chain) else (core,)
    return [part for part in parts if isinstance(part, ODEBlock)]


class ResidualStack(nn.Module):
    """y + f(t0, y), once per field in turn: the discrete counterpart of an ``ODEBlock``.

    One Euler step of size 1 of an ODE block equals one of these blocks with the same weights.
    """

    def __init__(self, fields: list[nn.Module], t0: float) -> None:
        super().__init__()
        self.fields = nn.ModuleList(fields)
        self.t0 = t0

    def forward(self, y: Tensor) -> Tensor:
        y = _state(y)
        t = scalar(self.t0, y)
        for field in self.fields:
            y = y + field(t, y)
        return y


class PlainField(nn.Module):
    """f(t0, y): the same field applied once, the tutorials' variant without the ODE."""

    def __init__(self, field: nn.Module, t0: float) -> None:
        super().__init__()
        self.field = field
        self.t0 = t0

    def forward(self, y: Tensor) -> Tensor:
        y = _state(y)
        dy: Tensor = self.field(scalar(self.t0, y), y)
        return dy.to(y.dtype)


def _state(y: Tensor) -> Tensor:
    return y.float() if y.dtype in (torch.bfloat16, torch.float16) else y
