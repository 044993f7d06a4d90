"""Plots of the runs of a sweep. Runs that differ by their seed are one curve, with their range."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev

from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, PercentFormatter

from node_cli.records.files import read_csv
from node_cli.records.run_folder import RunFolder
from node_cli.report.comparison import compare
from node_cli.report.figures import points, save, widths
from node_cli.report.over_seeds import Setting

MOST_SETTINGS = 10  # more curves would hide each other
MOST_POINTS = 200  # of a curve; steps between them are averaged

TOLERANCES = ("solver.tol", "solver.rtol")

Spread = tuple[float, Sequence[float]]
"""x, and the values of the seeds that have one there."""

Curve = Sequence[Spread]


def plot_sweep(folder: Path, settings: Sequence[Setting]) -> None:
    """Write the plots of a sweep into its folder: error.png (loss.png where nothing is classified)
    and nfe.png over the steps; tolerance.png where tolerances vary.

    At most 10 settings are shown, the first ones. Published numbers are dots. Raises OSError and
    ``UserError``.
    """
    title, plots = f"sweep {folder.name}", folder / "plots"
    runs = {s.label: s.runs(folder) for s in settings[:MOST_SETTINGS]}
    split = _split([run for alike in runs.values() for run in alike])
    error = {label: _errors(alike, split) for label, alike in runs.items()}
    loss = {label: _evaluations(alike, split, "loss") for label, alike in runs.items()}
    nfe = {label: _steps(alike, "nfe_forward") for label, alike in runs.items()}

    def draw_error(axes: Axes) -> None:
        _draw(axes, error)
        dots = [list(_published_errors(alike, split)) for alike in runs.values()]
        for i, published in enumerate(dots):
            x, y = [at for at, _ in published], [value for _, value in published]
            axes.plot(x, y, "o", markersize=4, color=f"C{i}", markeredgecolor="black")
        axes.set(xlabel="step (dots: published)" if any(dots) else "step")
        axes.set(ylabel=f"{split} error", yscale="log")
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=None))
        axes.yaxis.set_minor_locator(LogLocator(subs=(2, 3, 5)))
        axes.yaxis.set_minor_formatter(PercentFormatter(1, decimals=None))

    def draw_loss(axes: Axes) -> None:
        _draw(axes, loss)
        axes.set(xlabel="step", ylabel=f"{split} loss", yscale="log")

    def draw_nfe(axes: Axes) -> None:
        _draw(axes, nfe)
        axes.set(xlabel="step", ylabel="evaluations of f per batch, forward")

    if any(error.values()):
        save(plots / "error.png", title, draw_error)
    elif any(loss.values()):
        save(plots / "loss.png", title, draw_loss)
    if any(nfe.values()):
        save(plots / "nfe.png", title, draw_nfe)
    for key in TOLERANCES:
        if len({s.keys[key] for s in settings if key in s.keys}) > 1:
            _plot_tolerance(folder, title, key, settings)


def _plot_tolerance(folder: Path, title: str, key: str, settings: Sequence[Setting]) -> None:
    """Write tolerance.png: test error and NFE at the end of the runs against the tolerance."""
    errors: dict[str, list[Spread]] = defaultdict(list)
    costs: dict[str, list[Spread]] = defaultdict(list)
    for setting in settings:
        if key not in setting.keys:
            continue
        others = {k: v for k, v in setting.keys.items() if k != key}
        label = Setting(others, ()).label if others else ""
        runs = setting.runs(folder)
        error, nfe = _errors(runs, "test"), _steps(runs, "nfe_forward")
        if error and nfe:
            tolerance = float(setting.keys[key])
            errors[label].append((tolerance, error[-1][1]))
            costs[label].append((tolerance, nfe[-1][1]))

    def draw_error(axes: Axes) -> None:
        _draw_spreads(axes, errors)
        axes.set(xscale="log", ylabel="test error", ylim=(0, None))
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=None))

    def draw_nfe(axes: Axes) -> None:
        _draw_spreads(axes, costs)
        axes.set(xscale="log", xlabel=key, ylabel="evaluations of f per batch, forward")
        axes.set(ylim=(0, None))

    if errors:
        save(folder / "plots" / "tolerance.png", title, draw_error, draw_nfe)


def _draw_spreads(axes: Axes, curves: Mapping[str, Sequence[Spread]]) -> None:
    """Draw each curve: the mean over its seeds, and their standard deviation as bars."""
    shown = zip(curves.items(), widths(len(curves)), strict=True)
    for i, ((label, curve), width) in enumerate(shown):
        axes.errorbar(
            [x for x, _ in curve],
            [mean(values) for _, values in curve],
            [stdev(values) if len(values) > 1 else 0 for _, values in curve],
            fmt="o-",
            color=f"C{i}",
            linewidth=width,
            capsize=3,
            label=label or None,
        )


def _draw(axes: Axes, curves: Mapping[str, Curve]) -> None:
    """Draw each curve: the mean over its seeds, and their range as a band."""
    shown = zip(curves.items(), widths(len(curves)), strict=True)
    for i, ((label, curve), width) in enumerate(shown):
        if not curve:
            continue
        x = [at for at, _ in curve]
        axes.plot(x, [mean(v) for _, v in curve], color=f"C{i}", label=label, linewidth=width)
        if any(len(values) > 1 for _, values in curve):
            low, high = [min(values) for _, values in curve], [max(values) for _, values in curve]
            axes.fill_between(x, low, high, color=f"C{i}", alpha=0.15, linewidth=0)


def _split(runs: Sequence[RunFolder]) -> str:
    """The split that was evaluated most often; test where it is as often as another."""
    counts = dict.fromkeys(("test", "holdout"), 0)
    for run in runs:
        for row in read_csv(run.evaluations):
            if row["split"] in counts:
                counts[row["split"]] += 1
    return max(counts, key=lambda split: counts[split])


def _errors(runs: Sequence[RunFolder], split: str) -> Curve:
    """Error (1 - accuracy) over the steps after which a split was evaluated."""
    accuracies = _evaluations(runs, split, "accuracy")
    return [(at, [1 - value for value in values]) for at, values in accuracies]


def _evaluations(runs: Sequence[RunFolder], split: str, column: str) -> Curve:
    """A column of evaluations.csv over the steps after which a split was evaluated."""
    found: dict[float, list[float]] = defaultdict(list)
    for run in runs:
        rows = [row for row in read_csv(run.evaluations) if row["split"] == split]
        for at, value in zip(*points(rows, "step", column), strict=True):
            found[at].append(value)
    return sorted(found.items())


def _steps(runs: Sequence[RunFolder], column: str) -> Curve:
    """A column of steps.csv, averaged over as many steps as leave a legible curve."""
    curves = [points(read_csv(run.steps), "step", column) for run in runs]
    length = max((len(x) for x, _ in curves), default=0)
    size = -(-length // MOST_POINTS) or 1
    found = []
    for start in range(0, length, size):
        values = [mean(y[start : start + size]) for _, y in curves if len(y) > start]
        found.append((float(start + size), values))
    return found


def _published_errors(runs: Sequence[RunFolder], split: str) -> Iterator[tuple[float, float]]:
    """Step and error of the accuracies that were published for runs."""
    ends = {int(row["epoch"]): float(row["step"]) for row in read_csv(runs[0].epochs)} | {0: 0.0}
    for comparison in compare(runs):
        for at, entries in comparison.rows:
            steps = ends if comparison.key == "epoch" else {at: float(at)}
            for entry in entries if comparison.key and at in steps else ():
                if entry.name == f"{split}_accuracy" and entry.published is not None:
                    yield steps[at], 1 - entry.published
