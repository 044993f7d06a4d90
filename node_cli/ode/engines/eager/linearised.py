"""f with a graph around each evaluation, and its vector-Jacobian products."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.autograd import Variable

from node_cli.ode.checks import check_graph
from node_cli.ode.engines.eager.step import Stage
from node_cli.ode.problem import Products
from node_cli.ode.work import CountedField


class Linearised:
    """Evaluates f so that v^T df/dy, v^T df/dtheta and, ``with_time``, v^T df/dt can follow.

    Every evaluation has a graph of its own, which its first product frees. Evaluations and
    products are counted in the work of f. ``constants``: further parameters, whose products are
    not wanted. ValueError where f depends on any other tensor that requires grad; the first
    evaluation is looked at.
    """

    def __init__(
        self,
        f: CountedField,
        parameters: Sequence[Tensor],
        *,
        constants: Sequence[Tensor] = (),
        with_time: bool = False,
    ) -> None:
        self.f = f
        self.parameters = tuple(parameters)
        self.constants = tuple(constants)
        self.with_time = with_time
        self.looked_at = False
        # What torch.autograd.grad ends in. Its own checks of the arguments take a fifth of the time
        # of a small product, and every stage of every step comes here.
        self.run_backward = Variable._execution_engine.run_backward
        if meter := f.work.meter:
            self.run_backward = meter.around("VJPs", self.run_backward, backward=True)

    def evaluate(self, t: Tensor, y: Tensor) -> Stage:
        """f(t, y), with a graph. t: 0-dim; y: no part of another graph, made a leaf of this one."""
        y.requires_grad_()
        if self.with_time:
            t = t.detach().clone().requires_grad_()
        with torch.enable_grad():
            k = self.f(t, y)
        if not self.looked_at:
            self.looked_at = True
            check_graph(k, (t, y, *self.parameters, *self.constants))
        return Stage(t, y, k)

    def products(self, stage: Stage, v: Tensor) -> Products:
        """All products with ``v``, shaped like y; zero where f does not depend on an input.

        Frees the graph of the stage.
        """
        if not self.with_time:
            y, *parameters = self._products(stage, v, (stage.y, *self.parameters))
            return Products(y, None, parameters)
        y, t, *parameters = self._products(stage, v, (stage.y, stage.t, *self.parameters))
        return Products(y, t, parameters)

    def parameter_products(self, stage: Stage, v: Tensor) -> Sequence[Tensor]:
        """v^T df/dtheta alone, a tensor for each parameter; frees the graph of the stage."""
        return self._products(stage, v, self.parameters)

    def _products(self, stage: Stage, v: Tensor, inputs: tuple[Tensor, ...]) -> Sequence[Tensor]:
        if not inputs or not stage.k.requires_grad:
            return [torch.zeros_like(x) for x in inputs]
        self.f.work.vjps_backward += 1
        found: tuple[Tensor | None, ...] = self.run_backward(
            (stage.k,),
            (v,),
            False,  # keep_graph
            False,  # create_graph
            inputs,
            True,  # allow_unreachable
            accumulate_grad=False,
        )
        return [torch.zeros_like(x) if g is None else g for g, x in zip(found, inputs, strict=True)]
