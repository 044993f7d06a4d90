"""What all models have in common: a core, whatever stands around it."""

from contextlib import AbstractContextManager, nullcontext

from torch import nn

from node_cli.models.blocks import ODEBlock
from node_cli.ode.solver import StepMemory
from node_cli.ode.work import Work


class Model(nn.Module):
    """A module with a ``core`` among its parts, the only one that may solve an ODE."""

    core: nn.Module

    def __init__(self) -> None:
        super().__init__()
        self.is_compiled = False

    def compile_parts(self, *, solves: bool = True) -> None:
        """From now on compute every part compiled; of an ODE block, whole solves.

        Each is compiled, in some seconds, at its first use with a new shape. Without ``solves``, f
        alone of an ODE block.
        """
        self.is_compiled = True
        for part in self.children():
            if isinstance(part, ODEBlock):
                part.compile_core(solves=solves)
            else:
                part.compile(fullgraph=True, dynamic=False)

    def core_uncompiled(self) -> AbstractContextManager[None]:
        """Within it, an ODE block solves step by step."""
        return self.core.uncompiled() if isinstance(self.core, ODEBlock) else nullcontext()

    def take_work(self) -> Work | None:
        """What the ODE block has counted since the last call; None for a core without an ODE. See
        ``ODEBlock.take_work``."""
        return self.core.take_work() if isinstance(self.core, ODEBlock) else None

    def warm_starts(self) -> list[StepMemory]:
        """The first step sizes that the ODE block remembers: part of every checkpoint."""
        return self.core.warm_starts() if isinstance(self.core, ODEBlock) else []


def glorot(module: nn.Module) -> None:
    """Glorot-uniform weights and zero biases, as Lux.jl and Flux.jl initialise; of one layer."""
    if isinstance(module, nn.Linear | nn.Conv2d):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
