"""Whether a training has come to its end before its last epoch, told from its records.

Of the records alone, so that a resumed run decides as an uninterrupted one does. Nothing here
imports torch.
"""

from node_cli.config.schema import Config
from node_cli.records.columns import EPOCHS
from node_cli.records.files import rows_up_to
from node_cli.records.run_folder import RunFolder
from node_cli.records.splits import evaluated, trained_split


def reason_to_stop(config: Config, folder: RunFolder, step: int) -> str:
    """Why no epoch is to begin after ``step`` steps; empty where one is, or ``epochs`` are done.

    Raises ``UserError`` where epochs.csv is damaged.
    """
    rows = rows_up_to(folder.epochs, EPOCHS.columns, step)
    if len(rows) >= config.epochs:
        return ""
    holdout = trained_split("holdout", averaged=config.train.ema is not None)
    cells = [row[evaluated(holdout, "accuracy")] for row in rows]
    accuracies = [float(cell) for cell in cells if cell]
    seconds = sum(float(row["seconds"]) + float(row["eval_seconds"]) for row in rows)
    reason = config.train.reason_to_stop(accuracies, seconds)
    return f"{reason}, after epoch {len(rows)} of {config.epochs}" if reason else ""
