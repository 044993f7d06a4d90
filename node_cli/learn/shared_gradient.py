"""The gradient of a whole batch, of which each process has computed that of its part."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic

import torch
from torch.nn.utils import get_total_norm

from node_cli.config.schema import Config
from node_cli.config.solver import shares_steps
from node_cli.data.streams import stream, whole_number
from node_cli.learn.objective import Batch
from node_cli.learn.update import Outcome
from node_cli.machine.ranks import Ranks, Several
from node_cli.models.model import Model
from node_cli.ode.failures import SolveFailed
from node_cli.records.measures import penalty_of
from node_cli.records.units import Value

Gradient = Callable[[Batch, int], Outcome]

ADDED = ("loss", "correct", "penalty", "objective")
"""Numbers of a step that are sums over the parts, as is what regularisers measure. Of the others,
counts of work above all, a step has the largest of any process: what the others wait for."""


@dataclass(frozen=True)
class SharedOutcome(Outcome):
    """``numbers``: those of the whole batch, by name."""

    numbers: Mapping[str, Value] | None = None

    def measured(self, images: int) -> dict[str, Value]:
        """See ``Outcome.measured``."""
        return {**(self.numbers or {})}


def shared(
    gradient: Gradient[Batch], ranks: Ranks, model: Model, config: Config
) -> Gradient[Batch]:
    """``SharedGradient`` of several processes; of one, ``gradient`` itself."""
    if not isinstance(ranks, Several):
        return gradient
    in_solves = shares_steps(config.solver)
    return SharedGradient(gradient, ranks, model, config.seed, in_solves=in_solves)


class SharedGradient(Generic[Batch]):
    """Adds up the gradients, and what was measured, over all processes.

    Each computes the gradient of the loss of its part, as a share of the mean over the whole batch:
    so the sum is the gradient of that mean, however unequal the parts are.

    Not by DistributedDataParallel, which sums while autograd runs: the gradients of a compiled step
    do not come from autograd, those of f come all at once when the solve is done, with
    ``train.accumulate`` only the last group may be summed, and where a solve fails in one process,
    the others would wait for it for ever. Cost of a step: one message of all gradients (the memory
    of a copy), and two small ones; of a model with buffers, one for each.

    Where the computation fails in any process, all raise the error of the lowest rank.
    """

    def __init__(
        self,
        gradient: Gradient[Batch],
        ranks: Several,
        model: Model,
        seed: int,
        *,
        in_solves: bool,
    ) -> None:
        """``gradient``: adds the share of this process's part to the parameters' ``grad``.
        ``in_solves``: the processes also wait for each other in every step of a solve."""
        self.ranks = ranks
        self.model = model
        self.gradient = gradient
        self.seed = seed
        self.in_solves = in_solves
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        self.buffers = [*model.buffers()]

    def __call__(self, batch: Batch, step: int) -> Outcome:
        """Add the gradient of a batch to the parameters' ``grad``, which is empty; return what was
        measured. Raises what the computation raises in any process."""
        if not self.ranks.first:
            # For dropout. The first process draws as one alone would.
            drawn = stream(self.seed, "process", self.ranks.rank, step)
            torch.manual_seed(whole_number(drawn))
        outcome, error = None, None
        try:
            outcome = self.gradient(batch, step)
        except Exception as failure:
            if self.in_solves and not isinstance(failure, SolveFailed):
                raise  # the others wait elsewhere
            error = failure
        self._forget_own_state()
        self._add_up(error)
        assert outcome is not None
        return self._of_all(outcome, len(batch))

    def _add_up(self, error: Exception | None) -> None:
        """Sum the gradients. Raises what any process has raised."""
        parts = [
            (torch.zeros_like(p) if p.grad is None or error else p.grad).reshape(-1)
            for p in self.parameters
        ]
        failures = parts[0].new_full((1,), float(error is not None))
        sums = torch.cat([*parts, failures])
        self.ranks.add_up(sums)
        if sums[-1]:
            self.ranks.agree(error)
        totals = sums[:-1].split([p.numel() for p in self.parameters])
        for parameter, total in zip(self.parameters, totals, strict=True):
            if parameter.grad is not None:
                parameter.grad.copy_(total.view_as(parameter))

    def _of_all(self, outcome: Outcome, images: int) -> Outcome:
        """The outcome of the whole batch."""
        grads = [p.grad for p in self.parameters if p.grad is not None]
        own = outcome.measured(images)
        rows = self.ranks.rows([math.nan if v is None else v for v in own.values()])
        numbers = {
            name: _combined(name, own[name], values)
            for name, values in zip(own, zip(*rows, strict=True), strict=True)
        }
        correct, loss = numbers["correct"], numbers["loss"]
        assert correct is not None and loss is not None
        numbers["accuracy"] = correct / images
        numbers["grad_norm"] = norm = float(get_total_norm(grads))
        return SharedOutcome(loss, norm, None, outcome.work, numbers=numbers)

    def _forget_own_state(self) -> None:
        """Take the first process's running statistics and first step sizes: what a checkpoint
        holds, so that a run that goes on from it goes on as it was."""
        self.ranks.take_from_first(self.buffers)
        if starts := self.model.warm_starts():
            sizes = self.ranks.rows([math.nan if s.size is None else s.size for s in starts])[0]
            for start, size in zip(starts, sizes, strict=True):
                start.size = None if math.isnan(size) else size


def _combined(name: str, own: Value, values: Sequence[float]) -> Value:
    """A number of the whole batch. ``own``: of this process. ``values``: of all, NaN for None."""
    if name in ADDED or name.startswith(penalty_of("")):
        found = sum(values)
    else:
        found = max((value for value in values if not math.isnan(value)), default=math.nan)
        if math.isnan(found):
            return None
    return int(found) if isinstance(own, int) else found
