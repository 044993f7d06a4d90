"""A classifier is a stem, a core and a head, named by the configuration."""

from torch import Tensor, nn

from node_cli.config.schema import Config
from node_cli.errors import UserError, one_line
from node_cli.models.cores import core
from node_cli.models.heads import HEADS
from node_cli.models.model import Model, glorot
from node_cli.models.parts import make
from node_cli.models.shape import Shape, output_shape
from node_cli.models.stems import STEMS


class Classifier(Model):
    """Images [N, C, H, W] to logits [N, classes]."""

    def __init__(self, stem: nn.Module, core: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.stem = stem
        self.core = core
        self.head = head

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(self.features(images))
        return logits

    def features(self, images: Tensor) -> Tensor:
        """What the head sees of the images."""
        features: Tensor = self.core(self.stem(images))
        return features


def build(config: Config, image: Shape, classes: int) -> Classifier:
    """The classifier that the configuration names, weights drawn from torch's global generator.

    ``image``: [C, H, W]. Raises ``UserError`` for an unknown part, or parts that do not fit.
    """
    model = config.model
    stem = make("stem", STEMS, model.stem, model.stem_options, image, after="data")
    try:
        state = output_shape(stem, image)
    except RuntimeError as error:  # a kernel that is larger than the image
        raise UserError(
            f"model.stem={model.stem}: does not take the images of data={config.image_data.name}, "
            f"{[*image]} ({one_line(error)})"
        ) from error
    between, state = core(config, state)
    head = make("head", HEADS, model.head, model.head_options, state, classes, after="core")
    classifier = Classifier(stem, between, head)
    if model.init == "glorot":
        classifier.apply(glorot)
    return classifier
