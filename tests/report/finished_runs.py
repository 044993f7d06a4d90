"""Finished runs for the tests of reports, without training."""

from pathlib import Path

from node_cli.records.columns import (
    BOUNDARY,
    CLASSES,
    CONFUSION,
    EPOCHS,
    EVALUATIONS,
    FLOW,
    POINTS,
    STEPS,
    VECTOR_FIELD,
)
from node_cli.records.run_folder import RunFolder
from tests.report.test_summary import write_csv

ACCURACIES = {"rk4": [0.90, 0.92, 0.97], "euler": [0.85, 0.88, 0.91], "dopri5": [0.95]}


def run(path: Path, solver: str, seed: int, accuracy: float) -> RunFolder:
    """A finished run of two epochs of two steps."""
    folder = RunFolder(path)
    path.mkdir(parents=True)
    folder.write_config(
        {
            "task": "train",
            "seed": seed,
            "model": {"name": "dense"},
            "data": {"name": "digits", "root": str(path)},
            "solver": {"name": solver, "rtol": 1e-3} if solver != "none" else None,
            "epochs": 2,
            "published": None,
        }
    )
    typed = [f"solver={solver}", f"seed={seed}", f"hydra.run.dir={path}"]
    folder.write_status("done", overrides=typed)
    nfe = 2 * len(solver)
    counted = "" if solver == "none" else nfe
    steps = [
        {"step": s, "epoch": (s + 1) // 2, "loss": 2 / s, "nfe_forward": counted, "seconds": 0.5}
        for s in (1, 2, 3, 4)
    ]
    write_csv(folder.steps, STEPS.columns, steps)
    tests = [{"step": 2 * e, "epoch": e, "split": "test", "accuracy": accuracy} for e in (1, 2)]
    write_csv(folder.evaluations, EVALUATIONS.columns, tests)
    epochs = [{"epoch": e, "step": 2 * e, "test_accuracy": accuracy} for e in (1, 2)]
    write_csv(folder.epochs, EPOCHS.columns, [row | {"peak_memory_mib": 100} for row in epochs])
    if solver == "rk4":
        _inside(folder)
    metrics = {"test_accuracy": accuracy, "nfe_forward_mean": nfe}
    folder.write_result({"seconds": 2.0, "parameters": 50, "metrics": metrics})
    return folder


def _inside(folder: RunFolder) -> None:
    """Points in the plane, their flow, two classes."""
    flow = [
        {"image": i, "label": i % 2, "t": t, "y0": i + t, "y1": i - t}
        for i in range(4)
        for t in (0, 0.5, 1)
    ]
    write_csv(folder.flow, FLOW.columns, flow)
    classes = [{"label": k, "images": 2, "accuracy": 0.5, "nfe_forward": 8} for k in (0, 1)]
    write_csv(folder.classes, CLASSES.columns, classes)
    confusion = [
        {"class": a, "predicted": b, "images": 1 + 2 * (a == b)} for a in "ab" for b in "ab"
    ]
    write_csv(folder.path / CONFUSION.file, CONFUSION.columns, confusion)
    grid = [{"x0": i, "x1": j, "probability": i / 2} for i in (0, 1, 2) for j in (0, 1, 2)]
    write_csv(folder.boundary, BOUNDARY.columns, grid)
    write_csv(folder.points, POINTS.columns, [{"x0": 0.5, "x1": 1.5, "label": 1}])
    write_csv(folder.vector_field, VECTOR_FIELD.columns, [dict.fromkeys(VECTOR_FIELD.columns, 1)])
