"""The observers of a training by name. To add one, write its class in a file of its own, after the
protocol ``learn.observer.Observer``, and add a row to ``OBSERVERS``."""

from collections.abc import Sequence

from node_cli.config.schema import Config
from node_cli.display import Display
from node_cli.learn.observer import Observer, Observers
from node_cli.records.run_folder import RunFolder
from node_cli.tasks.csv_files import CsvFiles
from node_cli.tasks.terminal import Terminal

OBSERVERS: dict[str, type[Observer]] = {
    "files": CsvFiles,
    "terminal": Terminal,
}

DEFAULT = ("files", "terminal")


def observers(
    config: Config, folder: RunFolder, display: Display, names: Sequence[str] | None = None
) -> Observers:
    """Return the named observers of a run, not started yet, required ones first.

    ``names``: rows of ``OBSERVERS``; those of ``DEFAULT`` where None.
    """
    chosen = {name: OBSERVERS[name] for name in (DEFAULT if names is None else names)}
    ordered = sorted(chosen.items(), key=lambda item: not item[1].required)
    return Observers({name: kind(config, folder, display) for name, kind in ordered})
