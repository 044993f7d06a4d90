"""Pictures of a model whose data are points in the plane: its answers, its vector field, and the
points as they flow through the ODE."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.quiver import Quiver

from node_cli.records.files import read_csv
from node_cli.records.run_folder import RunFolder
from node_cli.report.figures import drawn, write, write_gif

COLOURS = ("#2563b8", "#d9541e")  # of the classes, in every picture
LINES = 60  # paths that are drawn
SIZE = (5.2, 4.8)
FRAME_TIME = 120  # milliseconds
HELD = 1400  # the first and the last frame
GIF_COLOURS = 64
GIF_DPI = 80

Rows = Sequence[Mapping[str, str]]
Place = tuple[float, float]


def plot_plane(folder: RunFolder, title: str) -> None:
    """Write boundary.png and, with an ODE, flow.gif and, where its state has two dimensions,
    vector_field.png; nothing where the data are no points in the plane."""
    points, answers = read_csv(folder.points), read_csv(folder.boundary)
    if not points or not answers:
        return
    folder.plots.mkdir(exist_ok=True)
    _boundary(folder, title, points, answers)
    arrows, paths = read_csv(folder.vector_field), _paths(read_csv(folder.flow))
    if arrows and paths:
        _vector_field(folder, title, arrows, paths)
    if paths:
        _flow(folder, title, arrows, paths)


def _boundary(folder: RunFolder, title: str, points: Rows, answers: Rows) -> None:
    """The probability of class 1 in colour, the line where it is one half, and test points."""
    x = sorted({float(row["x0"]) for row in answers})
    y = sorted({float(row["x1"]) for row in answers})
    of_column = [float(row["probability"]) for row in answers]  # the second coordinate runs first
    values = [[of_column[i * len(y) + j] for i in range(len(x))] for j in range(len(y))]
    figure = Figure(figsize=(SIZE[0] + 0.8, SIZE[1]), layout="constrained")
    axes = figure.subplots()
    shades = axes.contourf(x, y, values, [i / 20 for i in range(21)], cmap="RdBu_r", alpha=0.7)
    axes.contour(x, y, values, [0.5], colors="black", linewidths=1.5)
    for label, colour in enumerate(COLOURS):
        alike = [row for row in points if row["label"] == str(label)]
        at = [float(row["x0"]) for row in alike], [float(row["x1"]) for row in alike]
        axes.scatter(
            *at, s=12, color=colour, edgecolors="white", linewidths=0.5, label=f"class {label}"
        )
    axes.legend(loc="upper right")
    axes.set(title=title, xlabel="$x_0$", ylabel="$x_1$", aspect="equal")
    figure.colorbar(shades, label="probability of class 1", ticks=[0, 0.5, 1], shrink=0.5)
    write(folder.plots / "boundary.png", figure)


@dataclass(frozen=True)
class _Path:
    """The states of a point at the times that were recorded."""

    label: int
    times: list[float] = field(default_factory=list)
    places: list[Place] = field(default_factory=list)


def _paths(rows: Rows) -> list[_Path]:
    found: dict[str, _Path] = {}
    for row in rows:
        path = found.setdefault(row["image"], _Path(int(row["label"])))
        path.times.append(float(row["t"]))
        path.places.append((float(row["y0"]), float(row["y1"])))
    return [*found.values()]


def _vector_field(folder: RunFolder, title: str, arrows: Rows, paths: Sequence[_Path]) -> None:
    """Arrows at the first, a middle and the last time, at one of them where f does not depend on
    the time; the paths of some points over them."""
    by_time = _by_time(arrows)
    times = list(by_time)
    slopes = {tuple((row["dy0"], row["dy1"]) for row in rows) for rows in by_time.values()}
    shown = [times[0]] if len(slopes) == 1 else [times[0], times[len(times) // 2], times[-1]]
    figure = Figure(figsize=(SIZE[0] * len(shown), SIZE[1]), layout="constrained")
    for axes, time in zip(figure.subplots(1, len(shown), squeeze=False)[0], shown, strict=True):
        _quiver(axes, by_time[time])
        for path in paths[:: max(1, len(paths) // LINES)]:
            colour = COLOURS[path.label % len(COLOURS)]
            x, y = zip(*path.places, strict=True)
            axes.plot(x, y, color=colour, linewidth=1, alpha=0.7)
            axes.plot(x[-1], y[-1], ".", color=colour)
        when = f", t = {time:g}" if len(shown) > 1 else ""
        axes.set(title=f"f(t, y){when}, and paths to their ends", xlabel="$y_0$", ylabel="$y_1$")
        axes.set_aspect("equal")
    figure.suptitle(title)
    write(folder.plots / "vector_field.png", figure)


def _by_time(rows: Rows) -> dict[float, list[Mapping[str, str]]]:
    found: dict[float, list[Mapping[str, str]]] = defaultdict(list)
    for row in rows:
        found[float(row["t"])].append(row)
    return found


def _quiver(axes: Axes, rows: Rows) -> Quiver:
    """Arrows of the same length, darker where f is larger."""
    x, y = ([float(row[name]) for row in rows] for name in ("y0", "y1"))
    u, v, sizes = _directions(rows)
    return axes.quiver(
        *(x, y, u, v, sizes),
        cmap="Greys",
        clim=(-0.5 * max(sizes), 1.5 * max(sizes)),
        angles="xy",
        pivot="mid",
        scale=28,
        width=0.003,
    )


def _directions(rows: Rows) -> tuple[list[float], list[float], list[float]]:
    """The coordinates of f, divided by its size, and its size."""
    dx, dy = ([float(row[name]) for row in rows] for name in ("dy0", "dy1"))
    sizes = [(a * a + b * b) ** 0.5 or 1.0 for a, b in zip(dx, dy, strict=True)]
    u = [a / size for a, size in zip(dx, sizes, strict=True)]
    v = [b / size for b, size in zip(dy, sizes, strict=True)]
    return u, v, sizes


def _flow(folder: RunFolder, title: str, arrows: Rows, paths: Sequence[_Path]) -> None:
    """The points at successive times, each with the way that it has come."""
    colours = [COLOURS[path.label % len(COLOURS)] for path in paths]
    figure = Figure(figsize=SIZE, layout="constrained")
    axes = figure.subplots()
    by_time = _by_time(arrows)
    quiver = _quiver(axes, by_time[min(by_time)]) if by_time else None
    every = [place for path in paths for place in path.places]
    limits = []
    for values in zip(*every, strict=True):
        room = 0.06 * (max(values) - min(values) or 1.0)
        limits.append((min(values) - room, max(values) + room))
    x, y = ("$y_0$", "$y_1$") if arrows else [f"principal component {k}" for k in (1, 2)]
    axes.set(xlim=limits[0], ylim=limits[1], xlabel=x, ylabel=y)
    trails = [axes.plot([], [], color=c, linewidth=0.7, alpha=0.45)[0] for c in colours[::3]]
    dots = axes.scatter([], [], s=14, edgecolors="white", linewidths=0.4, zorder=3)
    dots.set_facecolor(colours)
    figure.suptitle(title, fontsize="medium")
    images = []
    for frame, t in enumerate(paths[0].times):
        dots.set_offsets([path.places[frame] for path in paths])
        for trail, path in zip(trails, paths[::3], strict=True):
            trail.set_data(*zip(*path.places[: frame + 1], strict=True))
        if quiver is not None:
            quiver.set_UVC(*_directions(by_time[min(by_time, key=lambda time: abs(time - t))]))
        axes.set_title(f"y(t), t = {t:.2f}")
        if frame == 0:
            figure.draw_without_rendering()
            figure.set_layout_engine("none")  # the layout of the first frame holds for all
        images.append(drawn(figure, GIF_DPI))
    durations = [HELD, *[FRAME_TIME] * (len(images) - 2), HELD]
    write_gif(folder.plots / "flow.gif", images, durations, GIF_COLOURS)
