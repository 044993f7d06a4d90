"""Activation functions by name."""

from typing import Literal

from torch import nn

Activation = Literal["tanh", "relu", "softplus", "elu", "gelu", "swish"]

ACTIVATIONS: dict[Activation, type[nn.Module]] = {
    "tanh": nn.Tanh,
    "relu": nn.ReLU,
    "softplus": nn.Softplus,
    "elu": nn.ELU,
    "gelu": nn.GELU,
    "swish": nn.SiLU,
}
