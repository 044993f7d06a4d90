"""f and its vector-Jacobian products in the body of a compiled loop."""

from collections.abc import Sequence

from torch import Tensor

from node_cli.ode.engines.compiled.captured import CapturedField
from node_cli.ode.engines.eager.linearised import Products
from node_cli.ode.engines.eager.step import Stage


class Traceable:
    """As ``Linearised``; ``products`` are those of the latest evaluation."""

    def __init__(
        self, captured: CapturedField, parameters: Sequence[Tensor], *, with_parameters: bool
    ) -> None:
        self.captured = captured
        self.parameters = parameters
        self.with_parameters = with_parameters

    def evaluate(self, t: Tensor, y: Tensor) -> Stage:
        k, self.saved = self.captured.at(t, y, self.parameters)
        return Stage(t, y, k)

    def products(self, _stage: Stage, v: Tensor) -> Products:
        constants = self.captured.constants(self.parameters)
        by_y, by_parameters = self.captured.pull(constants, self.saved, v)
        return Products(by_y, None, by_parameters if self.with_parameters else [])
