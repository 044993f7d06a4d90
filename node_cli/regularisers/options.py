"""The options of regularisers. Free of torch."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from node_cli.config.section import Section

LARGEST_WEIGHT = 1e9
Weight = Annotated[float, Field(gt=0, le=LARGEST_WEIGHT)]


class Options(Section):
    """``name``: the regulariser, as its YAML file says. ``of_weight``: the keys that it is not made
    with."""

    of_weight: ClassVar[frozenset[str]] = frozenset()
    name: str

    def own(self) -> dict[str, Any]:
        """What a regulariser is made with, by name."""
        return self.model_dump(exclude={"name", *self.of_weight})


class Weighted(Options):
    """A penalty is a weight, see ``at``, times what is measured."""

    of_weight: ClassVar = frozenset({"weight", "final_weight"})
    weight: Annotated[Weight, Field(description="of the penalty when training begins")]
    final_weight: Annotated[
        Weight | None,
        Field(description="when training ends, reached as an exponential; null: the same"),
    ] = None

    def at(self, fraction: float) -> float:
        """The weight when this fraction of the training is over, in [0, 1).

        It goes from ``weight`` to ``final_weight`` as an exponential; without the latter it stays.
        """
        end = self.weight if self.final_weight is None else self.final_weight
        return float(self.weight * (end / self.weight) ** fraction)


class Taylor(Weighted):
    """A penalty on a derivative of y by t."""

    order: Annotated[Literal[2, 3], Field(description="of the derivative of y by t")]


class Steer(Options):
    """The end of the interval is drawn anew for each solve."""

    half_width: Annotated[float, Field(gt=0, description="how far the end may move, in t")]


class Installed(Weighted):
    """Of a penalty that an installed package brings: a weight beside the options of its own."""

    weight: Annotated[Weight, Field(description="of the penalty when training begins")] = 1.0
