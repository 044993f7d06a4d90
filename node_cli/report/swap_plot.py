"""The plot of ``task=solver_swap``."""

from collections import defaultdict
from collections.abc import Mapping

from matplotlib.axes import Axes
from matplotlib.ticker import PercentFormatter

from node_cli.records.files import read_csv
from node_cli.records.run_folder import RunFolder
from node_cli.report.figures import save

Points = list[tuple[float, float]]


def plot_swap(folder: RunFolder) -> None:
    """Write solver_swap.png: accuracy and error against evaluations of f, a line for each method;
    nothing where the solver was not swapped. Raises OSError and ``UserError``."""
    rows = [row for row in read_csv(folder.swaps) if row["accuracy"]]
    if not rows:
        return
    trained = next(row for row in rows if row["role"] == "training")

    def draw_accuracy(axes: Axes) -> None:
        _draw(axes, _curves(rows, "accuracy"))
        at = [float(trained[name]) for name in ("nfe_mean", "accuracy")]
        axes.axhline(at[1], color="black", linewidth=0.8, alpha=0.5)
        axes.plot(*([x] for x in at), "k*", markersize=12, label=f"trained: {_name(trained)}")
        axes.set(ylabel="accuracy")
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=None))

    def draw_error(axes: Axes) -> None:
        _draw(axes, _curves([row for row in rows if float(row["error"] or 0) > 0], "error"))
        if trained["error"]:
            at = [float(trained[name]) for name in ("nfe_mean", "error")]
            axes.plot(*([x] for x in at), "k*", markersize=12)
        axes.set(xlabel="evaluations of f per batch", ylabel="error of the logits", yscale="log")
        axes.set(xscale="log")

    has_errors = any(row["error"] for row in rows)
    panels = [draw_accuracy, draw_error] if has_errors else [draw_accuracy]
    save(
        folder.plots / "solver_swap.png",
        f"the solver swapped, trained by {_name(trained)}",
        *panels,
    )


def _name(row: Mapping[str, str]) -> str:
    return f"{row['solver']} {row['options']}"


def _curves(rows: list[dict[str, str]], column: str) -> dict[str, Points]:
    """A column over the evaluations of f, by method."""
    found: dict[str, Points] = defaultdict(list)
    for row in rows:
        found[row["solver"]].append((float(row["nfe_mean"]), float(row[column])))
    return {name: sorted(points) for name, points in found.items()}


def _draw(axes: Axes, curves: Mapping[str, Points]) -> None:
    for i, (name, points) in enumerate(curves.items()):
        x, y = zip(*points, strict=True)
        axes.plot(x, y, "o-", color=f"C{i}", markersize=4, linewidth=1.2, label=name)
