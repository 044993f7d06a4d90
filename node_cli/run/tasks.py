"""The tasks: what a checked configuration makes happen in a run folder."""

import time
from collections.abc import Callable

from node_cli.config.schema import Config
from node_cli.run import checkpoints
from node_cli.run.display import Display, TrainingDisplay
from node_cli.run.evaluation import evaluate_splits, evaluation_rows, nfe_mean
from node_cli.run.progress import Progress
from node_cli.run.records import EVALUATION_COLUMNS, CsvLog, RunFolder, read_csv
from node_cli.run.setup import Setup
from node_cli.run.stopping import stop_on_signal
from node_cli.run.training import Trainer


def train(config: Config, folder: RunFolder, display: Display) -> float | None:
    """Train, from the folder's last checkpoint if it has one.

    Returns the accuracy to select by: on the holdout if there is one, else the training accuracy.
    """
    setup = Setup(config)
    trainer = Trainer(config, setup.model, setup.splits, setup.preprocess, setup.backend, folder)
    if folder.last.exists():
        trainer.load_state_dict(checkpoints.load(folder.last))
    progress = trainer.progress
    setup.show_header(display, folder)
    with (
        stop_on_signal() as stop,
        TrainingDisplay(
            display, config.epochs, trainer.batches_per_epoch, progress.step
        ) as training_display,
    ):
        trainer.run(training_display, stop)

    rows = read_csv(folder.epochs)
    metrics = {name: float(cell) if cell else None for name, cell in rows[-1].items()}
    folder.write_result(
        {
            "task": "train",
            "seconds": sum(float(row["seconds"]) for row in rows),
            "metrics": metrics,
            "best": {"epoch": progress.best_epoch, "holdout_accuracy": progress.best_score},
            **setup.facts(),
        }
    )
    holdout = metrics["holdout_accuracy"]
    return metrics["train_accuracy"] if holdout is None else holdout


def evaluate(config: Config, folder: RunFolder, display: Display) -> float | None:
    """Evaluate a checkpoint. Returns the holdout accuracy, None without a holdout."""
    assert config.checkpoint is not None
    path = checkpoints.find(config.checkpoint)
    checkpoint = checkpoints.load(path)
    setup = Setup(config)
    setup.load_weights(checkpoint["model"], config.checkpoint)
    setup.show_header(display, folder)
    progress = Progress.from_state_dict(checkpoint["progress"])
    step = progress.step
    display.line(f"{path}, after {step:,} steps")
    start = time.perf_counter()
    metrics = evaluate_splits(
        config, setup.model, setup.splits, setup.preprocess, setup.backend, step
    )
    seconds = time.perf_counter() - start
    log = CsvLog(folder.evaluations, EVALUATION_COLUMNS, keep_to_step=-1)
    for row in evaluation_rows(metrics, step, progress.current_epoch):
        log.append(row)
    log.close()
    for name, m in metrics.items():
        nfe = "" if m.nfe_mean is None else f"  NFE {m.nfe_mean:g}"
        display.line(
            f"{name:<7}  {m.images:,} images  Accuracy: {m.accuracy:.2%}  Loss: {m.loss:.4f}{nfe}"
        )
    result: dict[str, float | None] = {
        f"{name}_{key}": value
        for name, m in metrics.items()
        for key, value in (("loss", m.loss), ("accuracy", m.accuracy))
    }
    result["nfe_eval_mean"] = nfe_mean(metrics)
    folder.write_result(
        {
            "task": "eval",
            "checkpoint": str(path),
            "seconds": seconds,
            "metrics": result,
            **setup.facts(),
        }
    )
    return metrics["holdout"].accuracy if "holdout" in metrics else None


TASKS: dict[str, Callable[[Config, RunFolder, Display], float | None]] = {
    "train": train,
    "eval": evaluate,
}
