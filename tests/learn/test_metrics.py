"""Metrics of the test split: against counting by hand."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from node_cli.config.schema import Config
from node_cli.errors import UserError
from node_cli.learn import metrics
from node_cli.learn.classification import Classification
from node_cli.report.run_plots import plot_run
from tests.folders import rows
from tests.runs import run

Configure = Callable[..., Config]
ALL = "eval.metrics=[top_k,confusion,calibration_error]"


def test_against_counting(configure: Configure) -> None:
    pytest.importorskip("torchmetrics")
    generator = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(200, 4, dtype=torch.float64, generator=generator)
    labels = torch.randint(4, (200,), generator=generator)
    config = configure(ALL, "eval.top_k=2").eval
    records = dict(metrics.metric_rows(config, logits, labels, "abcd"))
    values = {row["metric"]: row["value"] for row in records[metrics.METRICS]}
    among = (logits.argsort(1)[:, -2:] == labels.unsqueeze(1)).any(1)
    assert values["top_k"] == pytest.approx(float(among.double().mean()))

    confidence, predicted = logits.softmax(1).max(1)
    right, gap = predicted == labels, 0.0
    for i in range(15):
        inside = (confidence > i / 15) & (confidence <= (i + 1) / 15)
        if inside.any():
            difference = confidence[inside].mean() - right[inside].double().mean()
            gap += float(inside.double().mean() * difference.abs())
    assert values["calibration_error"] == pytest.approx(gap, rel=1e-5)

    counts = {(r["class"], r["predicted"]): r["images"] for r in records[metrics.CONFUSION]}
    assert counts[("b", "d")] == int(((labels == 1) & (predicted == 3)).sum())
    for number, row in enumerate(records[metrics.PER_CLASS]):
        of_class = labels == number
        assert (row["class"], row["images"]) == ("abcd"[number], int(of_class.sum()))
        assert row["accuracy"] == pytest.approx(float(right[of_class].double().mean()))


def test_files_and_plot_of_a_run(configure: Configure, tmp_path: Path) -> None:
    pytest.importorskip("torchmetrics")
    folder = run(configure("data.limit=60", "epochs=1", ALL), tmp_path / "run")
    plot_run(folder)
    per_class = rows(folder.path / "per_class.csv")
    accuracy = sum(int(row["correct"]) for row in per_class) / 359
    assert accuracy == pytest.approx(float(rows(folder.epochs)[0]["test_accuracy"]))
    assert (folder.plots / "confusion.png").exists()


def test_without_torchmetrics(configure: Configure, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "find_spec", lambda _: None)
    with pytest.raises(UserError, match=r"eval.metrics=\[confusion\]: needs torchmetrics; pip"):
        Classification.check(configure("eval.metrics=[confusion]"))
    Classification.check(configure())


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["eval.top_k=3"], r"eval.top_k=3: not used by eval.metrics=\[\]"),
        (["eval.metrics=[top_k]", "eval.top_k=null"], "eval.top_k: eval.metrics=top_k needs it"),
        (
            ["data=spiral_linear", "model=linear_field", "eval.metrics=[top_k]"],
            r"eval.metrics=\[top_k\]: not with data=spiral_linear, which has no classes",
        ),
    ],
)
def test_refused(configure: Configure, options: list[str], line: str) -> None:
    with pytest.raises(UserError, match=f"(?m)^{line}"):
        configure(*options)
