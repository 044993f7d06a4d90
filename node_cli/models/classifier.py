"""A classifier is a stem, a core and a head, named by the configuration."""

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext

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
from node_cli.ode.sensitivity.checkpointed import Checkpointed
from node_cli.ode.sensitivity.discrete import Discrete
from node_cli.ode.sensitivity.gauss import Gauss
from node_cli.ode.sensitivity.interface import Sensitivity
from node_cli.ode.sensitivity.interpolating import Interpolating
from node_cli.ode.solver import WarmStart
from node_cli.ode.work import Work

T0, T1 = 0.0, 1.0


class Classifier(nn.Module):
    """Images [N, C, H, W] to logits [N, classes]."""

    def __init__(self, stem: nn.Module, core: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.stem = stem
        self.core = core
        self.head = head
        self.is_compiled = False

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(self.features(images))
        return logits

    def features(self, images: Tensor) -> Tensor:
        """What the head sees of the images."""
        features: Tensor = self.core(self.stem(images))
        return features

    def compile_parts(self, *, solves: bool = True) -> None:
        """From now on compute stem, core and head compiled; of an ODE block, whole solves.

        Each is compiled, in some seconds, at its first use with a new shape. Without ``solves``, f
        alone of an ODE block.
        """
        self.is_compiled = True
        for part in (self.stem, self.core, self.head):
            if isinstance(part, ODEBlock):
                part.compile_core(solves=solves)
            else:
                part.compile(fullgraph=True, dynamic=False)

    def core_uncompiled(self) -> AbstractContextManager[None]:
        """Within it, an ODE block solves step by step."""
        return self.core.uncompiled() if isinstance(self.core, ODEBlock) else nullcontext()

    def take_work(self) -> Work | None:
        """What the ODE block has counted since the last call; None for a core without an ODE."""
        return self.core.take_work() if isinstance(self.core, ODEBlock) else None

    def warm_starts(self) -> list[WarmStart]:
        """What the ODE block has learnt of its first step sizes: part of every checkpoint."""
        return self.core.warm_starts() if isinstance(self.core, ODEBlock) else []


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
            f = field(state)
            if config.sensitivity and config.sensitivity.vjp == "compiled":
                f.compile(fullgraph=True, dynamic=False)
            return ODEBlock(
                f,
                T0,
                T1,
                config.forward_solver(),
                sensitivity(config),
                functional=model.field_call == "functional",
            )


def sensitivity(config: Config) -> Sensitivity:
    """The method that the configuration names; ``Discrete`` where it names none, to evaluate."""
    chosen = config.sensitivity
    if chosen is None:
        return Discrete()
    norm = chosen.norm or "full"
    match chosen.name:
        case "discrete":
            return Discrete()
        case "checkpointed":
            return Checkpointed()
        case "backsolve":
            return Backsolve(norm, config.backward_solver())
        case "interpolating":
            return Interpolating(norm, config.backward_solver())
        case "gauss":
            return Gauss(config.backward_solver())


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
