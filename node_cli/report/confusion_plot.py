"""The picture of confusion.csv: which classes are taken for which."""

from matplotlib.figure import Figure

from node_cli.records.columns import CONFUSION
from node_cli.records.files import read_csv
from node_cli.records.run_folder import RunFolder
from node_cli.report.figures import write

MOST_NUMBERS = 20  # classes up to which the counts are written into the cells


def plot_confusion(folder: RunFolder) -> None:
    """Write confusion.png, where there is a confusion.csv. Raises OSError and ``UserError``.

    A row for each class, a column for each prediction; colours are fractions of the row.
    """
    rows = read_csv(folder.path / CONFUSION.file)
    if not rows:
        return
    names = list(dict.fromkeys(row["class"] for row in rows))
    n = len(names)
    counts = [[int(row["images"]) for row in rows[i * n : (i + 1) * n]] for i in range(n)]
    parts = [[count / max(1, sum(row)) for count in row] for row in counts]
    figure = Figure(figsize=(7, 6.2), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(parts, cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(image, label="part of the images of a class")
    axes.set(xlabel="predicted", ylabel="class", title="Test split")
    if n <= MOST_NUMBERS:
        axes.set_xticks(range(n), names, rotation=90 if max(map(len, names)) > 2 else 0)
        axes.set_yticks(range(n), names)
        for i, row in enumerate(counts):
            for j, count in enumerate(row):
                if count:
                    color = "white" if parts[i][j] > 0.5 else "black"
                    axes.text(j, i, str(count), ha="center", va="center", color=color, fontsize=8)
    write(folder.plots / "confusion.png", figure)
