"""The optimizer, as configured."""

from collections.abc import Iterable

import torch
from torch import nn

from node_cli.config.optimizer import OptimizerConfig


def optimizer(config: OptimizerConfig, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """The optimizer of ``parameters``, with torch's defaults for what is not configured."""
    kind: type[torch.optim.Optimizer] = getattr(torch.optim, config.class_name)
    return kind(parameters, **config.arguments())
