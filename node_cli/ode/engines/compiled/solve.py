"""Solves by compiled loops: the calls of a loop, and what it cannot do itself."""

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from node_cli.ode.engines.budget import Solve
from node_cli.ode.engines.compiled.captured import CapturedField
from node_cli.ode.engines.compiled.carried import Numbers
from node_cli.ode.engines.compiled.field import CompiledField
from node_cli.ode.engines.compiled.function import Function
from node_cli.ode.engines.compiled.loop import SolveLoop, System
from node_cli.ode.engines.compiled.tape import Recording, Tape, copy_tape, new_tape
from node_cli.ode.field import no_autocast
from node_cli.ode.norms import Norm
from node_cli.ode.solver import Keep, Solver, StepMemory
from node_cli.ode.work import Steps


@dataclass
class Loop:
    """Which loop: the right-hand side and what it reads, the solver, and what it is to keep.

    ``key``: tells the system from others of the same ``owner``, whose f is ``captured``.
    ``what``: it computes, in words. ``saved``: examples of what a stage keeps. ``count`` is told
    how many evaluations of the system are made. ``longest``: (t, *inputs) -> how long a step may
    be; it is traced.
    """

    owner: CompiledField
    key: Hashable
    what: str
    captured: CapturedField
    system: System
    inputs: Sequence[object]
    solver: Solver
    norm: Norm
    keep: Keep
    saved: Sequence[Tensor]
    count: Callable[[int], object]
    longest: Callable[..., Tensor] | None = None


@torch.no_grad()
def integrate(
    loop: Loop, y0: Tensor, t: Tensor, memory: StepMemory | None = None
) -> tuple[Tensor, Steps, Recording | None]:
    """Solve from y0 at t[0]: what ``eager.solve.integrate`` returns and raises, and what is kept,
    if anything is."""
    solve = LoopSolve(loop, y0, memory)
    with no_autocast(y0.device.type):
        y = solve.through(t.tolist(), y0.detach().contiguous())
    return y, Steps(solve.accepted, solve.rejected), solve.recording


@dataclass(frozen=True)
class Call:
    """One call of a loop.

    ``evaluate``: f is evaluated first. ``choose``: a first size is chosen, for which f is evaluated
    once more if it ``probes``. ``numbers``: what the loop is given.
    """

    evaluate: bool
    choose: bool
    probes: bool
    numbers: Numbers

    @property
    def evaluated(self) -> float:
        """1 if the first attempt has its first stage."""
        return float(self.evaluate) or self.numbers.evaluated


class LoopSolve(Solve):
    """A solve by calls of a loop, as few as its budget and the room on its tape allow.

    ``y0``: an example is enough, where somebody else calls the loop between ``enter`` and
    ``leave``.
    """

    def __init__(self, loop: Loop, y0: Tensor, memory: StepMemory | None = None) -> None:
        super().__init__(loop.solver, memory)
        self.loop = loop
        solver = loop.solver
        options = (solver.name, solver.rtol, solver.atol, solver.controller)
        self.key = (loop.key, *options, loop.keep, loop.longest is not None)
        self.recording = None
        if loop.keep != "nothing":
            self.recording = loop.owner.recording(self.key, loop.keep, self.tableau, y0, loop.saved)
        self.numbers: Numbers | None = None  # as the loop has left them

    @property
    def tape(self) -> Tape | None:
        return self.recording.tape if self.recording else None

    def enter(self, start: float, end: float) -> Call:
        """Prepare a call of the loop over an interval, or the rest of one. Raises ``SolveFailed``
        where the budget does not allow it."""
        begins, given = self.numbers is None, self._given_size()
        adaptive, shared = self.tableau.adaptive, self.tableau.first_same_as_last
        choose = begins and adaptive and given is None
        probes = choose and self.loop.longest is None
        evaluate = begins and (shared or probes)
        numbers = self.numbers or Numbers(start, end, self.last, size=given or 0.0)
        if adaptive:
            self._spend(evaluate + probes)
            limit = self._affordable(known=shared or evaluate or bool(numbers.evaluated))
        else:
            limit = self.solver.steps_in(end - start)
            self._spend(limit * self.tableau.stages)
            self._make_room(self.accepted + int(limit))
        return Call(evaluate, choose, probes, numbers._replace(end=end, attempts=0.0, limit=limit))

    def loop_of(self, call: Call) -> Function:
        """The loop that is called, not compiled."""
        loop = self.loop
        return SolveLoop(
            loop.system,
            self.solver,
            loop.norm,
            loop.keep,
            loop.longest,
            start=call.evaluate,
            choose=call.choose,
        ).function()

    def leave(self, call: Call, now: Numbers) -> None:
        """Note how far the loop has come, and count what that took."""
        self.numbers = now
        adaptive, shared = self.tableau.adaptive, self.tableau.first_same_as_last
        attempts, accepted = int(now.attempts), int(now.accepted) - self.accepted
        first_stages = 0 if shared else accepted + int(now.evaluated - call.evaluated)
        made = attempts * (self.tableau.stages - 1) + first_stages
        dense = 0
        if self.loop.keep == "trajectory":
            at_end = not shared and now.t == self.last
            dense = at_end + accepted * len(self.tableau.extra)
        self.loop.count(call.evaluate + call.probes + made + dense)
        if adaptive:
            self.nfe += made
            if self.accepted == 0 and accepted:
                self._learn(now.learnt)
        self.accepted += accepted
        self.rejected += attempts - accepted
        self.t, self.size, self.dt, self.error = now.t, now.size, now.dt, now.error

    def _cross(self, interval: int, start: float, end: float) -> bool:
        before = self.accepted
        while self.t != end:
            if self.tableau.adaptive and self.numbers:
                self._next()
                self._make_room(self.accepted + 1)
            now = self._run(start, end)
            if math.isnan(now.error):
                self._fail_where_it_begins()
        if self.recording:
            self.recording.spans.append((before, self.accepted))
        return bool(now.finite)

    def _run(self, start: float, end: float) -> Numbers:
        if self.numbers is None:
            self.k = torch.zeros_like(self.y)
        call = self.enter(start, end)
        function = self.loop.owner.function(
            (self.key, call.evaluate, call.choose),
            self.y.device,
            lambda: self.loop_of(call),
            self.loop.what,
            self.loop.captured,
        )
        vector = torch.tensor(call.numbers, dtype=torch.float64, device=self.y.device)
        vector, self.y, self.k = function(vector, self.y, self.k, self.tape, *self.loop.inputs)
        now = Numbers(*vector.tolist())
        self.leave(call, now)
        known = self.tableau.first_same_as_last or now.evaluated
        self.slope = self.k if known else None
        return now

    def _affordable(self, *, known: bool) -> float:
        """How many attempts the budgets allow; one at least, since ``_next`` has been asked.

        ``known``: the first of them has its first stage.
        """
        attempts = math.inf
        if self.solver.max_steps is not None:
            attempts = self.solver.max_steps - self.accepted - self.rejected
        if self.solver.max_nfe is None:
            return attempts
        stages = self.tableau.stages
        dearest = stages - 1 if self.tableau.first_same_as_last else stages
        next_one = stages - 1 if known else stages
        left = self.solver.max_nfe - self.nfe - next_one
        if left < 0:
            self._spend(next_one)
        return min(attempts, 1 + left // dearest)

    def _make_room(self, rows: int) -> None:
        """Have room on the tape for so many steps."""
        recording, loop = self.recording, self.loop
        if recording is None or rows <= recording.tape.rows:
            return
        rows = max(rows, 2 * recording.tape.rows)
        longer = new_tape(rows, loop.keep, self.tableau, self.y, loop.saved)
        copy_tape(recording.tape, longer)
        recording.tape = longer
        loop.owner.lend(self.key, recording)
