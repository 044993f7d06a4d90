"""The options of regularisers. Free of torch."""

from typing import Annotated, Literal

from pydantic import Field

from node_cli.config.section import Section

LARGEST_WEIGHT = 1e9
Weight = Annotated[float, Field(gt=0, le=LARGEST_WEIGHT)]


class Options(Section):
    """``name``: the regulariser, as its YAML file says."""

    name: str


class Weighted(Options):
    """A penalty is ``weight`` times what is measured; see ``at``."""

    weight: Weight
    final_weight: Weight | None = None

    def at(self, fraction: float) -> float:
        """The weight when this fraction of the training is over, in [0, 1).

        It goes from ``weight`` to ``final_weight`` as an exponential; without the latter it stays.
        """
        end = self.weight if self.final_weight is None else self.final_weight
        return float(self.weight * (end / self.weight) ** fraction)


class Taylor(Weighted):
    """``order``: of the derivative of y by t."""

    order: Literal[2, 3]


class Steer(Options):
    """``half_width``: how far the end may move, in units of t."""

    half_width: Annotated[float, Field(gt=0)]
