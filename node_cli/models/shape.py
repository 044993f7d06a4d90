"""Shapes of one sample, without the batch dimension."""

import torch
from torch import nn

Shape = tuple[int, ...]


def output_shape(module: nn.Module, input_shape: Shape) -> Shape:
    """Shape of what the module makes of one sample; leaves its buffers alone."""
    parameter = next(module.parameters(), torch.zeros(()))
    sample = torch.zeros(1, *input_shape, dtype=parameter.dtype, device=parameter.device)
    training = module.training
    with torch.no_grad():
        shape = tuple(module.eval()(sample).shape[1:])
    module.train(training)
    return shape
