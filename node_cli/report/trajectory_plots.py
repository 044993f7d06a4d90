"""Pictures of a trajectory that is learnt: the noisy points, and the learned curve as training goes
on."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from matplotlib.animation import PillowWriter
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from node_cli.records.files import read_csv, replacing
from node_cli.records.run_folder import RunFolder

SHEET = (3, 3)  # rows, columns
MOST_FRAMES = 120  # of the animation
FRAMES_PER_SECOND = 12
LAST_FRAME = 1.5  # seconds that it stays
MARGIN = 0.1  # around the points, of their extent

Curve = tuple[list[float], list[float]]
"""y0 and y1 at successive times."""


@dataclass(frozen=True)
class Frame:
    """A learned trajectory, after ``step`` steps."""

    step: int
    curve: Curve


def plot_trajectory(folder: RunFolder, title: str) -> None:
    """trajectory.png, a sheet of frames, and trajectory.gif, all of them; nothing where none has
    been recorded."""
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
    """At equal distances, the first and the last among them."""
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
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=110)


def _animation(
    path: Path, title: str, times: list[float], points: Curve, frames: Sequence[Frame]
) -> None:
    figure = Figure(figsize=(5, 4.4 * _height(points) + 1.2), layout="constrained")
    axes = figure.subplots()
    chosen = _chosen(frames, MOST_FRAMES)
    _, line = _draw(axes, times, points, chosen[0])
    figure.legend(loc="outside lower center", ncols=2, fontsize="small")
    figure.suptitle(title, fontsize="medium")
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # found once, for every frame
    writer = PillowWriter(fps=FRAMES_PER_SECOND)
    with TemporaryDirectory() as drawn, replacing(path) as temporary:
        gif = Path(drawn) / path.name  # the writer goes by the end of the name
        with writer.saving(figure, gif, dpi=90):
            for frame in chosen + chosen[-1:] * round(LAST_FRAME * FRAMES_PER_SECOND):
                line.set_data(*frame.curve)
                axes.set_title(f"step {frame.step:,}")
                writer.grab_frame()
        temporary.write_bytes(gif.read_bytes())


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
    """Of a picture of the points one wide, within what is legible."""
    (left, right), (bottom, top) = map(_limits, points)
    return min(max((top - bottom) / (right - left), 0.4), 2.0)


def _limits(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    return low - MARGIN * (high - low), high + MARGIN * (high - low)
