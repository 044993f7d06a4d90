"""Pictures of a fitted trajectory: the noisy points, and the learned curve as training proceeds."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from node_cli.records.files import read_csv
from node_cli.records.run_folder import RunFolder
from node_cli.report.figures import drawn, write, write_gif

SHEET = (3, 3)  # rows, columns

# The animation. GIF stores what changes from frame to frame, in one palette for all of them.
MOST_FRAMES = 60
FRAME_TIME = 100  # milliseconds
LAST_FRAME_TIME = 1500
GIF_SIZE = (4.4, 3.8)  # inches: the width, and the height that the axes have per unit of width
GIF_DPI = 90
GIF_COLOURS = 32

MARGIN = 0.1  # around the points, as a fraction of their extent

Curve = tuple[list[float], list[float]]
"""y0 and y1 at successive times."""


@dataclass(frozen=True)
class Frame:
    """A learned trajectory, after ``step`` steps."""

    step: int
    curve: Curve


def plot_trajectory(folder: RunFolder, title: str) -> None:
    """Write trajectory.png, a sheet of nine frames, and trajectory.gif, an animation of at most
    ``MOST_FRAMES``; neither if nothing has been recorded."""
    observed, frames = read_csv(folder.observed), _frames(folder)
    if not observed or not frames:
        return
    times = [float(row["t"]) for row in observed]
    points = _curve(observed)
    folder.plots.mkdir(exist_ok=True)
    _sheet(folder.plots / "trajectory.png", title, times, points, frames)
    _animation(folder.plots / "trajectory.gif", title, times, points, frames)


def _frames(folder: RunFolder) -> list[Frame]:
    by_step = defaultdict(list)
    for row in read_csv(folder.trajectories):
        by_step[int(row["step"])].append(row)
    return [Frame(step, _curve(rows)) for step, rows in by_step.items()]


def _curve(rows: Sequence[dict[str, str]]) -> Curve:
    return [float(row["y0"]) for row in rows], [float(row["y1"]) for row in rows]


def _chosen(frames: Sequence[Frame], most: int) -> list[Frame]:
    """At most ``most`` frames, evenly spaced, with the first and the last among them."""
    if len(frames) <= most:
        return [*frames]
    return [frames[round(i * (len(frames) - 1) / (most - 1))] for i in range(most)]


def _sheet(
    path: Path, title: str, times: list[float], points: Curve, frames: Sequence[Frame]
) -> None:
    rows, columns = SHEET
    chosen = _chosen(frames, rows * columns)
    rows = -(-len(chosen) // columns)
    columns = min(columns, len(chosen))
    size = (3.2 * columns + 1, 3.2 * _height(points) * rows + 1)
    figure = Figure(figsize=size, layout="constrained")
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    for axes in grid.flat[len(chosen) :]:
        axes.set_axis_off()
    used = list(grid.flat[: len(chosen)])
    for axes, frame in zip(used, chosen, strict=True):
        scatter, _ = _draw(axes, times, points, frame)
    figure.colorbar(scatter, ax=grid, label="t of the observed points", shrink=0.6, aspect=40)
    figure.legend(*used[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    figure.suptitle(title)
    write(path, figure, dpi=80)


def _animation(
    path: Path, title: str, times: list[float], points: Curve, frames: Sequence[Frame]
) -> None:
    width, height = GIF_SIZE
    figure = Figure(figsize=(width, height * _height(points) + 1.2), layout="constrained")
    axes = figure.subplots()
    chosen = _chosen(frames, MOST_FRAMES)
    _, line = _draw(axes, times, points, chosen[0])
    figure.legend(loc="outside lower center", ncols=2, fontsize="small")
    figure.suptitle(title, fontsize="medium")
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # the layout of the first frame holds for every frame
    images = []
    for frame in chosen:
        line.set_data(*frame.curve)
        axes.set_title(f"step {frame.step:,}")
        images.append(drawn(figure, GIF_DPI))
    write_gif(path, images, [FRAME_TIME] * (len(images) - 1) + [LAST_FRAME_TIME], GIF_COLOURS)


def _draw(
    axes: Axes, times: list[float], points: Curve, frame: Frame
) -> tuple[PathCollection, Line2D]:
    scatter = axes.scatter(*points, c=times, cmap="plasma", s=9, alpha=0.8, label="observed")
    (line,) = axes.plot(*frame.curve, color="black", linewidth=1.5, label="learned")
    axes.set(xlim=_limits(points[0]), ylim=_limits(points[1]))
    axes.set_aspect("equal", adjustable="box")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(5))
    axes.set(title=f"step {frame.step:,}", xlabel="$y_0$", ylabel="$y_1$")
    axes.label_outer()
    return scatter, line


def _height(points: Curve) -> float:
    """Height of a picture of the points per unit of width, limited to a legible range."""
    (left, right), (bottom, top) = map(_limits, points)
    return min(max((top - bottom) / (right - left), 0.4), 2.0)


def _limits(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    return low - MARGIN * (high - low), high + MARGIN * (high - low)
