"""How many steps a training has."""

from node_cli.config.data import ImageData
from node_cli.config.schema import Config
from node_cli.config.tasks import TASKS
from node_cli.data import sources
from node_cli.data.batches import batches_per_epoch


def steps_of(config: Config) -> int | None:
    """How many steps a training has, told without reading data; None for another task.

    Raises ``UserError`` where the data is missing.
    """
    if not TASKS[config.task].trains:
        return None
    if not isinstance(config.data, ImageData):
        return config.epochs * config.trajectory.windows
    return config.epochs * batches_per_epoch(config, sources.check(config.data))
