"""What all models have in common: a core, whatever stands around it."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from torch import nn

from node_cli.models.blocks import Chain, ODEBlock, ode_blocks
from node_cli.ode.solver import StepMemory
from node_cli.ode.work import Work, total


class Model(nn.Module):
    """A module with a ``core`` among its parts, the only one that may solve ODEs."""

    core: nn.Module

    def __init__(self) -> None:
        super().__init__()
        self.is_compiled = False

    @property
    def ode_blocks(self) -> list[ODEBlock]:
        """The ODE blocks, in the order in which they are solved."""
        return ode_blocks(self.core)

    def compile_parts(self, *, solves: bool = True) -> None:
        """From now on solve in compiled loops; without ``solves``, compute f of every ODE block
        compiled.

        Each is compiled, in some seconds, at its first use with a new shape.
        """
        self.is_compiled = True
        for block in self.ode_blocks:
            block.compile_core(solves=solves)

    def compile_around(self) -> None:
        """From now on compute everything but ODE blocks compiled, too."""
        for child in self.children():
            for part in child if isinstance(child, Chain) else (child,):
                if not isinstance(part, ODEBlock):
                    part.compile(fullgraph=True, dynamic=False)

    @contextmanager
    def core_uncompiled(self) -> Iterator[None]:
        """Within it, ODE blocks solve step by step."""
        with ExitStack() as stack:
            for block in self.ode_blocks:
                stack.enter_context(block.uncompiled())
            yield

    def take_work(self) -> Work | None:
        """What the ODE blocks have counted since the last call, in sum; None without an ODE. See
        ``ODEBlock.take_work``."""
        works = [block.take_work() for block in self.ode_blocks]
        return total(works) if works else None

    def warm_starts(self) -> list[StepMemory]:
        """The first step sizes that the ODE blocks remember: part of every checkpoint."""
        return [memory for block in self.ode_blocks for memory in block.warm_starts()]


def glorot(module: nn.Module) -> None:
    """Glorot-uniform weights and zero biases, as Lux.jl and Flux.jl initialise; of one layer."""
    if isinstance(module, nn.Linear | nn.Conv2d):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
