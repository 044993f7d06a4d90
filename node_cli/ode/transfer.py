"""From the host to a device, without the host waiting until all before is computed there."""

from collections.abc import Sequence

import torch
from torch import Tensor


def sent(x: Tensor, device: torch.device) -> Tensor:
    """x, a tensor of the host, on a device. To CUDA it is copied in passing, from pinned memory."""
    if device.type == "cpu":
        return x
    if device.type == "cuda" and x.device.type == "cpu":
        return x.pin_memory().to(device, non_blocking=True)
    return x.to(device)


def vector(numbers: Sequence[float], like: Tensor) -> Tensor:
    """The numbers in the dtype and on the device of another tensor."""
    made = torch.tensor(numbers, dtype=like.dtype)
    return made if like.is_cpu else sent(made, like.device)


def scalar(number: float, like: Tensor) -> Tensor:
    """A number, 0-dim, in the dtype and on the device of another tensor."""
    return torch.full((), number, dtype=like.dtype, device=like.device)
