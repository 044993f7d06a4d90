"""Handing a command over to Hydra, which shows a configuration or starts each job."""

import argparse
import contextlib
import io
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, redirect_stderr
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from node_cli.cli.compose import Job
from node_cli.cli.over_checkpoint import configure, plain_tree
from node_cli.cli.overrides import Parser, key_of
from node_cli.config.files import CONF
from node_cli.config.messages import quoted
from node_cli.errors import UserError, one_line
from node_cli.records import sweep_folder


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
    full_error = os.environ.get("HYDRA_FULL_ERROR") == "1"
    try:
        with _for_hydra([*flags, *overrides], silent=args.package is not None):
            hydra.main(config_path=str(CONF), config_name="config", version_base="1.3")(_job)()
    except Exception as error:
        if full_error:
            raise
        raise UserError(f"Hydra: {one_line(error)}") from error
    except SystemExit as error:
        if not args.package:
            raise
        raise UserError(f"--package {args.package}: not in the configuration") from error


def launch_again(sweep: Path, overrides: Sequence[str]) -> None:
    """Hand the jobs of a sweep over to its launcher once more, each to go on where it was.

    ``overrides``: what was typed for the sweep, for Hydra to compose. Raises as ``hand_over``.
    """
    typed, folder = sweep_folder.read(sweep), str(sweep.absolute())
    args = dict.fromkeys(("shell_completion", "resolve", "cfg", "package", "info"))
    names = {"config_name": typed.config_name, "config_dir": typed.config_dir}
    # Paths that were typed start from where they were typed, unless this is another machine.
    directory = typed.working_directory if Path(typed.working_directory).is_dir() else "."
    kept = [o for o in overrides if key_of(o) != "hydra.sweep.dir"]
    with contextlib.chdir(directory):
        arguments = argparse.Namespace(**args, **names, multirun=True)
        hand_over(arguments, *kept, quoted("hydra.sweep.dir", folder))


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
    from node_cli.cli import runs
    from node_cli.display import printing
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
        return runs.new_or_rest(folder, job) if in_sweep else job

    announce = runs.job_line(own.job.num, overrides) if in_sweep else ""
    sweep = Path(own.sweep.dir) if in_sweep else None
    with printing(), stops_on_signal():  # a launcher's process may not do so yet
        fail_fast = bool(cfg.sweep.fail_fast)
        end = runs.run_job(folder, prepare, announce=announce, sweep=sweep, fail_fast=fail_fast)
        return end.score
