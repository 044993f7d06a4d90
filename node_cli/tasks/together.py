"""One training by several processes: what it can be, and what those beside the first one do."""

from node_cli.config.data import TrajectoryData
from node_cli.config.schema import Config
from node_cli.config.tasks import TASKS
from node_cli.errors import UserError
from node_cli.learn.evaluation import Diverged
from node_cli.machine.ranks import RankLost, Ranks
from node_cli.records.run_folder import RunFolder
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


def train_along(ranks: Ranks) -> int:
    """Train along with what the first process trains, until it says how it has ended; return its
    exit code, or 1 where it, or another process, has gone."""
    from node_cli.tasks.train import Training

    try:
        while not isinstance(told := ranks.told(), int):
            config, path = told
            try:
                Training(config, RunFolder(path)).follow()
            except (Exception, Interrupted) as error:
                if error is not ranks.raised and not isinstance(error, EQUAL):
                    raise
    except RankLost:
        return 1
    return told
