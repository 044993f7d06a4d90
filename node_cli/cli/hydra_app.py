"""Handing a command over to Hydra, which shows a configuration or starts each job."""

import argparse
import contextlib
import io
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext, redirect_stderr, redirect_stdout
from pathlib import Path

import hydra
from hydra._internal.callbacks import Callbacks
from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra.types import HydraContext, RunMode
from omegaconf import DictConfig

from node_cli.cli import workers
from node_cli.cli.command import Command, Job
from node_cli.cli.compose import Composer
from node_cli.cli.hydra_keys import LAUNCHERS
from node_cli.cli.over_checkpoint import configure, plain_tree
from node_cli.cli.overrides import Parser, key_of
from node_cli.config.files import CONF
from node_cli.config.messages import quoted
from node_cli.errors import UserError, one_line
from node_cli.records import sweep_folder

VERSION = "1.3"
"""The version of Hydra whose defaults hold."""


def hand_over(args: argparse.Namespace, *overrides: str) -> None:
    """Hand the command over to Hydra, which shows the configuration or starts each job.

    Raises ``UserError`` for what Hydra, or a plugin of the user's, makes of it: the jobs themselves
    raise nothing. With HYDRA_FULL_ERROR=1 in the environment that error itself is raised.
    """
    flags = ["--multirun"] if args.multirun else []
    flags += ["--shell-completion"] if args.shell_completion else []
    flags += ["--resolve"] if args.resolve else []
    for name in ("cfg", "package", "info", "config_name", "config_dir"):
        if value := getattr(args, name):
            flags += [f"--{name.replace('_', '-')}", value]
    try:
        with (
            _errors_of_hydra(),
            _for_hydra([*flags, *overrides], silent=args.package is not None),
        ):
            hydra.main(config_path=str(CONF), config_name="config", version_base=VERSION)(_job)()
    except SystemExit as error:
        if not args.package:
            raise
        raise UserError(f"--package {args.package}: not in the configuration") from error


def launch(command: Command, open_jobs: Mapping[int, Job]) -> None:
    """Hand jobs of a sweep over to its launcher plugin, each to begin, or to go on where it was.
    ``open_jobs``: by their numbers. Raises as ``hand_over``.

    The launcher is given a list of jobs, as Hydra's own sweeper gives it one: so the rows of a
    table can be launched like the combinations of ``-m``.
    """
    typed, folder = sweep_folder.read(command.folder), str(command.folder.absolute())
    # Paths that were typed start from where they were typed, unless this is another machine.
    directory = typed.working_directory if Path(typed.working_directory).is_dir() else "."
    own = [o for o in command.overrides if key_of(o).startswith("hydra")]
    own = [o for o in own if key_of(o) != "hydra.sweep.dir"]
    jobs = [[*job.composed, f"hydra.sweep.subdir={n}"] for n, job in open_jobs.items()]
    with (
        _errors_of_hydra(),
        contextlib.chdir(directory),
        Composer(typed.config_name, typed.config_dir) as composer,
    ):
        # The mode is what Hydra adds itself to a command with -m.
        own += [quoted("hydra.sweep.dir", folder), f"hydra.mode={RunMode.MULTIRUN.name}"]
        config = composer.files.hydra.compose_config(composer.config_name, own, RunMode.MULTIRUN)
        hydra.version.setbase(VERSION)
        HydraConfig.instance().set_config(config)
        context = HydraContext(composer.files.loader, Callbacks(config))
        launcher = Plugins.instance().instantiate_launcher(
            hydra_context=context, task_function=_job, config=config
        )
        at_once = config.hydra.sweeper.get("max_batch_size") or len(jobs)
        workers.begin(typed.overrides)
        for first in range(0, len(jobs), at_once):
            for end in launcher.launch(jobs[first : first + at_once], initial_job_idx=first):
                _ = end.return_value  # raises what the job raised


@contextmanager
def _into(path: Path) -> Iterator[None]:
    """What Python prints within goes to the end of a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with (
        path.open("a", buffering=1, encoding="utf-8") as file,
        redirect_stdout(file),
        redirect_stderr(file),
    ):
        yield


@contextmanager
def _errors_of_hydra() -> Iterator[None]:
    """Raises ``UserError`` for any error within but of the system, a full disk; with
    HYDRA_FULL_ERROR=1 that error itself."""
    full_error = os.environ.get("HYDRA_FULL_ERROR") == "1"
    try:
        yield
    except OSError:
        raise
    except Exception as error:
        if full_error:
            raise
        raise UserError(f"Hydra: {one_line(error)}") from error


@contextmanager
def _for_hydra(arguments: list[str], *, silent: bool) -> Iterator[None]:
    """Within it ``sys.argv`` has these arguments, and Hydra raises its errors, where it would print
    them and exit. ``silent``: what it writes to standard error is dropped."""
    argv, setting = sys.argv, os.environ.get("HYDRA_FULL_ERROR")
    sys.argv = [argv[0], *arguments]
    os.environ["HYDRA_FULL_ERROR"] = "1"
    try:
        with redirect_stderr(io.StringIO()) if silent else nullcontext():
            yield
    finally:
        sys.argv = argv
        del os.environ["HYDRA_FULL_ERROR"]
        if setting is not None:
            os.environ["HYDRA_FULL_ERROR"] = setting


def _job(cfg: DictConfig) -> float | None:
    """Run one job in the folder that Hydra made for it; return the score for Hydra's sweeper.

    It is configured anew from what Hydra composed, since a launcher may run it in another process,
    and a sweeper may choose values that have not been checked before.
    """
    from node_cli.cli import jobs
    from node_cli.display import Display, printing
    from node_cli.machine.cards import own_card
    from node_cli.records.files import short
    from node_cli.records.run_folder import RunFolder
    from node_cli.stopping import stops_on_signal

    own = HydraConfig.get()
    overrides = [override.lstrip("+") for override in own.overrides.task]
    in_sweep = own.mode == RunMode.MULTIRUN
    folder = RunFolder(short(Path(own.runtime.output_dir)))

    def prepare() -> Job | None:
        try:
            typed = Parser().keys(overrides)
            # That each key is of use to some job was checked before the sweep began.
            elsewhere = typed if in_sweep else ()
            config, notes = configure(plain_tree(cfg), typed, elsewhere=elsewhere)
        except UserError as error:  # only where what was checked at the door has changed since
            folder.write_status("failed", overrides=overrides, reason=str(error), exit_code=2)
            raise
        job = Job(overrides, config, notes)
        rest = jobs.new_or_rest(folder, job) if in_sweep else job
        if rest is not None and is_launched:
            held.enter_context(own_card(rest.config.device, Display().line))
        return rest

    announce = f"job {folder.path.name}: {' '.join(overrides)}" if in_sweep else ""
    sweep = Path(own.sweep.dir) if in_sweep else None
    is_launched = own.launcher["_target_"] != LAUNCHERS[0]
    if is_launched:
        workers.end_with_command()
    # A launcher's process may not stop on signals yet; several would print into one another.
    log = _into(folder.output) if is_launched else nullcontext()
    with printing(), stops_on_signal(), log, ExitStack() as held:
        fail_fast = bool(cfg.sweep.fail_fast)
        end = jobs.run_job(folder, prepare, announce=announce, sweep=sweep, fail_fast=fail_fast)
        return end.score
