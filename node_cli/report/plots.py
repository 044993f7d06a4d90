"""Plots of one run, and of the runs of a sweep beside each other."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from node_cli.report.trajectory_plots import plot_trajectory
from node_cli.run.records import RunFolder, read_csv, replacing

SMOOTHING = 1 - 0.5 ** (1 / 10)  # weight of the newest loss: half-life 10 steps
MOST_JOBS = 20  # more curves would hide each other

Rows = Sequence[Mapping[str, str]]


def plot_run(folder: RunFolder) -> None:
    """loss.png; accuracy.png where images are classified, trajectory.png and trajectory.gif where a
    trajectory is fitted; with an ODE, nfe.png: from what the run has recorded so far."""
    steps, epochs = read_csv(folder.steps), read_csv(folder.epochs)
    if not steps:
        return
    title, batch_size = _title(folder), folder.read_config().get("batch_size")
    is_fit = folder.trajectories.exists()

    def loss(axes: Axes) -> None:
        step, value = _points(steps, "step", "loss")
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
        for i, (name, width) in enumerate(zip(names, _widths(len(names)), strict=True)):
            _curve(axes, steps, "step", name, name, f"C{i}", marker="", linewidth=width)
        axes.set(xlabel="step", ylabel="count per batch", ylim=(-0.5, None))

    _save(folder.plots / "loss.png", title, loss)
    if is_fit:
        plot_trajectory(folder, title)
    elif epochs:
        _save(folder.plots / "accuracy.png", title, accuracy)
    if steps[0]["nfe_forward"]:
        _save(folder.plots / "nfe.png", title, nfe)


def plot_sweep(folder: Path, jobs: Sequence[tuple[str, RunFolder]]) -> None:
    """accuracy.png, or loss.png where nothing is classified, and nfe.png, each job's over its
    epochs. ``jobs``: label and run folder; of more than 20, the first 20."""
    epochs = [(label, read_csv(job.epochs)) for label, job in jobs[:MOST_JOBS]]
    classified = any(row["test_accuracy"] for _, rows in epochs for row in rows)
    for name, column, words, scale in (
        ("accuracy", "test_accuracy", "test accuracy", "linear")
        if classified
        else ("loss", "test_loss", "test loss", "log"),
        ("nfe", "nfe_forward_mean", "evaluations of f per batch, forward", "linear"),
    ):

        def curves(
            axes: Axes, column: str = column, words: str = words, scale: str = scale
        ) -> None:
            widths = _widths(len(epochs))
            for i, ((label, rows), width) in enumerate(zip(epochs, widths, strict=True)):
                _curve(axes, rows, "epoch", column, label, f"C{i % 10}", linewidth=width)
            axes.set(xlabel="epoch", ylabel=words, yscale=scale)

        if any(row[column] for _, rows in epochs for row in rows):
            _save(folder / "plots" / f"{name}.png", f"sweep {folder.name}", curves)


def _widths(curves: int) -> list[float]:
    """Of lines, the first one widest: it stays visible behind others that equal it."""
    return [1.5 + 3 * (curves - 1 - i) / curves for i in range(curves)]


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
    """One column against another; nothing where the column is empty."""
    xs, ys = _points(rows, x, y)
    if xs:
        axes.plot(xs, ys, marker=marker, color=color, label=label, linewidth=linewidth)


def _points(rows: Rows, x: str, y: str) -> tuple[list[float], list[float]]:
    filled = [row for row in rows if row[y]]
    return [float(row[x]) for row in filled], [float(row[y]) for row in filled]


def _smoothed(values: Sequence[float]) -> list[float]:
    """Exponentially weighted mean of the values so far, unbiased at the start."""
    total = weight = 0.0
    smoothed = []
    for value in values:
        total += SMOOTHING * (value - total)
        weight += SMOOTHING * (1 - weight)
        smoothed.append(total / weight)
    return smoothed


def _title(folder: RunFolder) -> str:
    config = folder.read_config()
    parts = [f"{config['model']['name']} on {config['data']['name']}"]
    for section in ("solver", "sensitivity"):
        parts += [config[section]["name"]] if config[section] else []
    return ", ".join([*parts, f"seed {config['seed']}"])


def _save(path: Path, title: str, draw: Callable[[Axes], None]) -> None:
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    draw(axes)
    axes.set_title(title)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1, steps=[1, 2, 5, 10]))
    axes.grid(alpha=0.3)
    axes.legend()
    path.parent.mkdir(exist_ok=True)
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=120)
