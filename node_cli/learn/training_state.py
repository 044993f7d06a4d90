"""What a training has come to: weights, optimizer, progress. A checkpoint holds all of it."""

from collections.abc import Mapping
from typing import Any

import torch

from node_cli.config.schema import Config
from node_cli.data.inputs import Inputs
from node_cli.errors import one_line
from node_cli.learn.average import Average
from node_cli.machine.device import Backend
from node_cli.models.model import Model
from node_cli.records import checkpoint_schema as schema
from node_cli.records import checkpoints
from node_cli.records.average_schema import check_average
from node_cli.records.checkpoint_schema import DoesNotFit
from node_cli.records.fingerprints import Fingerprints
from node_cli.records.progress import Progress
from node_cli.records.run_folder import RunFolder


class TrainingState:
    """All that the rest of a training depends on.

    Every random number of node-train is a function of the seed and of its purpose. The state of
    torch's own generators is kept for modules that draw from them (dropout).
    """

    def __init__(
        self,
        config: Config,
        model: Model,
        optimizer: torch.optim.Optimizer,
        average: Average | None,
        backend: Backend,
        batches_per_epoch: int,
        inputs: Inputs | None,
        folder: RunFolder,
        processes: int = 1,
    ) -> None:
        """``processes``: that train together; the state is the same whatever their number."""
        self.config = config
        self.model = model
        self.optimizer = optimizer
        self.average = average
        self.batches_per_epoch = batches_per_epoch
        self.inputs = inputs
        self.on_cuda = backend.device.type == "cuda"
        self.progress = Progress()
        self.folder = folder
        self.processes = processes
        self.fingerprints = Fingerprints(folder.growing)

    def save(self, *, is_best: bool) -> None:
        """Write last.pt and, where ``is_best``, best.pt. Raises OSError."""
        checkpoint = self.state_dict() | {"records": self.fingerprints.take()}
        # best.pt first: after a kill between the two, the older last.pt leads to it again.
        if is_best:
            checkpoints.save(self.folder.best, checkpoint)
        checkpoints.save(self.folder.last, checkpoint)

    def state_dict(self) -> dict[str, Any]:
        """Return plain values and tensors."""
        averaged = {} if self.average is None else {"ema": self.average.state_dict()}
        return averaged | {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "progress": self.progress.state_dict(),
            "rng": {
                "cpu": torch.get_rng_state(),
                "cuda": torch.cuda.get_rng_state_all() if self.on_cuda else [],
            },
            "first_steps": [start.size for start in self.model.warm_starts()],
            "threads": torch.get_num_threads(),
            "compiled": self.model.is_compiled,
            "processes": self.processes,
            "config": self.config.model_dump(),
            "inputs": self.inputs.plain() if self.inputs else None,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what ``state_dict`` returned, once all of it has been checked.

        ``state``: as ``checkpoints.load`` returns it. Raises ``DoesNotFit`` where it is that of
        another model, optimizer or number of batches.
        """
        progress = Progress.from_state_dict(state["progress"])
        self._check_counts(progress)
        every_step_updates = self.config.train.on_solver_failure == "raise"
        schema.check_model(state, self.model.state_dict(), same_dtype=True)
        schema.check_optimizer(state, self.optimizer, every_step_updates=every_step_updates)
        schema.check_rng(state)
        if self.average is not None:
            expected = self.average.weights
            check_average(state, expected, every_step_updates=every_step_updates)
        starts = self.model.warm_starts()
        if len(state["first_steps"]) != len(starts):
            raise DoesNotFit(f"first_steps: {len(state['first_steps'])}, must be {len(starts)}")

        self.model.load_state_dict(state["model"])
        schema.load_optimizer(state, self.optimizer)
        if self.average is not None:
            self.average.load_state_dict(state["ema"])
        self.progress = progress
        for start, size in zip(starts, state["first_steps"], strict=True):
            start.size = size
        try:
            torch.set_rng_state(state["rng"]["cpu"])
            if self.on_cuda and state["rng"].get("cuda"):
                torch.cuda.set_rng_state_all(state["rng"]["cuda"][: torch.cuda.device_count()])
        except RuntimeError as error:  # no state that the generator can have
            raise DoesNotFit(f"rng: {one_line(error)}") from error

    def _check_counts(self, progress: Progress) -> None:
        batches, size = progress.sums.batches, self.config.batch_size
        if (
            progress.step != progress.epoch * self.batches_per_epoch + batches
            or progress.sums.images != batches * size
            or batches >= self.batches_per_epoch
        ):
            raise DoesNotFit(f"step {progress.step} of epoch {progress.current_epoch}")
