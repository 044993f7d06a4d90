"""One training by several processes: what it can be."""

from node_cli.config.data import TrajectoryData
from node_cli.config.schema import Config
from node_cli.config.tasks import TASKS
from node_cli.errors import UserError
from node_cli.learn.evaluation import Diverged
from node_cli.machine.ranks import Ranks
from node_cli.stopping import Interrupted

EQUAL = (Diverged, Interrupted)
"""What every process raises, since all have the same numbers; beside what ``Ranks`` hands on."""


def check_processes(config: Config, ranks: Ranks) -> None:
    """Raise ``UserError`` for what several processes cannot do together."""
    if not ranks.several:
        return
    these = f"{ranks.size} processes of torchrun"
    if not TASKS[config.task].trains:
        raise UserError(f"task={config.task}: not with {these}, which train; start one process")
    lines = []
    if isinstance(config.data, TrajectoryData):
        lines.append(f"data={config.data.name}: not with {these}, a step is one solve")
    if config.device == "mps" or ":" in config.device:
        lines.append(f"device={config.device}: not with {these}; choose from auto, cpu, cuda")
    groups = config.train.accumulate
    if config.batch_size // groups < ranks.size:
        of_groups = f" with train.accumulate={groups}" * (groups > 1)
        lines.append(f"batch_size={config.batch_size}{of_groups}: too few images for {these}")
    if lines:
        raise UserError(*lines)
