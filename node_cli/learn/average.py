"""The exponential moving average of the weights, and the evaluation of both."""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from node_cli.learn.evaluation import Metrics
from node_cli.learn.objective import Objective
from node_cli.learn.observer import Further, Seen, unseen
from node_cli.records.splits import averaged_split


class Average:
    """average = decay * average + (1 - decay) * weights after each update; the first one is the
    weights themselves.

    Running statistics are averaged as weights are, and whole numbers taken over. As
    ``torch.optim.swa_utils.AveragedModel`` with ``use_buffers``, without a second model. Memory:
    that of the weights. Cost: one kernel for all weights, and one more for each buffer that counts.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        """``model``: on its device; its tensors must stay the same ones."""
        self.updates = 0
        self._lerp = get_ema_multi_avg_fn(decay)
        self._live = dict(model.state_dict())
        self.weights = {name: tensor.clone() for name, tensor in self._live.items()}

    @torch.no_grad()
    def update(self) -> None:
        """Take an update of the weights into account."""
        moving = [name for name, tensor in self._live.items() if tensor.is_floating_point()]
        if self.updates:
            self._lerp([self.weights[n] for n in moving], [self._live[n] for n in moving], None)
        for name, tensor in self._live.items():
            if not self.updates or name not in moving:
                self.weights[name].copy_(tensor)
        self.updates += 1

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Within it the model has the average for its weights. Cost: three copies of them."""
        kept = {name: tensor.clone() for name, tensor in self._live.items()}
        self._put(self.weights)
        try:
            yield
        finally:
            self._put(kept)

    @torch.no_grad()
    def _put(self, weights: Mapping[str, Tensor]) -> None:
        for name, tensor in self._live.items():
            tensor.copy_(weights[name])

    def state_dict(self) -> dict[str, Any]:
        """Return a number and tensors, for a checkpoint."""
        return {"updates": self.updates, "weights": self.weights}

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what ``state_dict`` returned, after ``checkpoint_schema.check_average``."""
        self.updates = state["updates"]
        for name, tensor in self.weights.items():
            tensor.copy_(state["weights"][name])


def trained(average: Average | None) -> AbstractContextManager[None]:
    """Within it the model is the trained one: it has the average where there is one."""
    return nullcontext() if average is None else average.in_place()


def evaluate_both(
    objective: Objective[Any], average: Average | None, step: int, seen: Seen = unseen
) -> tuple[dict[str, Metrics], Further]:
    """Evaluate the weights, and the average of them beside, as splits of further names; what is
    recorded beside the metrics is of the weights. Raises as ``Objective.evaluate``."""
    metrics, further = objective.evaluate(step, seen)
    if average is not None:
        with average.in_place():
            averaged, _ = objective.evaluate(step, seen)
        metrics |= {averaged_split(name): found for name, found in averaged.items()}
    return metrics, further
