"""The model: stem, core and head by name; the options of each kind of core."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from node_cli.config.section import Section, Variants
from node_cli.config.tree import WRONG, Tree, get, show
from node_cli.data.catalog import TRAJECTORIES

_NO_FIELD = "model.core={core}: model={name} has no field f; set model.field, or model.core=none"
_NO_BLOCKS = "model.blocks: model.core=residual needs a number, for example model.blocks=6"

# The options of an ODE, of which the other cores make no use.
OF_ODE = ("t0", "t1", "field_call")

Time = Annotated[float, Field(ge=-1e6, le=1e6)]


class ModelSection(Section):
    """``stem``, ``head``: None for a model that fits a trajectory. ``field``: f of the core."""

    name: str
    stem: str | None
    field: str | None
    head: str | None
    init: Literal["torch", "glorot"]


class OdeModel(ModelSection):
    """The core integrates f over [t0, t1]; None for a trajectory, which has its own times."""

    chosen_by: ClassVar = {"core": ["ode"]}
    spare: ClassVar = ["blocks"]
    absent: ClassVar = {"field": _NO_FIELD}
    field: str
    core: Literal["ode"]
    t0: Time | None
    t1: Time | None
    field_call: Literal["module", "functional"] | None = None


class ResidualModel(ModelSection):
    """The core is a stack of residual blocks y + f(y)."""

    chosen_by: ClassVar = {"core": ["residual"]}
    spare: ClassVar = OF_ODE
    absent: ClassVar = {"field": _NO_FIELD, "blocks": _NO_BLOCKS}
    field: str
    core: Literal["residual"]
    blocks: Annotated[int, Field(ge=1, le=10_000)]


class PlainModel(ModelSection):
    """The core applies f once."""

    chosen_by: ClassVar = {"core": ["plain"]}
    spare: ClassVar = ["blocks", *OF_ODE]
    absent: ClassVar = {"field": _NO_FIELD}
    field: str
    core: Literal["plain"]


class CorelessModel(ModelSection):
    """Stem and head alone; a field of the model's file is not used."""

    chosen_by: ClassVar = {"core": ["none"]}
    spare: ClassVar = ["blocks", *OF_ODE]
    core: Literal["none"]


ModelConfig = Annotated[OdeModel | ResidualModel | PlainModel | CorelessModel, Variants()]


def impossible(tree: Tree) -> list[str]:
    """An interval that is none."""
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
