"""Norms by which a solver measures a state."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

Norm = Callable[[Tensor], Tensor]
"""Maps a tensor of the state's shape to the 0-dim size that the step control compares with 1; NaN,
or infinite, where any element is: so a step that is accepted ends at a finite state."""


@dataclass(frozen=True)
class SharedNorm:
    """``rms_norm`` of a whole batch, of which several processes solve a part each: so all of them
    choose the same steps, those of one process with the whole, to rounding.

    Each call has to be made by all of them: a solve that ends for one, ends for all. Cost: one
    message of two numbers. In float64, so that squares stay in range.

    Attributes:
        add_up: sums a tensor over the processes, in place.
        counts: whether the images of this process belong to the batch.
    """

    add_up: Callable[[Tensor], object]
    counts: bool = True

    def __call__(self, y: Tensor) -> Tensor:
        return self.largest([y])

    def largest(self, parts: Sequence[Tensor], finite: Tensor | None = None) -> Tensor:
        """The largest norm of several tensors, 0-dim float64; NaN where one of ``finite`` is not
        finite in any process."""
        lengths = torch.stack([torch.linalg.vector_norm(part.double()) for part in parts])
        if finite is not None:
            lengths = lengths + 0 * torch.linalg.vector_norm(finite.double())
        sizes = lengths.new_tensor([part.numel() for part in parts])
        sums = torch.cat([lengths.square(), sizes])
        if not self.counts:
            sums = torch.zeros_like(sums)
        self.add_up(sums)
        squares, sizes = sums.chunk(2)
        return (squares / sizes).sqrt().max()


def rms_norm(y: Tensor) -> Tensor:
    """Root mean square over all elements, the whole batch included."""
    norm: Tensor = torch.linalg.vector_norm(y) * y.numel() ** -0.5
    return norm
