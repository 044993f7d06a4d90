"""Metrics of a classifier beside loss and accuracy, computed by torchmetrics.

It is an extra (``pip install node-train[metrics]``), since it takes seconds to import and few runs
need it: imported here, where it is used.
"""

from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from typing import Any

from torch import Tensor

from node_cli.config.eval import EvalConfig
from node_cli.errors import UserError
from node_cli.records.columns import CONFUSION, METRICS, PER_CLASS, Record

Rows = list[dict[str, Any]]
BINS = 15  # of the calibration error, as Guo et al. 2017 have them


def check_installed(config: EvalConfig) -> None:
    """Raise ``UserError`` where metrics are asked for, and torchmetrics is not there."""
    if config.metrics and find_spec("torchmetrics") is None:
        raise UserError(
            f"eval.metrics=[{','.join(config.metrics)}]: needs torchmetrics; "
            "pip install 'node-train[metrics]'"
        )


def metric_rows(
    config: EvalConfig, logits: Tensor, labels: Tensor, names: Sequence[str]
) -> Iterator[tuple[Record, Rows]]:
    """The records of the metrics that were chosen, each with its rows.

    ``logits``: [N, classes]; ``labels``: [N]; ``names``: of the classes.
    """
    from torchmetrics.functional import classification as metrics

    given: dict[str, Any] = {"num_classes": len(names), "validate_args": False}
    values = {}
    if "top_k" in config.metrics:
        assert config.top_k is not None
        values["top_k"] = metrics.multiclass_accuracy(
            logits, labels, average="micro", top_k=config.top_k, **given
        )
    if "calibration_error" in config.metrics:
        probabilities = logits.softmax(1)
        values["calibration_error"] = metrics.multiclass_calibration_error(
            probabilities, labels, n_bins=BINS, **given
        )
    if values:
        yield METRICS, [{"metric": k, "value": float(v)} for k, v in values.items()]
    if "confusion" in config.metrics:
        counts = metrics.multiclass_confusion_matrix(logits, labels, **given).tolist()
        yield PER_CLASS, [_of_class(name, counts[i], i) for i, name in enumerate(names)]
        yield (
            CONFUSION,
            [
                {"class": name, "predicted": other, "images": count}
                for name, row in zip(names, counts, strict=True)
                for other, count in zip(names, row, strict=True)
            ],
        )


def _of_class(name: str, row: Sequence[int], number: int) -> dict[str, Any]:
    images, correct = sum(row), row[number]
    accuracy = correct / images if images else None
    return {"class": name, "images": images, "correct": correct, "accuracy": accuracy}
