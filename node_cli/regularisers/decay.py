"""A penalty on the weights of f."""

import torch
from torch import Tensor, nn

from node_cli.regularisers.regulariser import OfField


class Decay(OfField):
    """Half the squared Euclidean norm of the trained parameters of f.

    With a weight w its gradient is w times the parameters, as that of ``optimizer.weight_decay``,
    which acts on stem and head too.
    """

    def measure(self, field: nn.Module) -> Tensor:
        parts = [p.square().sum() for p in field.parameters() if p.requires_grad]
        return 0.5 * torch.stack(parts).sum() if parts else torch.zeros(())
