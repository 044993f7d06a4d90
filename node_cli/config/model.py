"""The model: stem, core and head by name; the options of each kind of core."""

from collections.abc import Collection
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from node_cli.config.section import OneOf, Section, Variants, drop_unused
from node_cli.config.tree import WRONG, Tree, get, show
from node_cli.data.catalog import TRAJECTORIES

_NO_FIELD = "model.core={core}: model={name} has no field f; set model.field, or model.core=none"
_NO_BLOCKS = "model.blocks: model.core=residual needs a number, for example model.blocks=6"

# The options of what the core is given and gives, and those of an ODE.
AROUND = ("augment", "augment_by", "dropout_before", "dropout_after")
OF_ODE = ("t0", "t1", "weights_in_t", "dynamics", "velocity", "damping", "field_call")

DYNAMICS = ("first_order", "second_order", "heavy_ball")

Time = Annotated[float, Field(ge=-1e6, le=1e6)]
Part = Annotated[float, Field(ge=0, lt=1)]
Start = Literal["zeros", "layer"]


class Stage(Section):
    """A part of a core at one resolution. ``entry``: what stands before its blocks; ``stride``: by
    which that shrinks the image. ``blocks``: how many cores follow each other. ``field``: None for
    that of the model."""

    channels: Annotated[int, Field(ge=1, le=100_000)]
    blocks: Annotated[int, Field(ge=1, le=1_000)]
    entry: Literal["none", "conv", "residual", "stitch"]
    stride: Literal[1, 2, 4]
    field: str | None = None


class ModelSection(Section):
    """``stem``, ``head``: None for a model that fits a trajectory. ``field``: f of the core. The
    options of each are those of its signature: see ``config.parts``."""

    name: str
    stem: str | None
    stem_options: dict[str, Any]
    field: str | None
    field_options: dict[str, Any]
    head: str | None
    head_options: dict[str, Any]
    init: Literal["torch", "glorot"]
    stages: Annotated[list[Stage], Field(min_length=1, max_length=100)] | None = None

    @property
    def ode_blocks(self) -> int:
        """How many ODEs are solved one after the other."""
        return 0


class CoreModel(ModelSection):
    """There is a core. ``augment``: how many dimensions or channels more its state has;
    ``augment_by``: what they come from, None where there are none."""

    absent: ClassVar = {"field": _NO_FIELD}
    field: str
    augment: Annotated[int, Field(ge=0, le=10_000)]
    augment_by: Start | None = None
    dropout_before: Part
    dropout_after: Part


class OdeModel(CoreModel):
    """The core integrates f over [t0, t1]; None for a trajectory, which has its own times.

    ``weights_in_t``: how many sets of weights f has, one for each of as many equal parts.
    """

    chosen_by: ClassVar = {"core": ["ode"]}
    spare: ClassVar = ["blocks", "velocity", "damping"]
    core: Literal["ode"]
    t0: Time | None
    t1: Time | None
    weights_in_t: Annotated[int, Field(ge=1, le=1_000)]
    dynamics: Annotated[str, OneOf(DYNAMICS)]
    field_call: Literal["module", "functional"] | None = None

    @property
    def ode_blocks(self) -> int:
        return sum(stage.blocks for stage in self.stages) if self.stages else 1


class SecondOrderModel(OdeModel):
    """y'' = f(t, y). ``velocity``: what y' at t0 comes from."""

    chosen_by: ClassVar = {"core": ["ode"], "dynamics": ["second_order"]}
    spare: ClassVar = ["blocks", "damping"]
    velocity: Start


class HeavyBallModel(SecondOrderModel):
    """y'' = f(t, y) - c y'. ``damping``: c."""

    chosen_by: ClassVar = {"core": ["ode"], "dynamics": ["heavy_ball"]}
    spare: ClassVar = ["blocks"]
    damping: Literal["learned"] | Annotated[float, Field(gt=0, le=1e6)]


class ResidualModel(CoreModel):
    """The core is a stack of residual blocks y + f(y)."""

    chosen_by: ClassVar = {"core": ["residual"]}
    spare: ClassVar = OF_ODE
    core: Literal["residual"]
    blocks: Annotated[int, Field(ge=1, le=10_000)] | None = None


class PlainModel(CoreModel):
    """The core applies f once."""

    chosen_by: ClassVar = {"core": ["plain"]}
    spare: ClassVar = ["blocks", *OF_ODE]
    core: Literal["plain"]


class CorelessModel(ModelSection):
    """Stem and head alone; a field of the model's file is not used."""

    chosen_by: ClassVar = {"core": ["none"]}
    spare: ClassVar = ["blocks", *OF_ODE, *AROUND]
    core: Literal["none"]


ModelConfig = Annotated[
    HeavyBallModel | SecondOrderModel | OdeModel | ResidualModel | PlainModel | CorelessModel,
    Variants(),
]


def unused(tree: Tree, typed: Collection[str]) -> dict[str, str]:
    """A way to augment where nothing is augmented; a number of blocks beside those of stages; a
    field of no core."""
    lines = _unused_augmentation(tree, typed) | _unused_blocks(tree, typed)
    if get(tree, "model.core") == "none" and "model.field" in typed:
        key = "model.field"
        lines[key] = f"{show(tree, key)}: not used, model.core=none has no field f"
    return lines


def _unused_blocks(tree: Tree, typed: Collection[str]) -> dict[str, str]:
    if get(tree, "model.stages") is None or get(tree, "model.blocks") is None:
        return {}
    keys, by = ["blocks"], "model.stages, which have their own"
    return drop_unused(tree, typed, "model", keys, by=by, takes=["stages"], spare=keys)


def _unused_augmentation(tree: Tree, typed: Collection[str]) -> dict[str, str]:
    if get(tree, "model.augment") != 0 or get(tree, "model.augment_by") is None:
        return {}
    keys, by = ["augment_by"], "model.augment=0"
    return drop_unused(tree, typed, "model", keys, by=by, takes=["augment"], spare=keys)


def impossible(tree: Tree) -> list[str]:
    """An interval that is none, an augmentation from nothing, a stack of no number of blocks."""
    lines = _impossible_interval(tree) + _missing_augmentation(tree)
    stacks = get(tree, "model.core") == "residual" and get(tree, "model.stages") is None
    return lines + [_NO_BLOCKS] * (stacks and get(tree, "model.blocks") is None)


def _missing_augmentation(tree: Tree) -> list[str]:
    count = get(tree, "model.augment")
    if not isinstance(count, int) or count == 0 or get(tree, "model.augment_by") is not None:
        return []
    return [f"model.augment_by: {show(tree, 'model.augment')} needs it"]


def _impossible_interval(tree: Tree) -> list[str]:
    if get(tree, "model.core") != "ode" or get(tree, "data.name") in [*TRAJECTORIES]:
        return []
    ends = {key: get(tree, key) for key in ("model.t0", "model.t1")}
    if WRONG in ends.values():
        return []
    lines = [f"{key}: model.core=ode needs it" for key, time in ends.items() if time is None]
    if not lines and len(set(ends.values())) == 1:
        lines.append(
            f"{show(tree, 'model.t1')}: equals model.t0, so that there is nothing to solve"
        )
    return lines
