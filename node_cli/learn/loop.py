"""The training loop, from a batch to a checkpoint. What one update does is in ``update.py``."""

import time
from collections.abc import Mapping
from typing import Any, Generic

from node_cli.config.schema import Config
from node_cli.config.train import SkipFailures
from node_cli.learn.average import Average, evaluate_both
from node_cli.learn.evaluation import Diverged, Metrics, evaluation_rows, split_numbers
from node_cli.learn.objective import Batch, Objective
from node_cli.learn.observer import Observers, TrainingFacts
from node_cli.learn.recorded import recorded
from node_cli.learn.shared_gradient import shared
from node_cli.learn.training_state import TrainingState
from node_cli.learn.update import Outcome, Update
from node_cli.machine import memory
from node_cli.machine.device import Backend
from node_cli.machine.ranks import ALONE, Ranks
from node_cli.ode.failures import SolveFailed
from node_cli.records.columns import EPOCHS, STEPS
from node_cli.records.early_stop import reason_to_stop
from node_cli.records.progress import EpochSums, Progress
from node_cli.records.run_folder import RunFolder
from node_cli.records.splits import evaluated, trained_split
from node_cli.stopping import Interrupted, StopRequest


class Trainer(Generic[Batch]):
    """Trains the model of an objective, and writes checkpoints into a run folder."""

    def __init__(
        self,
        config: Config,
        objective: Objective[Batch],
        backend: Backend,
        folder: RunFolder,
        ranks: Ranks = ALONE,
    ) -> None:
        """``ranks``: the processes that train together, whose first one alone writes."""
        self.config = config
        self.objective = objective
        self.model = objective.model
        self.backend = backend
        self.folder = folder
        self.ranks = ranks
        self.batches_per_epoch = objective.batches_per_epoch
        self.columns = {record: recorded(config, record) for record in (STEPS, EPOCHS)}
        gradient = shared(objective.gradient, ranks, self.model, config)
        self.update = Update(config, self.model, gradient)
        decay = config.train.ema
        self.average = None if decay is None else Average(self.model, decay)
        self.state = TrainingState(
            config,
            self.model,
            self.update.optimizer,
            self.average,
            backend,
            self.batches_per_epoch,
            objective.inputs,
            folder,
            ranks.size,
        )

    @property
    def progress(self) -> Progress:
        """How far the training has come."""
        return self.state.progress

    def run(self, observers: Observers, stop: StopRequest) -> str:
        """Train until ``epochs`` are completed, or a rule of ``train`` says that they need not be;
        return that rule and why, empty where they are. An epoch that has begun is completed.

        Raises ``Interrupted`` once a stop is requested and the checkpoint is written; ``Diverged``
        and ``SolveFailed``, after which the last checkpoint is as it was; and OSError.
        """
        progress, config = self.progress, self.config
        try:
            observers.start(
                TrainingFacts(progress.step, self.batches_per_epoch, self.objective.further)
            )
            if progress.step == 0 and config.eval.initial:
                self._evaluate(observers)
            reason = ""
            while progress.epoch < config.epochs:
                if not progress.sums.batches and (reason := self._reason_to_stop()):
                    break
                self._epoch(observers, stop)
        finally:
            observers.end()
        return reason

    def _reason_to_stop(self) -> str:
        given = self.config, self.folder, self.progress.step
        return self.ranks.of_first(lambda: reason_to_stop(*given))

    def _epoch(self, observers: Observers, stop: StopRequest) -> None:
        """Train the rest of the epoch in progress."""
        progress, config = self.progress, self.config
        memory.reset_peak(self.backend.device)
        self.model.train()
        for batch in self.objective.batches(progress.epoch, progress.sums.batches):
            self.step(batch, observers)
            is_best = False
            is_last = progress.sums.batches == self.batches_per_epoch
            if is_last:
                metrics = self._evaluate(observers)
                epoch_row = self._epoch_row(metrics)
                observers.epoch(epoch_row)
                progress.epoch += 1
                progress.sums = EpochSums()
                is_best = self._is_best(epoch_row)
            elif self._evaluation_is_due():
                self._evaluate(observers)

            signal = self.ranks.largest(stop.number)
            stopping = signal != 0
            if is_last or stopping or _divides(config.train.checkpoint_every, progress.step):
                observers.checkpoint()  # a checkpoint never counts rows that are not on disk
                if self.ranks.first:
                    self.state.save(is_best=is_best or not self._has_holdout)
            if stopping:
                raise Interrupted(signal)

    def step(self, batch: Batch, observers: Observers) -> Outcome | None:
        """Make a training step, count it and show it; None where its solve failed and it was
        skipped. Raises ``Diverged`` and ``SolveFailed``."""
        # Gradient, finite?, clipping, optimizer: see update.py.
        start = time.perf_counter()
        self._set_learning_rate()
        outcome = self._update(batch)
        seconds = time.perf_counter() - start
        row = self._count(outcome, len(batch), seconds)
        observers.step(self.progress, row)
        return outcome

    def _set_learning_rate(self) -> None:
        config = self.config
        lr = config.schedule.of_step(
            config.optimizer.lr, self.progress.step, self.batches_per_epoch, config.epochs
        )
        for group in self.update.optimizer.param_groups:
            group["lr"] = lr

    def _update(self, batch: Batch) -> Outcome | None:
        """Update the weights; None where the solve failed and the batch may be skipped."""
        try:
            outcome = self.update(batch, self.progress.step)
        except Diverged as error:
            raise Diverged(f"step {self.progress.step + 1}: {error}") from error
        except SolveFailed:
            train, skipped = self.config.train, self.progress.sums.skipped
            if not isinstance(train, SkipFailures) or skipped >= train.max_skipped:
                raise
            self.update.optimizer.zero_grad()
            self.model.take_work()
            return None
        if self.average is not None:
            self.average.update()
        return outcome

    def _count(self, outcome: Outcome | None, images: int, seconds: float) -> dict[str, Any]:
        """Add a step to the progress; return its row of steps.csv."""
        progress = self.progress
        progress.step += 1
        progress.sums.seconds += seconds
        measured = outcome.measured(images) if outcome else {}
        if outcome:
            progress.sums.add(images, measured)
        else:
            progress.sums.skip(images)
        values = measured | {
            "step": progress.step,
            "epoch": progress.epoch + 1,
            "lr": self.update.optimizer.param_groups[0]["lr"],
            "seconds": seconds,
        }
        return {column: values.get(column) for column in self.columns[STEPS]}

    def _evaluation_is_due(self) -> bool:
        """Whether to evaluate after this step, within an epoch; its end is always evaluated."""
        every, step = self.config.eval.every_steps, self.progress.step
        if every is None:
            return False
        since = step - (self.config.eval.from_step or every)
        return since >= 0 and since % every == 0

    def _evaluate(self, observers: Observers) -> dict[str, Metrics]:
        """Evaluate every split that ``eval`` asks for after this step."""
        start = time.perf_counter()
        progress = self.progress
        metrics, further = evaluate_both(
            self.objective, self.average, progress.step, observers.evaluating
        )
        rows = list(evaluation_rows(metrics, progress.step, progress.current_epoch))
        observers.evaluation(rows, further)
        progress.sums.eval_seconds += time.perf_counter() - start
        return metrics

    def _epoch_row(self, metrics: Mapping[str, Metrics]) -> dict[str, Any]:
        """Return the row of epochs.csv of an epoch that has just been completed."""
        progress = self.progress
        values = progress.sums.row() | split_numbers(metrics)
        values |= {
            "epoch": progress.current_epoch,
            "step": progress.step,
            "peak_memory_mib": memory.peak_mib(self.backend.device),
        }
        return {column: values.get(column) for column in self.columns[EPOCHS]}

    @property
    def _has_holdout(self) -> bool:
        return "holdout" in self.objective.splits

    def _is_best(self, epoch_row: Mapping[str, Any]) -> bool:
        """Whether no epoch before had such a holdout accuracy of the trained model; keeps it.
        Without a holdout, no."""
        if not self._has_holdout:
            return False
        holdout = trained_split("holdout", averaged=self.average is not None)
        progress, score = self.progress, epoch_row[evaluated(holdout, "accuracy")]
        is_best = progress.best_score is None or score > progress.best_score
        if is_best:
            progress.best_score, progress.best_epoch = score, progress.epoch
        return is_best


def _divides(interval: int | None, step: int) -> bool:
    return interval is not None and step % interval == 0
