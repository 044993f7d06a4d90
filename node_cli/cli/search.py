"""A search by Optuna (``hydra/sweeper=optuna``): it chooses the jobs of a sweep as it goes, by what
those before have come to.

The study is the file ``study.db`` (SQLite) in the folder of the sweep, its trial N is job N. Sought
is the highest holdout accuracy of an epoch, that of a run's ``best.pt``. Every batch of
trials has a new sampler, seeded by the number of its first trial, so that what is chosen follows
from the study alone: a search that was interrupted goes on as if it had not been.
"""

import errno
import json
import os
import shlex
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from random import Random
from typing import Any, Literal

from hydra.core.override_parser.types import ChoiceSweep, IntervalSweep, RangeSweep
from pydantic import NonNegativeInt, PositiveInt, ValidationError

from node_cli.cli.overrides import Override, key_of
from node_cli.config.schema import Config
from node_cli.config.section import Section
from node_cli.config.tasks import TASKS
from node_cli.display import Display
from node_cli.errors import UserError
from node_cli.records.files import write_text
from node_cli.records.measures import unit
from node_cli.records.run_folder import RunFolder

NAME = "optuna"
TARGET = "node_cli.cli.search.Search"

SOUGHT, DIRECTION = "holdout_accuracy", "maximize"

DEFAULTS: dict[str, Any] = {
    "_target_": TARGET,
    "n_trials": 20,
    "n_jobs": 1,
    "sampler": "tpe",
    "seed": 0,
}
"""What ``hydra/sweeper=optuna`` chooses."""


NO_ROOM = (errno.ENOSPC, errno.EDQUOT)


class Options(Section):
    """The keys of ``hydra.sweeper``.

    ``n_trials``: jobs in all. ``n_jobs``: of a batch, which are chosen together and run at once
    where a launcher runs them. ``sampler``: Optuna's tree-structured Parzen estimator, or random
    values. ``seed``: of the sampler.
    """

    n_trials: PositiveInt
    n_jobs: PositiveInt
    sampler: Literal["tpe", "random"]
    seed: NonNegativeInt


@dataclass(frozen=True)
class Search:
    """``space``: what may be chosen, an override of several values for each key."""

    options: Options
    space: Sequence[Override]

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys whose values are chosen."""
        return tuple(override.key for override in self.space)

    def trials(self, sweep: Path) -> "Trials":
        """Open the study in the folder of a sweep, a new one where there is none."""
        return Trials(self, sweep)

    def first(self) -> dict[str, Any]:
        """The values of the first trial; nothing is written."""
        return Trials(self, None).batch()[0]


def search_of(
    sweeper: dict[str, Any], overrides: Sequence[Override], configs: Sequence[Config]
) -> Search:
    """The search that ``hydra.sweeper`` describes. ``overrides``: what was typed. ``configs``: of
    some jobs. Raises ``UserError`` where it cannot be."""
    if find_spec("optuna") is None:
        raise UserError(
            f"hydra/sweeper={NAME}: needs optuna and sqlalchemy; pip install 'node-train[optuna]'"
        )
    space = [o for o in overrides if o.several and not o.key.startswith("hydra")]
    problems = []
    if not all(TASKS[c.task].trains and getattr(c.data, "holdout", 0) for c in configs):
        problems.append(
            f"hydra/sweeper={NAME}: needs a training with a holdout, whose accuracy it looks at"
        )
    if not space:
        problems.append(
            f"hydra/sweeper={NAME}: has nothing to choose; give values, key=a,b or "
            "key=interval(0.1,1)"
        )
    try:
        given = {key: value for key, value in sweeper.items() if key != "_target_"}
        options = Options.model_validate(given)
    except ValidationError as error:
        options = None
        problems += [
            f"hydra.sweeper.{'.'.join(map(str, e['loc']))}={e['input']}: {e['msg']}"
            for e in error.errors()
        ]
    for override in space:
        match override.parsed.value():
            case IntervalSweep(
                start=int() | float() as start, end=int() | float() as end, tags=tags
            ):
                if not start < end:
                    problems.append(f"{override.text}: must go from the smaller to the larger")
                elif "log" in tags and start <= 0:
                    problems.append(f"{override.text}: must be above 0, for log")
    if problems:
        raise UserError(*problems)
    assert options is not None
    return Search(options, space)


@contextmanager
def _errors_of(study: Path) -> Iterator[None]:
    """Raises OSError for what Optuna raises where the file of a study is damaged, or cannot be
    written."""
    from optuna.exceptions import StorageInternalError
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (StorageInternalError, SQLAlchemyError) as error:
        cause: BaseException = error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        raise OSError(errno.EIO, str(cause), str(study)) from error


class Trials:
    """The trials of a search, as far as its study has come. Raises OSError where that cannot be
    read or written."""

    def __init__(self, search: Search, sweep: Path | None) -> None:
        """``sweep``: the folder of the study, None for one in memory."""
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.search, self.sweep = search, sweep or Path()
        self.file = self.sweep / "study.db"
        with _errors_of(self.file):
            self.study = optuna.create_study(
                storage=sweep and f"sqlite:///{self.file.absolute()}",
                study_name="node-train",
                direction=DIRECTION,
                load_if_exists=True,
            )

    def batch(self) -> dict[int, dict[str, Any]]:
        """The chosen values of the next trials, by their numbers, which follow one another: those
        that have begun and not ended, else new ones; none once there are ``n_trials``."""
        with _errors_of(self.file):
            return self._batch()

    def _batch(self) -> dict[int, dict[str, Any]]:
        from optuna.trial import Trial, TrialState

        options = self.search.options
        begun = self.study.get_trials(deepcopy=False)
        open_ = [t for t in begun if t.state == TrialState.RUNNING]
        self.study.sampler = self._sampler(len(begun) - len(open_))
        if open_:
            trials = [Trial(self.study, t._trial_id) for t in open_]
        else:
            count = min(options.n_jobs, options.n_trials - len(begun))
            trials = [self.study.ask() for _ in range(count)]
        return {
            trial.number: {o.key: _suggested(trial, o) for o in self.search.space}
            for trial in trials
        }

    def end(self, number: int) -> None:
        """Tell the study what a trial has come to, from the files of its job. Where the job found
        no room on the disk, which says nothing of its values, the trial stays open: OSError."""
        from optuna.trial import TrialState

        folder = RunFolder(self.sweep / str(number))
        best = folder.read_result().get("best") if folder.standing() == "done" else None
        reason = str(folder.read_status().get("reason", ""))
        for code in NO_ROOM if best is None else ():
            if reason.endswith(os.strerror(code)):
                raise OSError(code, os.strerror(code), str(folder.path))
        with _errors_of(self.file):
            if best:
                self.study.tell(number, best[SOUGHT])
            else:
                self.study.tell(number, state=TrialState.FAIL)

    def tell_best(self, display: Display) -> None:
        """Print the best job and the command that repeats it; write best.json. Nothing where no
        job has come to an end."""
        done = [t for t in self.study.get_trials(deepcopy=False) if t.value is not None]
        if not done:
            return
        best = max(done, key=lambda trial: (trial.value, -trial.number))
        folder = RunFolder(self.sweep / str(best.number))
        typed = [o for o in folder.read_overrides() if not key_of(o).startswith("hydra")]
        command = f"node-train {shlex.join(typed)}"
        facts = {
            "job": best.number,
            **folder.read_result()["best"],
            "overrides": typed,
            "command": command,
        }
        write_text(self.sweep / "best.json", json.dumps(facts, indent=2) + "\n")
        accuracy = unit(SOUGHT).on_terminal(best.value)
        display.line()
        display.facts(
            {
                "best": f"job {best.number}, epoch {facts['epoch']}, Holdout Accuracy: {accuracy}",
                "again": command,
            }
        )

    def _sampler(self, first: int) -> Any:
        """A new one, for the trials from ``first`` on."""
        from optuna.samplers import RandomSampler, TPESampler

        seed = Random(f"{self.search.options.seed} {first}").randrange(2**32)
        if self.search.options.sampler == "random":
            return RandomSampler(seed=seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # constant_liar is experimental in some versions
            return TPESampler(seed=seed, constant_liar=self.search.options.n_jobs > 1)


def _suggested(trial: Any, override: Override) -> Any:
    """The value of a key in a trial: what the trial has, else a new one."""
    space, key = override.parsed.value(), override.key
    match space:
        case IntervalSweep(start=start, end=end, tags=tags):
            suggest = trial.suggest_int if isinstance(start, int) else trial.suggest_float
            return suggest(key, start, end, log="log" in tags)
        case RangeSweep(start=int(start), stop=int(stop), step=int(step)):
            return trial.suggest_int(key, start, range(start, stop, step)[-1], step=step)
        case ChoiceSweep() | RangeSweep():
            return trial.suggest_categorical(key, override.value)
    raise AssertionError(space)
