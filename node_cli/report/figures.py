"""What all plots share: reading columns, and writing small PNG files."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from PIL import Image

from node_cli.records.files import replacing

Rows = Sequence[Mapping[str, str]]


def points(rows: Rows, x: str, y: str) -> tuple[list[float], list[float]]:
    """Two columns, without the rows where the second is empty."""
    filled = [row for row in rows if row[y]]
    return [float(row[x]) for row in filled], [float(row[y]) for row in filled]


def widths(curves: int) -> list[float]:
    """Of lines, the first one widest: it stays visible behind others that equal it."""
    return [1.5 + 3 * (curves - 1 - i) / curves for i in range(curves)]


def save(path: Path, title: str, *draw: Callable[[Axes], None]) -> None:
    """A figure with a panel for each of ``draw``, which fills it; they share x, whole numbers."""
    figure = Figure(figsize=(7, 1.5 + 3 * len(draw)), layout="constrained")
    panels = figure.subplots(len(draw), sharex=True, squeeze=False)[:, 0]
    for axes, fill in zip(panels, draw, strict=True):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1, steps=[1, 2, 5, 10]))
        fill(axes)
        axes.grid(alpha=0.3, which="both")
        if axes.get_legend_handles_labels()[0]:
            axes.legend()
        axes.label_outer()
    panels[0].set_title(title)
    write(path, figure)


def write(path: Path, figure: Figure, dpi: int = 120) -> None:
    """Write a PNG file with a palette of 256 colours, a third of the size of one in full colour. It
    is renamed into place once it is complete."""
    path.parent.mkdir(exist_ok=True)
    image = with_palette(drawn(figure, dpi), colours=256)
    with replacing(path) as temporary:
        image.save(temporary, format="PNG")


def drawn(figure: Figure, dpi: int) -> Image.Image:
    """A figure as an RGB image."""
    figure.set_dpi(dpi)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()  # type: ignore[no-untyped-call]
    pixels = canvas.buffer_rgba()  # type: ignore[no-untyped-call]
    return Image.frombytes("RGBA", canvas.get_width_height(), pixels).convert("RGB")


def with_palette(image: Image.Image, colours: int) -> Image.Image:
    """The image in few colours, chosen to cover those that it has; no dithering."""
    return image.quantize(colours, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)


def write_gif(
    path: Path, images: Sequence[Image.Image], durations: Sequence[int], colours: int
) -> None:
    """Write an animation that repeats, in one palette, that of the last image. ``durations``: of
    the images, in milliseconds. It is renamed into place once it is complete."""
    palette = with_palette(images[-1], colours)
    first, *others = [image.quantize(palette=palette, dither=Image.Dither.NONE) for image in images]
    with replacing(path) as temporary:
        first.save(
            temporary,
            format="GIF",
            save_all=True,
            append_images=others,
            duration=[*durations],
            loop=0,
        )
