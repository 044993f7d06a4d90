"""A classifier is a stem, a core and a head, named by the configuration."""

from torch import Tensor, nn

from node_cli.config.messages import not_among
from node_cli.config.model import ModelConfig
from node_cli.config.schema import Config
from node_cli.errors import UserError
from node_cli.models.cores import core
from node_cli.models.fields import FIELDS
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
    _check_names(model)
    stem = make("model.stem", STEMS, model.stem, image, after="data")
    state = output_shape(stem, image)
    between, state = core(config, state)
    head = make("model.head", HEADS, model.head, state, classes, after="core")
    classifier = Classifier(stem, between, head)
    if model.init == "glorot":
        classifier.apply(glorot)
    return classifier


def _check_names(model: ModelConfig) -> None:
    """Raise ``UserError`` for all parts that there are not."""
    tables = {"stem": STEMS, "field": FIELDS, "head": HEADS}
    named = {kind: getattr(model, kind) for kind in tables}
    problems = [
        not_among(f"model.{kind}", name, tables[kind])
        for kind, name in named.items()
        if name is not None and name not in tables[kind]
    ]
    if problems:
        raise UserError(*problems)
