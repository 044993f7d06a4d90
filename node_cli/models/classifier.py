"""A classifier is a stem, a core and a head, named by the configuration."""

from collections.abc import Mapping

from torch import Tensor, nn

from node_cli.config.messages import not_among
from node_cli.config.schema import Config, ModelConfig
from node_cli.errors import UserError
from node_cli.models.blocks import ODEBlock, PlainField, ResidualStack
from node_cli.models.fields import FIELDS
from node_cli.models.heads import HEADS
from node_cli.models.shape import Shape, output_shape
from node_cli.models.stems import STEMS
from node_cli.ode.sensitivity.backsolve import Backsolve
from node_cli.ode.sensitivity.discrete import Discrete
from node_cli.ode.sensitivity.interface import Sensitivity
from node_cli.ode.work import Work

T0, T1 = 0.0, 1.0


class Classifier(nn.Module):
    """Images [N, C, H, W] to logits [N, classes]."""

    def __init__(self, stem: nn.Module, core: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.stem = stem
        self.core = core
        self.head = head

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(self.core(self.stem(images)))
        return logits

    def take_work(self) -> Work | None:
        """What the ODE block has counted since the last call; None for a core without an ODE."""
        return self.core.take_work() if isinstance(self.core, ODEBlock) else None


def build(config: Config, image: Shape, classes: int) -> Classifier:
    """The classifier that the configuration names, weights drawn from torch's global generator.

    ``image``: [C, H, W]. Raises ``UserError`` for an unknown part, or parts that do not fit.
    """
    _check_names(config.model)
    stem = STEMS[config.model.stem](image)
    state = output_shape(stem, image)
    core = _core(config, state)
    head = HEADS[config.model.head](state, classes)
    classifier = Classifier(stem, core, head)
    if config.model.init == "glorot":
        classifier.apply(_glorot)
    return classifier


def _core(config: Config, state: Shape) -> nn.Module:
    model: ModelConfig = config.model
    if model.core == "none":
        return nn.Identity()
    assert model.field is not None, "refused when the configuration is checked"
    field = FIELDS[model.field]
    match model.core:
        case "residual":
            assert model.blocks is not None, "refused when the configuration is checked"
            return ResidualStack([field(state) for _ in range(model.blocks)], T0)
        case "plain":
            return PlainField(field(state), T0)
        case "ode":
            return ODEBlock(field(state), T0, T1, config.forward_solver(), _sensitivity(config))


def _sensitivity(config: Config) -> Sensitivity:
    if config.sensitivity is None or config.sensitivity.name == "discrete":  # none: an evaluation
        return Discrete()
    return Backsolve(config.sensitivity.norm or "full", config.backward_solver())


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


def _glorot(module: nn.Module) -> None:
    """Glorot-uniform weights and zero biases, as Lux.jl and Flux.jl initialise."""
    if isinstance(module, nn.Linear | nn.Conv2d):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
