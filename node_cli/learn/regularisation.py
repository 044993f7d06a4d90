"""The regularisers of a training: what each training step adds to its loss."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor

from node_cli.config.schema import Config
from node_cli.data.streams import stream
from node_cli.models.blocks import ODEBlock
from node_cli.models.model import Model
from node_cli.ode.work import Work
from node_cli.records.measures import penalty_of
from node_cli.records.units import Value
from node_cli.regularisers.installed import build
from node_cli.regularisers.options import Weighted
from node_cli.regularisers.regulariser import Regulariser
from node_cli.regularisers.solves import RegularisedSolves


class Penalties:
    """What the regularisers have measured in a training step: ``measured``, by name and without
    weights, 0-dim, and ``weights``; the penalty is the sum of their products. ``active``: whether
    there are any."""

    def __init__(
        self, measured: dict[str, Tensor], weights: dict[str, float], *, active: bool
    ) -> None:
        self.measured = measured
        self.weights = weights
        self.active = active

    def added_to(self, loss: Tensor) -> Tensor:
        """The loss and the penalty, 0-dim."""
        for name, value in self.measured.items():
            loss = loss + self.weights[name] * value.to(loss.dtype)
        return loss

    def numbers(self, dtype: torch.dtype) -> list[Tensor]:
        """What was measured, to be read back with other numbers of the step."""
        return [value.detach().to(dtype) for value in self.measured.values()]

    def cells(self, loss: float, numbers: list[float], work: Work | None) -> dict[str, Value]:
        """The columns of a step, none where nothing is regularised; ``numbers``: as read back."""
        if not self.active:
            return {}
        found = dict(zip(self.measured, numbers, strict=True))
        penalty = sum(self.weights[name] * value for name, value in found.items())
        return {
            "penalty": penalty,
            "objective": loss + penalty,
            "nfe_penalty": work.nfe_penalty if work else 0,
            **{penalty_of(name): value for name, value in found.items()},
        }


class Regularisation:
    """The regularisers that a configuration names; ``steps``: of the whole training."""

    def __init__(self, config: Config, model: Model, steps: int) -> None:
        self.seed = config.seed
        self.steps = steps
        self.options = config.regularize
        self.regularisers: dict[str, Regulariser] = {
            name: build(name, options) for name, options in self.options.items()
        }
        self.blocks = [part for part in model.modules() if isinstance(part, ODEBlock)]

    def __bool__(self) -> bool:
        """Whether there are any."""
        return bool(self.regularisers)

    @contextmanager
    def of_step(self, step: int) -> Iterator[Penalties]:
        """Within it every ODE block solves as the regularisers want; yields what they measure.

        ``step``: how many were made before. What is random is a function of the seed and of it.
        """
        generators = {n: stream(self.seed, "regularize", n, step) for n in self.regularisers}
        solves = RegularisedSolves(self.regularisers, generators)
        weights = {
            name: options.at(step / self.steps)
            for name, options in self.options.items()
            if isinstance(options, Weighted)
        }
        with ExitStack() as stack:
            for block in self.blocks if self else ():
                stack.enter_context(block.solved_by(solves))
            yield Penalties(solves.measured, weights, active=bool(self))


def penalties(config: Config) -> list[str] | None:
    """The regularisers of a configuration that add a penalty; None where it has none at all."""
    if not config.regularize:
        return None
    return [name for name, options in config.regularize.items() if isinstance(options, Weighted)]
