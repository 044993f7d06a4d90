"""Which of the measured numbers the summary of a sweep shows, and what they are called above the
columns of a table."""

from node_cli.records.metric_measures import of_epochs

# What a sweep's summary shows of each job, and averages over seeds.
SUMMARY_LOSSES = ("train_loss", "test_loss")
SUMMARY_SECONDS = ("seconds", "eval_seconds")
SUMMARY_COUNTS = ("nfe_forward_run", "nfe_backward_run")
SUMMARY = (
    *SUMMARY_LOSSES,
    *("train_accuracy", "train_eval_accuracy", "holdout_accuracy", "test_accuracy"),
    *("nfe_forward_mean", "nfe_backward_mean", "nfe_eval_mean"),
)

# Also shown where a job has them: of an average of the weights, and of ``eval.metrics``.
SUMMARY_FURTHER = (
    *("holdout_ema_accuracy", "test_ema_accuracy"),
    *(measure.name for measure in of_epochs()),
)


def _heading(name: str) -> str:
    return name.replace("_ema", "").replace("_", " ") + ", average" * ("_ema" in name)


# What these are called above the columns of a table.
HEADINGS = {
    "train_loss": "train loss",
    "test_loss": "test loss",
    "train_accuracy": "train acc",
    "train_eval_accuracy": "train eval acc",
    "holdout_accuracy": "holdout acc",
    "test_accuracy": "test acc",
    "holdout_ema_accuracy": "holdout acc, average",
    "test_ema_accuracy": "test acc, average",
    **{measure.name: _heading(measure.name) for measure in of_epochs()},
    "nfe_forward_mean": "NFE fwd",
    "nfe_backward_mean": "NFE bwd",
    "nfe_eval_mean": "NFE eval",
    "seconds": "train s",
    "eval_seconds": "eval s",
    "nfe_forward_run": "NFE fwd, run",
    "nfe_backward_run": "NFE bwd, run",
    "peak_memory_mib": "memory MiB",
    "parameters": "parameters",
}
