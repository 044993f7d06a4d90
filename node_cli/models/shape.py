"""Shapes of one sample, without the batch dimension."""

import torch
from torch import nn

from node_cli.errors import UserError

Shape = tuple[int, ...]


def width_of(state: Shape, part: str, before: str = "stem") -> int:
    """D of a vector [D]. Raises ``UserError``, with the part that needs one and what gives it."""
    if len(state) != 1:
        raise UserError(f"{part}: needs a vector [D], but the {before} gives {[*state]}")
    return state[0]


def channels_of(state: Shape, part: str, before: str = "stem") -> int:
    """C of an image [C, H, W]. Raises ``UserError``, with the part that needs one and what gives
    it."""
    if len(state) != 3:
        raise UserError(f"{part}: needs an image [C, H, W], but the {before} gives {[*state]}")
    return state[0]


def output_shape(module: nn.Module, input_shape: Shape) -> Shape:
    """Shape of what the module makes of one sample; leaves its buffers alone."""
    parameter = next(module.parameters(), torch.zeros(()))
    sample = torch.zeros(1, *input_shape, dtype=parameter.dtype, device=parameter.device)
    training = module.training
    with torch.no_grad():
        shape = tuple(module.eval()(sample).shape[1:])
    module.train(training)
    return shape
