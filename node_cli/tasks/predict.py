"""The task predict."""

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import node_cli
from node_cli.config.schema import Config
from node_cli.data.folders import ENDINGS, image_files
from node_cli.display import Display
from node_cli.errors import UserError, complain, one_line
from node_cli.learn.observer import Seen
from node_cli.machine import device, threads
from node_cli.machine.environment import environment
from node_cli.records.columns import PREDICTIONS
from node_cli.records.files import write_csv
from node_cli.records.run_folder import RunFolder
from node_cli.tasks.live import counted
from node_cli.tasks.task import End
from node_cli.trained.loading import of_config
from node_cli.trained.pixels import pixels_of

MOST_SHOWN = 10  # classes on the terminal


class Prediction:
    """Classifies images of any size with a checkpoint. There is no score.

    A file that is no readable image costs its own row only.
    """

    def __init__(self, config: Config, folder: RunFolder) -> None:
        assert config.images is not None
        self.config = config
        self.folder = folder
        self.root = Path(config.images)
        self.files = _files(self.root)
        self.backend = device.choose(config, notice=complain)
        device.activate(self.backend, deterministic=config.deterministic)
        self.model = of_config(config, self.backend.device)
        shape = (*self.model.shape,)
        torch.set_num_threads(threads.choose(config, self.model.classifier, shape, None))

    def show_header(self, display: Display) -> None:
        """Print the model, and what it classifies."""
        config, model = self.config, self.model
        solver = config.forward_solver() if config.solver else None
        display.facts(
            {
                "node-train": f"{node_cli.__version__}, task predict",
                "model": f"{config.model.name}, {len(model.classes)} classes, {config.checkpoint}",
                "images": f"{len(self.files):,} of {self.root}, brought to {model.shape}",
                "solver": str(solver or "none"),
                "device": str(self.backend),
                "folder": str(self.folder.path),
            }
        )
        display.line()

    def run(self, display: Display) -> End:
        """Classify, record and count. Raises ``SolveFailed``."""
        config, model = self.config, self.model
        self.show_header(display)
        start = time.perf_counter()
        with counted(display, "classifying") as seen:
            rows = list(self._rows(seen))
        seconds = time.perf_counter() - start
        columns = (*PREDICTIONS.columns, *map(_column, model.classes))
        write_csv(self.folder.predictions, columns, rows)
        counts = Counter(row["class"] for row in rows if "class" in row)
        for name, count in counts.most_common(MOST_SHOWN):
            display.line(f"{count:>7,}  {name}")
        if unreadable := len(rows) - counts.total():
            display.line(f"{unreadable:>7,}  not readable, see the column note")
        display.line(f"\n{self.folder.predictions}")
        self.folder.write_result(
            {
                "task": "predict",
                "checkpoint": config.checkpoint,
                "images": len(rows),
                "unreadable": unreadable,
                "classes": dict(counts),
                "seconds": seconds,
                "environment": environment(self.backend, config.packages),
            }
        )
        return End(None)

    def _rows(self, seen: Seen) -> Iterator[Mapping[str, Any]]:
        """The rows of predictions.csv, in the order of the files."""
        size = self.config.eval.batch_size
        for i in range(0, len(self.files), size):
            seen("images", i, len(self.files))
            yield from self._batch(self.files[i : i + size])

    @torch.no_grad()
    def _batch(self, files: Sequence[Path]) -> Iterator[Mapping[str, Any]]:
        found = [self._pixels(path) for path in files]
        images = [pixels for pixels in found if isinstance(pixels, Tensor)]
        answers = iter(self.model(torch.cat(images)).tolist() if images else [])
        for path, pixels in zip(files, found, strict=True):
            name = str(path.relative_to(self.root) if path != self.root else path.name)
            if isinstance(pixels, str):
                yield {"file": name, "note": pixels}
                continue
            probabilities = next(answers)
            largest = max(probabilities)
            classes = self.model.classes
            yield {
                "file": name,
                "class": classes[probabilities.index(largest)],
                "probability": largest,
                **dict(zip(map(_column, classes), probabilities, strict=True)),
            }

    def _pixels(self, path: Path) -> Tensor | str:
        """[1, C, H, W]; or why there are none."""
        from PIL import Image

        try:
            with Image.open(path) as image:
                return pixels_of(image, self.model.shape)
        except Exception as error:  # damaged bytes raise anything
            return one_line(error)


def _column(name: str) -> str:
    return f"p_{name}"


def _files(root: Path) -> list[Path]:
    """The images that ``images`` names. Raises ``UserError`` where there are none."""
    if root.is_file():
        return [root]
    if not root.is_dir():
        raise UserError(f"images={root}: no such file or folder")
    if not (files := image_files(root)):
        raise UserError(f"images={root}: has no {', '.join(ENDINGS)}")
    return files
