"""The training loop."""

import time
from collections.abc import Mapping
from typing import Any, Generic, Protocol

import torch

from node_cli.config.schema import Config
from node_cli.learn.evaluation import Diverged, Metrics, evaluation_rows, nfe_mean
from node_cli.learn.objective import Batch, Objective
from node_cli.learn.optimizers import learning_rate
from node_cli.learn.stopping import Interrupted, StopRequest
from node_cli.learn.update import Update
from node_cli.machine import memory
from node_cli.machine.device import Backend
from node_cli.ode.failures import SolveFailed
from node_cli.ode.work import Work
from node_cli.records import checkpoints
from node_cli.records.progress import EpochSums, Progress
from node_cli.records.run_folder import (
    EPOCH_COLUMNS,
    EVALUATION_COLUMNS,
    STEP_COLUMNS,
    CsvLog,
    RunFolder,
)


class Observer(Protocol):
    """Shows how a training goes, from the rows of its records."""

    def step(self, progress: Progress, row: Mapping[str, Any]) -> None: ...

    def epoch(self, row: Mapping[str, Any]) -> None: ...


class Trainer(Generic[Batch]):
    """Trains the model of an objective; writes records and checkpoints into a run folder.

    Every random number here is a function of the seed and of its purpose; the state of torch's own
    generators is in the checkpoint for modules that draw from them. So a checkpoint determines all
    that comes after it.
    """

    def __init__(
        self,
        config: Config,
        objective: Objective[Batch],
        backend: Backend,
        folder: RunFolder,
    ) -> None:
        self.config = config
        self.objective = objective
        self.model = objective.model
        self.backend = backend
        self.folder = folder
        self.update = Update(config, self.model, objective.gradient)
        self.optimizer = self.update.optimizer
        self.progress = Progress()
        self.batches_per_epoch = objective.batches_per_epoch

    def run(self, observer: Observer, stop: StopRequest) -> None:
        """Train until ``epochs`` are completed. Raises ``Interrupted`` once ``stop`` is requested,
        ``Diverged`` and ``SolveFailed``; the last checkpoint stays what it was."""
        step = self.progress.step or -1  # a start from the beginning keeps no rows
        self.steps = CsvLog(self.folder.steps, STEP_COLUMNS, step)
        self.epochs = CsvLog(self.folder.epochs, EPOCH_COLUMNS, step)
        self.evaluations = CsvLog(self.folder.evaluations, EVALUATION_COLUMNS, step)
        self.logs = [self.steps, self.epochs, self.evaluations]
        self.logs += self.objective.records(self.folder, step)
        try:
            if self.progress.step == 0 and self.config.eval.initial:
                self._evaluate()
            while self.progress.epoch < self.config.epochs:
                self._epoch(observer, stop)
        finally:
            for log in self.logs:
                log.close()

    def _epoch(self, observer: Observer, stop: StopRequest) -> None:
        """The rest of the epoch in progress."""
        progress, config = self.progress, self.config
        lr = learning_rate(config.optimizer.lr, config.schedule, progress.epoch, config.epochs)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        memory.reset_peak(self.backend.device)

        self.model.train()
        for batch in self.objective.batches(progress.epoch, progress.sums.batches):
            row = self._step(batch)
            self.steps.append(row)
            observer.step(progress, row)

            last_of_epoch = progress.sums.batches == self.batches_per_epoch
            if last_of_epoch:
                epoch_row = self._epoch_row(self._evaluate())
                self.epochs.append(epoch_row)
                observer.epoch(epoch_row)
                progress.epoch += 1
                progress.sums = EpochSums()
            elif self._evaluation_is_due():
                self._evaluate()

            due = _divides(config.train.checkpoint_every, progress.step)
            if last_of_epoch or due or stop.requested:
                self._checkpoint(epoch_row if last_of_epoch else None)
            if stop.requested:
                raise Interrupted

    def _step(self, batch: Batch) -> dict[str, Any]:
        """One update, or a batch that is left out; returns its row of steps.csv."""
        start = time.perf_counter()
        progress, outcome = self.progress, None
        try:
            outcome = self.update(batch, progress.step)
        except Diverged as error:
            raise Diverged(f"step {progress.step + 1}: {error}") from error
        except SolveFailed:
            if not self._may_skip():
                raise
            self.optimizer.zero_grad()
            self.model.take_work()
        seconds = time.perf_counter() - start

        progress.step += 1
        row: dict[str, Any] = dict.fromkeys(STEP_COLUMNS)
        row |= {
            "step": progress.step,
            "epoch": progress.epoch + 1,
            "lr": self.optimizer.param_groups[0]["lr"],
            "seconds": seconds,
        }
        progress.sums.seconds += seconds
        if outcome is None:
            progress.sums.skip(len(batch))
            return row
        progress.sums.add(len(batch), outcome.loss, outcome.correct, outcome.work)
        row |= {
            "loss": outcome.loss,
            "accuracy": None if outcome.correct is None else outcome.correct / len(batch),
            "grad_norm": outcome.grad_norm,
        }
        return row | work_cells(outcome.work) if outcome.work else row

    def _may_skip(self) -> bool:
        """Whether one more batch may be left out, its solve having failed."""
        train = self.config.train
        if train.on_solver_failure == "raise":
            return False
        assert train.max_skipped is not None
        return self.progress.sums.skipped < train.max_skipped

    def _evaluation_is_due(self) -> bool:
        """Within an epoch; its end is always evaluated."""
        every, step = self.config.eval.every_steps, self.progress.step
        if every is None:
            return False
        since = step - (self.config.eval.from_step or every)
        return since >= 0 and since % every == 0

    def _evaluate(self) -> dict[str, Metrics]:
        """Evaluate and record every split that ``eval`` asks for at once."""
        start = time.perf_counter()
        progress = self.progress
        metrics = self.objective.evaluate(progress.step)
        for row in evaluation_rows(metrics, progress.step, progress.current_epoch):
            self.evaluations.append(row)
        progress.sums.eval_seconds += time.perf_counter() - start
        return metrics

    def _epoch_row(self, metrics: Mapping[str, Metrics]) -> dict[str, Any]:
        sums = self.progress.sums
        row: dict[str, Any] = dict.fromkeys(EPOCH_COLUMNS)
        row |= {
            "epoch": self.progress.current_epoch,
            "step": self.progress.step,
            "seconds": sums.seconds,
            "eval_seconds": sums.eval_seconds,
            "images_per_s": sums.images / sums.seconds,
            "peak_memory_mib": memory.peak_mib(self.backend.device),
        }
        if sums.updates:
            row |= {
                "train_loss": sums.loss / sums.trained,
                "train_accuracy": sums.accuracy,
            }
        if self.config.model.core == "ode" and sums.updates:
            row |= {
                "nfe_forward_mean": sums.nfe_forward / sums.updates,
                "nfe_forward_max": sums.nfe_forward_max,
                "nfe_backward_mean": sums.nfe_backward / sums.updates,
                "nfe_backward_max": sums.nfe_backward_max,
                "vjps_backward_mean": sums.vjps_backward / sums.updates,
            }
            if sums.rejected is not None:
                row["rejected_mean"] = sums.rejected / sums.updates
        row["nfe_eval_mean"] = nfe_mean(metrics) if metrics else None
        for name, m in metrics.items():
            if name == "train":
                row["train_eval_accuracy"] = m.accuracy
            else:
                row |= {f"{name}_loss": m.loss, f"{name}_accuracy": m.accuracy}
        return row

    def _checkpoint(self, epoch_row: Mapping[str, Any] | None) -> None:
        """Write last.pt, and best.pt where this is the best epoch or there is no holdout."""
        progress = self.progress
        is_best = "holdout" not in self.objective.splits
        if epoch_row is not None and not is_best:
            score = epoch_row["holdout_accuracy"]
            is_best = progress.best_score is None or score > progress.best_score
            if is_best:
                progress.best_score, progress.best_epoch = score, progress.epoch
        for log in self.logs:
            log.sync()
        checkpoint = self.state_dict()
        # best.pt first: a kill between the two leaves a last.pt from which it is written again.
        if is_best:
            checkpoints.save(self.folder.best, checkpoint)
        checkpoints.save(self.folder.last, checkpoint)

    def state_dict(self) -> dict[str, Any]:
        """Plain values and tensors that determine the rest of the training."""
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "progress": self.progress.state_dict(),
            "rng": {
                "cpu": torch.get_rng_state(),
                "cuda": torch.cuda.get_rng_state_all() if self._on_cuda() else [],
            },
            "first_steps": [start.size for start in self.model.warm_starts()],
            "threads": torch.get_num_threads(),
            "config": self.config.model_dump(),
        }

    def _on_cuda(self) -> bool:
        return self.backend.device.type == "cuda"

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.progress = progress = Progress.from_state_dict(state["progress"])
        batches, size = progress.sums.batches, self.config.batch_size
        if (
            progress.step != progress.epoch * self.batches_per_epoch + batches
            or progress.sums.images != batches * size
            or batches >= self.batches_per_epoch
        ):
            raise ValueError(f"step {progress.step} of epoch {progress.current_epoch}")
        for start, size in zip(self.model.warm_starts(), state["first_steps"], strict=True):
            start.size = size
        torch.set_rng_state(state["rng"]["cpu"])
        if self._on_cuda() and state["rng"]["cuda"]:
            torch.cuda.set_rng_state_all(state["rng"]["cuda"][: torch.cuda.device_count()])


def _divides(interval: int | None, step: int) -> bool:
    return interval is not None and step % interval == 0


def work_cells(work: Work) -> dict[str, int | None]:
    """The columns of steps.csv that count work."""
    return {
        "nfe_forward": work.nfe_forward,
        "nfe_backward": work.nfe_backward,
        "vjps_backward": work.vjps_backward,
        "accepted_forward": work.forward.accepted,
        "rejected_forward": work.forward.rejected,
        "accepted_backward": work.backward.accepted,
        "rejected_backward": work.backward.rejected,
    }
