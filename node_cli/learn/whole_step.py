"""The gradient of a training step as one compiled graph."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from node_cli.learn.whole_backward import (
    COUNT,
    Backward,
    OverAdjoint,
    OverSteps,
    is_complete,
)
from node_cli.machine.device import Backend
from node_cli.models.blocks import ODEBlock
from node_cli.models.classifier import Classifier
from node_cli.ode.engines.compiled.captured import Captured, CapturedField
from node_cli.ode.engines.compiled.carried import Numbers
from node_cli.ode.engines.compiled.engine import Compiled
from node_cli.ode.engines.compiled.field import CompiledField
from node_cli.ode.engines.compiled.function import Function
from node_cli.ode.engines.compiled.solve import LoopSolve
from node_cli.ode.engines.compiled.tape import Tape
from node_cli.ode.failures import SolveFailed
from node_cli.ode.field import Autocast, Tensors
from node_cli.ode.problem import Problem
from node_cli.ode.sensitivity.continuous import Continuous, Posed
from node_cli.ode.sensitivity.discrete import OfSteps
from node_cli.ode.transfer import sent
from node_cli.ode.work import Steps, Work


@dataclass
class Parts:
    """Stem, field, and head with loss, for batches of one shape; ``y0``: an example of a state.
    ``posed``: what is solved backwards, None where the steps are differentiated."""

    stem: Captured
    field: CapturedField
    head: Captured
    y0: Tensor
    posed: Posed | None

    @property
    def parameters(self) -> list[nn.Parameter]:
        return [p for part in (self.stem, self.field, self.head) for p in part.parameters]

    @property
    def trained(self) -> list[nn.Parameter]:
        return [p for p in self.parameters if p.requires_grad]


class WholeStep:
    """Stem, solve, head, loss, the adjoint of each, and the gradient norm: one call from Python.

    The numbers are those of the parts, one after the other. What it saves is the cost of calling
    them, and of autograd between them, which is that of a small solve.
    """

    def __init__(self, model: Classifier, loss: nn.Module, backend: Backend) -> None:
        """``loss``: head and loss, from (features, labels) to (loss, correct)."""
        assert isinstance(model.core, ODEBlock)
        self.sensitivity = model.core.sensitivity
        self.keeps = self.sensitivity.keeps
        assert model.core.compiled
        self.stem, self.block, self.loss = model.stem, model.core, loss
        self.owner: CompiledField = model.core.compiled
        self.tensors = Tensors(self.owner)
        with backend.autocast():
            self.autocast = Autocast(backend.device.type)
        self.times = torch.tensor([self.block.t0, self.block.t1], dtype=torch.float64)
        self.parts: Parts | None = None

    @staticmethod
    def suits(model: Classifier) -> bool:
        """Whether the model is compiled, keeps no buffers, and its parts share no parameter; and
        whether the native engine makes all of its solves."""
        core = model.core
        if not isinstance(core, ODEBlock) or not core.compiled or core.solver.engine != "native":
            return False
        if core.solver.jump_t:  # several solves
            return False
        if isinstance(core.sensitivity, Continuous):
            backwards = core.sensitivity.solver
            if backwards and (backwards.engine != "native" or backwards.jump_t):
                return False
        elif not isinstance(core.sensitivity, OfSteps):
            return False
        parts = (model.stem, core, model.head)
        count = sum(len(list(part.parameters())) for part in parts)
        alone = count == len(list(model.parameters()))
        return alone and not any(True for _ in model.buffers())

    @torch.no_grad()
    def __call__(self, images: Tensor, labels: Tensor) -> tuple[float, float, int, Work] | None:
        """Loss, gradient norm, correct images and work; the gradient in the parameters' ``grad``.

        None, and nothing done, where the solve does not come to its end in one call: it fails, or
        needs more room than any before.
        """
        parts = self.parts = self.parts or self._parts(images, labels)
        block, work = self.block, Work()
        problem = self._problem(parts.y0, work)
        loop = Compiled(problem, self.owner).loop(self.keeps)
        solve = LoopSolve(loop, parts.y0, block.first_steps.forward)
        solve.set_out([block.t0, block.t1], parts.y0)
        try:
            call = solve.enter(block.t0, block.t1)
            backward = self._backward(problem, parts, solve)
        except SolveFailed:
            return None
        function = self.owner.function(
            ("whole step", solve.key, call.evaluate, call.choose, backward.key),
            images.device,
            lambda: _step(parts, solve.loop_of(call), backward.traced()),
            "the training step",
            *(parts.stem, parts.field, parts.head),
        )
        given = torch.tensor([*call.numbers, *backward.numbers], dtype=torch.float64)
        numbers, tapes = sent(given, images.device), (solve.tape, backward.tape)
        found, *gradient = function(numbers, images, labels, *tapes, *parts.parameters)
        loss, norm, correct, *values = found.tolist()
        now = Numbers(*values[:COUNT])
        if not is_complete(now) or not backward.finished(int(now.accepted), values[COUNT:]):
            return None
        solve.leave(call, now)
        work.forward.add(Steps(solve.accepted, solve.rejected))
        for parameter, by_parameter in zip(parts.trained, gradient, strict=True):
            if (
                by_parameter.stride() != parameter.stride()
            ):  # which a fused optimizer takes as equal
                by_parameter = torch.empty_like(parameter).copy_(by_parameter)
            parameter.grad = by_parameter
        return loss, norm, int(correct), work

    def _problem(self, y0: Tensor, work: Work) -> Problem:
        solver, first_steps = self.block.solver, self.block.first_steps
        given = self.owner, y0, self.times, solver, work, self.autocast, self.tensors
        return Problem(*given, first_steps)

    def _backward(self, problem: Problem, parts: Parts, solve: LoopSolve) -> Backward:
        if parts.posed is None:
            return OverSteps(problem, parts.field, self.keeps)
        return OverAdjoint(problem, self.owner, parts.posed, solve)

    def _parts(self, images: Tensor, labels: Tensor) -> Parts:
        with torch.compiler.set_stance("force_eager"), self.autocast.again():
            y0 = self.stem(images).to(images.dtype)
        posed = None
        if isinstance(self.sensitivity, Continuous):
            posed = self.sensitivity.posed(self._problem(y0, Work()), y0)
        features = y0.detach().clone().requires_grad_()
        return Parts(
            Captured(self.stem, self.autocast, images),
            self.owner.captured(self.autocast, y0),
            Captured(self.loss, self.autocast, features, labels),
            y0,
            posed,
        )


def _step(parts: Parts, solve: Function, pull_back: Function) -> Function:
    """(numbers, images, labels, tape, backward tape, *parameters) -> (loss, gradient norm, number
    of correct images, and numbers, *gradient).

    ``solve``, ``pull_back``: the forward solve and the backward pass."""
    stem, head = parts.stem, parts.head
    ends = len(stem.parameters), len(stem.parameters) + len(parts.field.parameters)

    def step(
        numbers: Tensor,
        images: Tensor,
        labels: Tensor,
        tape: Tape | None,
        backward_tape: Tape | None,
        *parameters: Tensor,
    ) -> tuple[Tensor, ...]:
        of_stem, of_field, of_head = (
            parameters[: ends[0]],
            parameters[ends[0] : ends[1]],
            parameters[ends[1] :],
        )
        (y0,), saved_by_stem = stem.evaluate((images,), of_stem)
        forward, y1, _ = solve(numbers[:COUNT].clone(), y0, torch.zeros_like(y0), tape, *of_field)
        (loss, correct), saved_by_head = head.evaluate((y1, labels), of_head, outputs=2)

        (by_y1, _), by_head = head.products(saved_by_head, torch.ones_like(loss))
        given = forward, y0, y1, by_y1, tape, numbers[COUNT:].clone(), backward_tape
        by_y0, by_field, further = pull_back(*given, of_field)
        _, by_stem = stem.products(saved_by_stem, by_y0)

        gradient = [*by_stem, *by_field, *by_head]
        norm = torch.linalg.vector_norm(
            torch.stack([torch.linalg.vector_norm(g) for g in gradient])
        )
        found = torch.stack([loss, norm, correct.to(loss.dtype)]).to(numbers.dtype)
        return torch.cat([found, forward, further]), *(g.contiguous() for g in gradient)

    return step
