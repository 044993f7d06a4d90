"""The tasks: what a checked configuration makes happen in a run folder."""

import time
from typing import Protocol

from node_cli.config.schema import Config
from node_cli.errors import UserError, one_line
from node_cli.learn.evaluation import evaluation_rows, nfe_mean
from node_cli.learn.loop import Trainer
from node_cli.learn.stopping import stop_on_signal
from node_cli.machine.threads import usable
from node_cli.records import checkpoints
from node_cli.records.run_folder import EVALUATION_COLUMNS, CsvLog, RunFolder, read_csv
from node_cli.tasks.check_gradients import CheckGradients
from node_cli.tasks.progress_display import Display, TrainingDisplay
from node_cli.tasks.setup import Setup


class Task(Protocol):
    """Made from a configuration and a folder, of which it changes nothing until it runs.

    Making one raises ``UserError`` where data, device or checkpoint cannot be had; ``run`` returns
    the score of the run, None where it has none.
    """

    def __init__(self, config: Config, folder: RunFolder) -> None: ...

    def run(self, display: Display) -> float | None: ...


class Training:
    """Trains, from the folder's last checkpoint if it has one.

    The score is what to select by, higher is better: the accuracy on the holdout if there is one,
    else in training; where nothing is classified, minus the training loss.
    """

    def __init__(self, config: Config, folder: RunFolder) -> None:
        self.config = config
        self.folder = folder
        checkpoint = checkpoints.load(folder.last) if folder.last.exists() else None
        # A checkpoint without "threads" is from before they could be chosen.
        kept_threads = checkpoint.get("threads", usable()) if checkpoint else None
        self.setup = setup = Setup(config, kept_threads)
        self.trainer = Trainer(config, setup.objective, setup.backend, folder)
        if checkpoint is not None:
            try:
                self.trainer.load_state_dict(checkpoint)
            except (AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
                raise UserError(f"{folder.last}: does not fit ({one_line(error)})") from error
        progress = self.trainer.progress
        folder.check_records(
            steps=progress.step,
            epochs=progress.epoch,
            evaluated=config.eval.test == "always"
            or config.eval.train != "none"
            or "holdout" in setup.objective.splits,
        )

    def run(self, display: Display) -> float | None:
        config, folder, trainer = self.config, self.folder, self.trainer
        self.setup.show_header(display, folder)
        with (
            stop_on_signal() as stop,
            TrainingDisplay(
                display, config.epochs, trainer.batches_per_epoch, trainer.progress.step
            ) as training_display,
        ):
            trainer.run(training_display, stop)

        self.setup.objective.finish(folder)
        rows = read_csv(folder.epochs)
        metrics = {name: _number(cell) for name, cell in rows[-1].items()}
        progress = trainer.progress
        folder.write_result(
            {
                "task": "train",
                "seconds": sum(float(row["seconds"]) for row in rows),
                "eval_seconds": sum(float(row["eval_seconds"]) for row in rows),
                "metrics": metrics,
                "best": None
                if progress.best_epoch is None
                else {"epoch": progress.best_epoch, "holdout_accuracy": progress.best_score},
                **self.setup.facts(),
            }
        )
        for name in ("holdout_accuracy", "train_accuracy"):
            if metrics[name] is not None:
                return metrics[name]
        loss = metrics["train_loss"]
        return None if loss is None else -loss


class Evaluation:
    """Evaluates a checkpoint. The score is the holdout accuracy."""

    def __init__(self, config: Config, folder: RunFolder) -> None:
        assert config.checkpoint is not None
        self.config = config
        self.folder = folder
        self.setup = Setup(config)
        self.path, self.progress = checkpoints.load_for_evaluation(
            config.checkpoint, self.setup.model
        )

    def run(self, display: Display) -> float | None:
        setup, step = self.setup, self.progress.step
        setup.show_header(display, self.folder)
        display.line(f"{self.path}, after {step:,} steps")
        log = CsvLog(self.folder.evaluations, EVALUATION_COLUMNS, keep_to_step=-1)
        logs = [log, *setup.objective.records(self.folder, keep_to_step=-1)]
        start = time.perf_counter()
        metrics = setup.objective.evaluate(step)
        seconds = time.perf_counter() - start
        for row in evaluation_rows(metrics, step, self.progress.current_epoch):
            log.append(row)
        for each in logs:
            each.close()
        setup.objective.finish(self.folder)
        for name, m in metrics.items():
            figures = f"Loss: {m.loss:.4g}"
            if m.accuracy is not None:
                figures = f"Accuracy: {m.accuracy:.2%}  Loss: {m.loss:.4f}"
            nfe = "" if m.nfe_mean is None else f"  NFE {m.nfe_mean:g}"
            display.line(f"{name:<7}  {m.images:,} {setup.objective.units}  {figures}{nfe}")
        result: dict[str, float | None] = {
            f"{'train_eval' if name == 'train' else name}_{key}": value
            for name, m in metrics.items()
            for key, value in (("loss", m.loss), ("accuracy", m.accuracy))
        }
        result["nfe_eval_mean"] = nfe_mean(metrics)
        self.folder.write_result(
            {
                "task": "eval",
                "checkpoint": str(self.path),
                "eval_seconds": seconds,
                "metrics": result,
                **setup.facts(),
            }
        )
        return metrics["holdout"].accuracy if "holdout" in metrics else None


def _number(cell: str) -> float | None:
    """A cell of a record; a count stays a whole number."""
    if not cell:
        return None
    return int(cell) if cell.isdigit() else float(cell)


TASKS: dict[str, type[Task]] = {
    "train": Training,
    "eval": Evaluation,
    "check_gradients": CheckGradients,
}
