"""A classifier is a stem, a core and a head, named by the configuration."""

from collections.abc import Mapping

from torch import Tensor, nn

from node_cli.config.messages import not_among
from node_cli.config.schema import Config, ModelConfig
from node_cli.errors import UserError
from node_cli.models.cores import core
from node_cli.models.fields import FIELDS
from node_cli.models.heads import HEADS
from node_cli.models.model import Model, glorot
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
    _check_names(config.model)
    assert config.model.stem and config.model.head, "refused when the configuration is checked"
    stem = STEMS[config.model.stem](image)
    state = output_shape(stem, image)
    head = HEADS[config.model.head]
    classifier = Classifier(stem, core(config, state), head(state, classes))
    if config.model.init == "glorot":
        classifier.apply(glorot)
    return classifier


def _check_names(model: ModelConfig) -> None:
    named: list[tuple[str, str | None, Mapping[str, object]]] = [
        ("model.stem", model.stem, STEMS),
        ("model.field", model.field, FIELDS),
        ("model.head", model.head, HEADS),
    ]
    problems = [
        not_among(key, name, registry)
        for key, name, registry in named
        if name is not None and name not in registry
    ]
    if problems:
        raise UserError(*problems)
