"""torchdiffeq: ``odeint`` (backpropagation through the solver) and ``odeint_adjoint``."""

import torch
from torch import Tensor
from torchdiffeq import odeint, odeint_adjoint

from speed.contenders import Task
from speed.task import TorchStep, modules


def build(task: Task, adjoint: bool) -> TorchStep:
    stem, field, head = parts = modules(task)
    solve = odeint_adjoint if adjoint else odeint
    t = torch.tensor([0.0, 1.0], device=task.device)

    def predict(images: Tensor) -> Tensor:
        y = solve(field, stem(images), t, rtol=task.tol, atol=task.tol, method="dopri5")
        logits: Tensor = head(y[-1])
        return logits

    return TorchStep(task, predict, parts.parameters(), field)
