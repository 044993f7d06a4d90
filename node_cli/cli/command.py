"""The jobs of a command line, and how they are to be run."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from node_cli.cli.search import Search
from node_cli.config.schema import Config


@dataclass(frozen=True)
class Job:
    """One run to be: what was typed for it, its configuration, and notes for the user.

    ``composed``: what Hydra has to be given for it, in a process of a launcher.
    """

    overrides: Sequence[str]
    config: Config
    notes: Sequence[str]
    composed: Sequence[str] = ()


@dataclass(frozen=True)
class Command:
    """The jobs of one command line, the folder for it, and the overrides for Hydra to compose, of
    a table those of Hydra's own part.

    ``is_launched``: whether a launcher plugin runs them. ``search``: chooses the jobs as it goes;
    those here are then the ones by which its values are checked. ``used``: what was typed that is
    of use to some job.
    """

    jobs: Sequence[Job]
    folder: Path
    overrides: Sequence[str] = ()
    is_launched: bool = False
    search: Search | None = None
    used: Collection[str] = ()

    @property
    def count(self) -> int:
        """How many jobs are to be run."""
        return self.search.options.n_trials if self.search else len(self.jobs)
