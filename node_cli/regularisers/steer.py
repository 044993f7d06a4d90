"""A random end of the interval."""

import torch
from torch import Tensor

from node_cli.regularisers.regulariser import OfInterval


class Steer(OfInterval):
    """The end T of the interval is drawn from [T - b, T + b], b the ``half_width``, each time as
    likely as the others; in training alone."""

    def __init__(self, *, half_width: float) -> None:
        self.half_width = half_width

    def times(self, t: Tensor, generator: torch.Generator) -> Tensor:
        drawn = torch.rand((), generator=generator, dtype=t.dtype)
        moved = t.clone()
        moved[-1] += self.half_width * (2 * drawn - 1)
        return moved
