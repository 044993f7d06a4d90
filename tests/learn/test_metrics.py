"""Metrics beside loss and accuracy: against counting by hand, and in the records."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from node_cli.config.schema import Config
from node_cli.errors import UserError
from node_cli.learn import metrics
from node_cli.learn.classification import Classification
from node_cli.records import metric_measures
from node_cli.records.fingerprints import Fingerprints
from node_cli.records.splits import evaluated
from node_cli.report.run_plots import plot_run
from tests.folders import rows
from tests.runs import go_on, run

Configure = Callable[..., Config]
ALL = "eval.metrics=[top_k,confusion,calibration_error]"


def test_against_counting(configure: Configure) -> None:
    pytest.importorskip("torchmetrics")
    generator = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(200, 4, dtype=torch.float64, generator=generator)
    labels = torch.randint(4, (200,), generator=generator)
    further = metrics.FurtherMetrics(configure(ALL, "eval.top_k=2").eval)
    batches = [*zip(logits.split(150), labels.split(150), strict=True)]
    values = further(batches, 200)
    among = (logits.argsort(1)[:, -2:] == labels.unsqueeze(1)).any(1)
    assert values["top_k"] == pytest.approx(float(among.double().mean()))
    # Images whose solve has failed.
    assert further(batches, 400)["top_k"] == pytest.approx(float(among.double().mean()) / 2)
    assert further(batches, 400)["calibration_error"] == values["calibration_error"]
    assert further([], 400) == {"top_k": 0, "calibration_error": None}

    confidence, predicted = logits.softmax(1).max(1)
    right, gap = predicted == labels, 0.0
    for i in range(15):
        inside = (confidence > i / 15) & (confidence <= (i + 1) / 15)
        if inside.any():
            difference = confidence[inside].mean() - right[inside].double().mean()
            gap += float(inside.double().mean() * difference.abs())
    assert values["calibration_error"] == pytest.approx(gap, rel=1e-5)

    records = dict(metrics.confusion(logits, labels, "abcd"))
    counts = {(r["class"], r["predicted"]): r["images"] for r in records[metrics.CONFUSION]}
    assert counts[("b", "d")] == int(((labels == 1) & (predicted == 3)).sum())
    for number, row in enumerate(records[metrics.PER_CLASS]):
        of_class = labels == number
        assert (row["class"], row["images"]) == ("abcd"[number], int(of_class.sum()))
        assert row["accuracy"] == pytest.approx(float(right[of_class].double().mean()))


def test_files_and_plot_of_a_run(configure: Configure, tmp_path: Path) -> None:
    """The numbers of every evaluation, in columns that come last, of a resumed run too; those of
    ``task=eval`` are the same."""
    pytest.importorskip("torchmetrics")
    options = ["data.limit=60", "data.holdout=0.2", "batch_size=16", "train.ema=0.5", ALL]
    folder = run(configure("epochs=1", *options, "eval.top_k=10"), tmp_path / "run")
    go_on(folder, epochs=2)
    plot_run(folder)
    found = rows(folder.evaluations)
    assert [row["split"] for row in found] == 2 * ["holdout", "test", "holdout_ema", "test_ema"]
    assert [*found[0]][-3:] == ["unsolved", "top_k", "calibration_error"]
    assert {row["top_k"] for row in found} == {"1.0"}
    assert len({row["calibration_error"] for row in found}) == 8
    again = run(configure("task=eval", f"checkpoint={folder.last}"), tmp_path / "again")
    assert [row["calibration_error"] for row in rows(again.evaluations)] == [
        row["calibration_error"] for row in found[4:]
    ]
    assert again.read_result()["metrics"]["test_ema_top_k"] == 1
    last = {(row["split"], name): row[name] for row in found[4:] for name in metric_measures.NAMES}
    of_epoch = rows(folder.epochs)[1]
    for split in ("holdout", "test", "holdout_ema", "test_ema"):
        for name in metric_measures.NAMES:
            assert of_epoch[evaluated(split, name)] == last[split, name]
    assert of_epoch["train_eval_top_k"] == ""
    assert folder.read_result()["metrics"]["test_ema_top_k"] == 1
    per_class = rows(folder.path / "per_class.csv")
    accuracy = sum(int(row["correct"]) for row in per_class) / 359
    assert accuracy == pytest.approx(float(rows(folder.epochs)[1]["test_ema_accuracy"]))
    assert (folder.plots / "confusion.png").exists()


def test_a_run_that_began_without_these_columns_goes_on(
    configure: Configure, tmp_path: Path
) -> None:
    """As the versions have written it that measured them once, in the end, or in evaluations.csv
    alone."""
    pytest.importorskip("torchmetrics")
    chosen = ["data.limit=60", "epochs=1", "eval.metrics=[top_k]", "eval.top_k=10"]
    folder = run(configure(*chosen), tmp_path / "run")
    for path, columns in ((folder.evaluations, 1), (folder.epochs, 3)):
        lines = [line.rsplit(",", columns)[0] for line in path.read_text().splitlines()]
        path.write_text("\n".join(lines) + "\n")
    checkpoint = torch.load(folder.last, weights_only=True)
    checkpoint["records"] |= Fingerprints([folder.evaluations, folder.epochs]).take()
    torch.save(checkpoint, folder.last)
    go_on(folder, epochs=2)
    go_on(folder, epochs=3)
    assert [row["top_k"] for row in rows(folder.evaluations)] == ["", "", *(4 * ["1.0"])]
    assert [row["test_top_k"] for row in rows(folder.epochs)] == ["", "1.0", "1.0"]


def test_without_torchmetrics(configure: Configure, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "find_spec", lambda _: None)
    with pytest.raises(UserError, match=r"eval.metrics=\[confusion\]: needs torchmetrics; pip"):
        Classification.check(configure("eval.metrics=[confusion]"))
    Classification.check(configure())


def test_more_than_there_are_classes(configure: Configure) -> None:
    pytest.importorskip("torchmetrics")
    with pytest.raises(UserError, match=r"eval\.top_k=11: exceeds the number of classes, 10"):
        Classification.check(configure("eval.metrics=[top_k]", "eval.top_k=11"))


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
