"""The model: stem, core and head by name; the options of each kind of core."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from node_cli.config.section import Section, Variants

_NO_FIELD = "model.core={core}: model={name} has no field f; set model.field, or model.core=none"
_NO_BLOCKS = "model.blocks: model.core=residual needs a number, for example model.blocks=6"


class ModelSection(Section):
    """``stem``, ``head``: None for a model that fits a trajectory. ``field``: f of the core."""

    name: str
    stem: str | None
    field: str | None
    head: str | None
    init: Literal["torch", "glorot"]


class OdeModel(ModelSection):
    """The core integrates f."""

    chosen_by: ClassVar = {"core": ["ode"]}
    spare: ClassVar = ["blocks"]
    absent: ClassVar = {"field": _NO_FIELD}
    field: str
    core: Literal["ode"]
    field_call: Literal["module", "functional"] | None = None


class ResidualModel(ModelSection):
    """The core is a stack of residual blocks y + f(y)."""

    chosen_by: ClassVar = {"core": ["residual"]}
    spare: ClassVar = ["field_call"]
    absent: ClassVar = {"field": _NO_FIELD, "blocks": _NO_BLOCKS}
    field: str
    core: Literal["residual"]
    blocks: Annotated[int, Field(ge=1, le=10_000)]


class PlainModel(ModelSection):
    """The core applies f once."""

    chosen_by: ClassVar = {"core": ["plain"]}
    spare: ClassVar = ["blocks", "field_call"]
    absent: ClassVar = {"field": _NO_FIELD}
    field: str
    core: Literal["plain"]


class CorelessModel(ModelSection):
    """Stem and head alone; a field of the model's file is not used."""

    chosen_by: ClassVar = {"core": ["none"]}
    spare: ClassVar = ["blocks", "field_call"]
    core: Literal["none"]


ModelConfig = Annotated[OdeModel | ResidualModel | PlainModel | CorelessModel, Variants()]
