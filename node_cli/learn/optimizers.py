"""Optimizer and learning rate, as configured."""

import math
from bisect import bisect_right
from collections.abc import Iterable

import torch
from torch import nn

from node_cli.config.schema import OptimizerConfig, ScheduleConfig


def optimizer(config: OptimizerConfig, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """Adam (decay added to the gradient), AdamW (decoupled) or SGD, with torch's default betas.

    Fused: one kernel for all parameters, which of a small model takes a tenth of the time.
    """
    lr, weight_decay = config.lr, config.weight_decay
    match config.name:
        case "adam":
            return torch.optim.Adam(parameters, lr, weight_decay=weight_decay, fused=True)
        case "adamw":
            return torch.optim.AdamW(parameters, lr, weight_decay=weight_decay, fused=True)
        case "sgd":
            momentum = config.momentum or 0.0
            return torch.optim.SGD(
                parameters, lr, momentum=momentum, weight_decay=weight_decay, fused=True
            )


def learning_rate(lr: float, config: ScheduleConfig, epoch: int, epochs: int) -> float:
    """The learning rate of an epoch, counted from 0: a function, so that nothing has to be saved.

    ``step``: gamma for each milestone passed. ``cosine``: from lr towards 0 along half a cosine
    (Loshchilov and Hutter, "SGDR", ICLR 2017, equation 5, without restarts).
    """
    match config.name:
        case "constant":
            return lr
        case "step":
            assert config.milestones is not None and config.gamma is not None
            return lr * config.gamma ** bisect_right(config.milestones, epoch)
        case "cosine":
            return lr * (1 + math.cos(math.pi * epoch / epochs)) / 2
