"""torchode: ``AutoDiffAdjoint``, eager and compiled. Every sample has step sizes of its own.

Its documentation compiles with ``torch.compile(solver)`` and calls ``.solve`` of the result; that
attribute is the uncompiled method (torchode 1.0.1, torch 2.15), so here the method is compiled.
"""

import torch
import torchode
from torch import Tensor

from speed.contenders import Task
from speed.task import BATCH, Evaluations, TorchStep, modules


class TorchodeStep(TorchStep):
    def __init__(self, task: Task, compile_solver: bool) -> None:
        self.stem, self.f, self.head = parts = modules(task)
        term = torchode.ODETerm(self._vector_field)
        solver = torchode.AutoDiffAdjoint(
            torchode.Dopri5(term=term),
            torchode.IntegralController(atol=task.tol, rtol=task.tol, term=term),
        ).to(task.device)
        self.solve = torch.compile(solver.solve) if compile_solver else solver.solve
        self.t0 = torch.zeros(BATCH, device=task.device)
        self.t1 = torch.ones(BATCH, device=task.device)
        super().__init__(task, self._predict, parts.parameters())

    def _vector_field(self, t: Tensor, y: Tensor) -> Tensor:
        # Its states are vectors, its t one per sample; neither of our fields reads t.
        dy: Tensor = self.f(t, y.view(self.shape)).flatten(1)
        return dy

    def _predict(self, images: Tensor) -> Tensor:
        y0 = self.stem(images)
        self.shape = y0.shape
        problem = torchode.InitialValueProblem(y0=y0.flatten(1), t_start=self.t0, t_end=self.t1)
        solution = self.solve(problem)
        self.stats = solution.stats
        logits: Tensor = self.head(solution.ys[:, -1].view(self.shape))
        return logits

    def count(self, index: int) -> Evaluations:
        """By the library's statistics; f runs on the whole batch until its last sample is done."""
        self.loss(index)
        return Evaluations(int(self.stats["n_f_evals"].max()), 0)


def build(task: Task, compile_solver: bool) -> TorchodeStep:
    return TorchodeStep(task, compile_solver)
