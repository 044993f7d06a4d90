"""f and its vector-Jacobian products as operations that a compiler can trace."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call

from node_cli.ode.sensitivity.linearised import Products
from node_cli.ode.step import Stage
from node_cli.ode.work import Autocast


class Traceable:
    """As ``Linearised``, with torch.func in the place of autograd's engine; for fields without
    buffers. ``products`` are those of the latest evaluation. Uncompiled it takes several times as
    long.
    """

    def __init__(self, field: nn.Module, parameters: Sequence[Tensor], autocast: Autocast) -> None:
        self.field = field
        self.parameters = tuple(parameters)
        self.autocast = autocast
        places = {id(p): i for i, p in enumerate(self.parameters)}
        self.names = [  # of every trained parameter, under each name that it has
            (name, places[id(p)])
            for name, p in field.named_parameters(remove_duplicate=False)
            if id(p) in places
        ]

    def evaluate(self, t: Tensor, y: Tensor) -> Stage:
        def f(y: Tensor, *parameters: Tensor) -> Tensor:
            named = {name: parameters[i] for name, i in self.names}

            def call(t: Tensor, y: Tensor) -> Tensor:
                dy: Tensor = functional_call(self.field, named, (t, y), tie_weights=False)
                return dy

            return self.autocast.around(call)(t, y)

        evaluated = torch.func.vjp(f, y, *self.parameters)
        self.pull = evaluated[1]
        return Stage(t, y, evaluated[0])

    def products(self, _stage: Stage, v: Tensor) -> Products:
        found = self.pull(v)
        return Products(found[0], None, list(found[1:]))
