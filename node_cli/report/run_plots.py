"""Plots of one run."""

from collections.abc import Mapping, Sequence
from itertools import accumulate

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from node_cli.records.files import read_csv
from node_cli.records.run_folder import RunFolder
from node_cli.report.confusion_plot import plot_confusion
from node_cli.report.figures import Rows, points, save, widths, write
from node_cli.report.plane_plots import plot_plane
from node_cli.report.swap_plot import plot_swap
from node_cli.report.trajectory_plots import plot_trajectory

REACH = 10  # steps before and after a step whose losses are averaged
MOST_BLOCKS = 6  # ODE blocks whose paths are drawn


def plot_run(folder: RunFolder) -> None:
    """Write the plots of a run, from what it has recorded so far, into its folder.

    They are loss.png; accuracy.png where images are classified; trajectory.png and trajectory.gif
    where a trajectory is fitted; with an ODE nfe.png and, after training, paths.png; where the data
    are points in the plane those of ``plot_plane``. The task solver_swap has solver_swap.png alone.
    ``eval.metrics=[confusion]`` adds confusion.png.
    Raises OSError and ``UserError``.
    """
    plot_swap(folder)
    plot_confusion(folder)
    steps, epochs = read_csv(folder.steps), read_csv(folder.epochs)
    if not steps:
        return
    title, batch_size = _title(folder), folder.read_config().get("batch_size")
    is_fit = folder.trajectories.exists()

    def loss(axes: Axes) -> None:
        step, value = points(steps, "step", "loss")
        axes.plot(step, value, color="C0", alpha=0.3, linewidth=1, label="training, each step")
        axes.plot(step, _smoothed(value), color="C0", label="training, smoothed")
        for color, split in (("C1", "holdout"), ("C2", "test")):
            _curve(axes, epochs, "step", f"{split}_loss", split, color)
        words = "mean squared error" if is_fit else "cross-entropy"
        axes.set(xlabel="step", ylabel=words, yscale="log")
        if batch_size and not is_fit:
            seen = (lambda step: step * batch_size, lambda images: images / batch_size)
            axes.secondary_xaxis("top", functions=seen).set_xlabel("images seen")

    def accuracy(axes: Axes) -> None:
        _curve(axes, epochs, "epoch", "train_accuracy", "training, running", "C0")
        _curve(axes, epochs, "epoch", "train_eval_accuracy", "training", "C3")
        _curve(axes, epochs, "epoch", "holdout_accuracy", "holdout", "C1")
        _curve(axes, epochs, "epoch", "test_accuracy", "test", "C2")
        axes.set(xlabel="epoch", ylabel="accuracy")

    def nfe(axes: Axes) -> None:
        names = ("nfe_forward", "nfe_backward", "vjps_backward")
        for i, (name, width) in enumerate(zip(names, widths(len(names)), strict=True)):
            _curve(axes, steps, "step", name, name, f"C{i}", marker="", linewidth=width)
        axes.set(xlabel="step", ylabel="count per batch", ylim=(-0.5, None))

    save(folder.plots / "loss.png", title, loss)
    if is_fit:
        plot_trajectory(folder, title)
    elif epochs:
        save(folder.plots / "accuracy.png", title, accuracy)
    if steps[0]["nfe_forward"]:
        save(folder.plots / "nfe.png", title, nfe)
    _paths(folder, title)
    plot_plane(folder, title)


def _curve(
    axes: Axes,
    rows: Rows,
    x: str,
    y: str,
    label: str,
    color: str,
    marker: str = ".",
    linewidth: float = 1.5,
) -> None:
    """Draw one column against another; nothing where it is empty."""
    xs, ys = points(rows, x, y)
    if xs:
        axes.plot(xs, ys, marker=marker, color=color, label=label, linewidth=linewidth)


def _paths(folder: RunFolder, title: str) -> None:
    """Write paths.png: of each ODE block a row of panels, one for a coordinate, in it a line for an
    image of each class."""
    rows = read_csv(folder.paths)
    if not rows:
        return
    of_panel: dict[str, dict[str, list[Mapping[str, str]]]] = {}
    for row in rows:  # records of older versions know one block alone
        of_block = of_panel.setdefault(row.get("block", "1"), {})
        of_block.setdefault(row["coordinate"], []).append(row)
    labels = list(dict.fromkeys(row["label"] for row in rows))
    shown = list(of_panel.items())[:MOST_BLOCKS]
    width = max(len(panels) for _, panels in shown)
    size = (3.2 * width, 3.6 * len(shown))
    figure = Figure(figsize=size, layout="constrained")
    grid = figure.subplots(len(shown), width, squeeze=False)
    for line, (block, panels) in zip(grid, shown, strict=True):
        start = f"block {block}, " if len(of_panel) > 1 else ""
        for axes, (coordinate, points_of_it) in zip(line, panels.items(), strict=False):
            for i, label in enumerate(labels):
                path = [r for r in points_of_it if r["label"] == label]
                t, y = [float(r["t"]) for r in path], [float(r["y"]) for r in path]
                axes.plot(t, y, color=f"C{i % 10}", label=f"class {label}")
            axes.set(title=f"{start}coordinate {coordinate}", xlabel="t")
            axes.grid(alpha=0.3)
        line[0].set_ylabel("y(t)")
    figure.legend(*grid[0][0].get_legend_handles_labels(), loc="outside right center")
    figure.suptitle(f"{title}: the first test image of each class")
    write(folder.plots / "paths.png", figure)


def _smoothed(values: Sequence[float]) -> list[float]:
    """Mean of each value and of as many before it as after it, ``REACH`` at most: a loss that falls
    is shown neither early nor late, and the curve begins and ends with the values."""
    sums = [0.0, *accumulate(values)]
    reaches = [min(REACH, i, len(values) - 1 - i) for i in range(len(values))]
    return [(sums[i + n + 1] - sums[i - n]) / (2 * n + 1) for i, n in enumerate(reaches)]


def _title(folder: RunFolder) -> str:
    config = folder.read_config()
    parts = [f"{config['model']['name']} on {config['data']['name']}"]
    for section in ("solver", "sensitivity"):
        parts += [config[section]["name"]] if config[section] else []
    return ", ".join([*parts, f"seed {config['seed']}"])
