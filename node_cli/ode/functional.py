"""A module called with other parameters and buffers than its own."""

from collections.abc import Sequence

from torch import Tensor, nn
from torch.func import functional_call


class FunctionalField:
    """``field(t, y)`` as a function of its parameters, its own tensors left alone.

    ``parameters``: those that are trained, each once, however often the module uses it; buffers
    are copied when this object is made, and what a call writes into them stays here. Raises what
    the module raises. Cost: one swap of every tensor and back per call.

    torch's own handling of ties does not restore a module that is registered under two names
    (seen in torch 2.15), hence the table of places here.
    """

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.places: dict[str, int] = {}  # where each of the parameters is to be put
        self.buffers: dict[str, Tensor] = {}
        index: dict[Tensor, int] = {}
        copies: dict[Tensor, Tensor] = {}
        for prefix, part in module.named_modules():
            dot = "." if prefix else ""
            for name, p in part.named_parameters(recurse=False, remove_duplicate=False):
                if p.requires_grad:
                    self.places[f"{prefix}{dot}{name}"] = index.setdefault(p, len(index))
            for name, b in part.named_buffers(recurse=False, remove_duplicate=False):
                self.buffers[f"{prefix}{dot}{name}"] = copies.setdefault(b, b.clone())
        self.parameters = list(index)

    def __call__(self, parameters: Sequence[Tensor], t: Tensor, y: Tensor) -> Tensor:
        tensors = {name: parameters[i] for name, i in self.places.items()} | self.buffers
        dy: Tensor = functional_call(self.module, tensors, (t, y), tie_weights=False)
        return dy
