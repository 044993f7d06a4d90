"""The observers of a training by name. To add one, write its class in a file of its own, after the
protocol ``learn.observer.Observer``, and add a row to ``OBSERVERS``."""

from importlib.util import find_spec

from node_cli.config.schema import Config
from node_cli.display import Display, speaks_json
from node_cli.errors import UserError, complain, one_line
from node_cli.learn.observer import Observer, Observers
from node_cli.parts.installed import installed
from node_cli.records.run_folder import RunFolder
from node_cli.tasks.csv_files import CsvFiles
from node_cli.tasks.json_lines import JsonLines
from node_cli.tasks.mlflow import MlFlow
from node_cli.tasks.tensorboard import TensorBoard
from node_cli.tasks.terminal import Terminal

EVENTS = ("start", "step", "evaluation", "epoch", "checkpoint", "end")

OBSERVERS: dict[str, type[Observer]] = {
    "files": CsvFiles,
    "terminal": Terminal,
    "tensorboard": TensorBoard,
    "mlflow": MlFlow,
}


def observers(config: Config, folder: RunFolder, display: Display) -> Observers:
    """Return the observers that the configuration names, not started yet, required ones first.
    ``files`` is there in any case: the records of a run.

    Raises ``UserError`` where one of an installed package cannot be made.
    """
    chosen = {name: kind_of(name) for name in ("files", *config.observers)}
    made: dict[str, Observer] = {}
    for name, kind in sorted(chosen.items(), key=lambda item: not item[1].required):
        try:
            made[name] = kind(config, folder, display)
        except Exception as error:
            if kind.required:
                raise
            complain(f"observer {name}: left out, it failed ({one_line(error)})")
    if speaks_json():
        made["json"] = JsonLines(config, folder, display)
    return Observers(made)


def kind_of(name: str) -> type[Observer]:
    """Return the class of an observer, one of ours or of an installed package.

    Raises ``UserError`` where the package cannot be imported, or names something else, and where
    one of ours needs a package that is not there: its ``package``, and the extra of that name.
    """
    if name in OBSERVERS:
        package = getattr(OBSERVERS[name], "package", None)
        if package is not None and find_spec(package) is None:
            raise UserError(
                f"observers={name}: needs {package}; pip install 'node-train[{package}]'"
            )
        return OBSERVERS[name]
    part = installed("observer")[name]
    kind = part.load()
    lacks = [event for event in ("required", *EVENTS) if not hasattr(kind, event)]
    if lacks:
        raise UserError(f"observers={name}: {part.origin}, {part.entry.value} has no {lacks[0]}")
    observer: type[Observer] = kind
    return observer
