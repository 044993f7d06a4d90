"""torchdyn: ``NeuralODE`` with ``sensitivity="autograd"`` and ``"adjoint"``."""

import torch
from torch import Tensor, nn
from torchdyn.core import NeuralODE

from speed.contenders import Task
from speed.task import TorchStep, modules


class VectorField(nn.Module):
    """f in the form that torchdyn calls: it hands a keyword ``args`` to a field with time."""

    def __init__(self, field: nn.Module) -> None:
        super().__init__()
        self.field = field

    def forward(self, t: Tensor, x: Tensor, args: object = None) -> Tensor:
        dx: Tensor = self.field(t, x)
        return dx


def build(task: Task, sensitivity: str) -> TorchStep:
    stem, field, head = parts = modules(task)
    # Its adjoint has tolerances of its own, 1e-4 by default: here those of the forward solve.
    node = NeuralODE(
        VectorField(field),
        solver="dopri5",
        sensitivity=sensitivity,
        rtol=task.tol,
        atol=task.tol,
        rtol_adjoint=task.tol,
        atol_adjoint=task.tol,
        return_t_eval=False,
    )
    t = torch.tensor([0.0, 1.0], device=task.device)

    def predict(images: Tensor) -> Tensor:
        logits: Tensor = head(node(stem(images), t)[-1])
        return logits

    return TorchStep(task, predict, parts.parameters(), field)
