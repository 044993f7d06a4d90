"""A trained model as one graph, from images in [0, 1] to probabilities."""

from torch import Tensor, nn

from node_cli.models.blocks import Chain, ODEBlock
from node_cli.ode.unrolled import Unrolled
from node_cli.trained.model import TrainedModel


class Graph(nn.Module):
    """Images [N, C, H, W] in [0, 1], of the model's own size, to probabilities [N, classes].

    Solves are written out; see ``Unrolled``. In the precision of the weights, without autocast.
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, model: TrainedModel) -> None:
        super().__init__()
        classifier = model.classifier
        core = classifier.core
        parts = [*core] if isinstance(core, Chain) else [core]
        self.stem = classifier.stem
        self.core = nn.Sequential(*map(_unrolled, parts))
        self.head = classifier.head
        self.register_buffer("scale", 255 * model.scale)
        self.register_buffer("shift", model.shift)
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        features = self.core(self.stem(images * self.scale + self.shift))
        probabilities: Tensor = self.head(features).softmax(1)
        return probabilities


def _unrolled(part: nn.Module) -> nn.Module:
    if not isinstance(part, ODEBlock):
        return part
    return Unrolled(part.field, part.t0, part.t1, part.solver)
