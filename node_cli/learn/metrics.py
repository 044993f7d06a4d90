"""Metrics of a classifier beside loss and accuracy, computed by torchmetrics.

It is an extra (``pip install node-train[metrics]``), since it takes seconds to import and few runs
need it: imported here, where it is used.
"""

from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

from node_cli.config.eval import EvalConfig
from node_cli.errors import UserError
from node_cli.records.columns import CONFUSION, PER_CLASS, Record

Rows = list[dict[str, Any]]
BINS = 15  # of the calibration error, as Guo et al. 2017 have them


def check(config: EvalConfig, classes: int) -> None:
    """Raise ``UserError`` where metrics are asked for, and torchmetrics is not there, or there are
    fewer classes than they need."""
    if config.metrics and find_spec("torchmetrics") is None:
        raise UserError(
            f"eval.metrics=[{','.join(config.metrics)}]: needs torchmetrics; "
            "pip install 'node-train[metrics]'"
        )
    if "top_k" in config.metrics and config.top_k is not None and config.top_k > classes:
        raise UserError(f"eval.top_k={config.top_k}: exceeds the number of classes, {classes}")


class FurtherMetrics:
    """Those of ``eval.metrics`` that are one number of a split; false where there are none."""

    def __init__(self, config: EvalConfig) -> None:
        self.chosen = [name for name in config.metrics if name != "confusion"]
        self.k = config.top_k

    def __bool__(self) -> bool:
        return bool(self.chosen)

    def __call__(
        self, answers: Sequence[tuple[Tensor, Tensor]], images: int
    ) -> dict[str, float | None]:
        """The metrics by name. ``answers``: of each batch that was solved the logits [n, classes]
        and the labels [n]. ``images``: of the split; those that were not solved count as wrong for
        ``top_k``, and not at all for ``calibration_error``.

        Cost: the logits are copied to the CPU, together; milliseconds for 10,000 images.
        """
        if not answers:
            return {name: 0.0 if name == "top_k" else None for name in self.chosen}
        logits, labels = (torch.cat(found).cpu() for found in zip(*answers, strict=True))
        given = logits.double(), labels
        values: dict[str, float | None] = {}
        for name in self.chosen:
            values[name] = (
                round(self._top_k(*given) * len(labels)) / images
                if name == "top_k"
                else self._calibration_error(*given)
            )
        return values

    def _top_k(self, logits: Tensor, labels: Tensor) -> float:
        from torchmetrics.functional.classification import multiclass_accuracy

        given: dict[str, Any] = {
            "num_classes": logits.shape[1],
            "top_k": self.k,
            "validate_args": False,
        }
        return float(multiclass_accuracy(logits, labels, average="micro", **given))

    def _calibration_error(self, logits: Tensor, labels: Tensor) -> float:
        from torchmetrics.functional.classification import multiclass_calibration_error

        given: dict[str, Any] = {
            "num_classes": logits.shape[1],
            "n_bins": BINS,
            "validate_args": False,
        }
        return float(multiclass_calibration_error(logits.softmax(1), labels, **given))


def confusion(
    logits: Tensor, labels: Tensor, names: Sequence[str]
) -> Iterator[tuple[Record, Rows]]:
    """The confusion matrix and what follows from it, each record with its rows.

    ``logits``: [N, classes]; ``labels``: [N]; ``names``: of the classes.
    """
    from torchmetrics.functional.classification import multiclass_confusion_matrix

    given: dict[str, Any] = {"num_classes": len(names), "validate_args": False}
    counts = multiclass_confusion_matrix(logits, labels, **given).tolist()
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
