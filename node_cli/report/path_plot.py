"""The paths of hidden coordinates inside an ODE block."""

from matplotlib.figure import Figure

from node_cli.records.files import read_csv
from node_cli.records.run_folder import RunFolder
from node_cli.report.figures import write


def plot_paths(folder: RunFolder, title: str) -> None:
    """paths.png: a panel for each coordinate, a line for an image of each class."""
    rows = read_csv(folder.paths)
    if not rows:
        return
    coordinates = list(dict.fromkeys(row["coordinate"] for row in rows))
    labels = list(dict.fromkeys(row["label"] for row in rows))
    figure = Figure(figsize=(3.2 * len(coordinates), 3.6), layout="constrained")
    panels = figure.subplots(1, len(coordinates), squeeze=False)[0]
    for axes, coordinate in zip(panels, coordinates, strict=True):
        for i, label in enumerate(labels):
            path = [r for r in rows if (r["coordinate"], r["label"]) == (coordinate, label)]
            t, y = [float(r["t"]) for r in path], [float(r["y"]) for r in path]
            axes.plot(t, y, color=f"C{i % 10}", label=f"class {label}")
        axes.set(title=f"coordinate {coordinate}", xlabel="t")
        axes.grid(alpha=0.3)
    panels[0].set_ylabel("y(t)")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside right center")
    figure.suptitle(f"{title}: the first test image of each class")
    write(folder.plots / "paths.png", figure)
