"""Norms by which a solver measures a state."""

from collections.abc import Callable

import torch
from torch import Tensor

Norm = Callable[[Tensor], Tensor]
"""Maps a tensor of the state's shape to the 0-dim size that the step control compares with 1; NaN,
or infinite, where any element is: so a step that is accepted ends at a finite state."""


def rms_norm(y: Tensor) -> Tensor:
    """Root mean square over all elements, the whole batch included."""
    norm: Tensor = torch.linalg.vector_norm(y) * y.numel() ** -0.5
    return norm
