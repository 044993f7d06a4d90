"""One training by several processes: what those beside the first one do."""

from node_cli.machine.ranks import RankLost, Ranks
from node_cli.records.run_folder import RunFolder
from node_cli.stopping import Interrupted
from node_cli.tasks.together import EQUAL
from node_cli.tasks.train import Training


def train_along(ranks: Ranks) -> int:
    """Train along with what the first process trains, until it says how it has ended; return its
    exit code, or 1 where it, or another process, has gone."""
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
