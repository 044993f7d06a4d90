"""The door: compose, check, run, report."""

import argparse
import io
import logging
import os
import signal
import sys
import warnings
from contextlib import nullcontext, redirect_stderr
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import node_cli
from node_cli.cli.waiting import short_waits
from node_cli.errors import UserError, one_line, print_problems
from node_cli.machine import git  # noqa: F401, it finds git before anything is composed

if TYPE_CHECKING:  # imported where needed: --help answers without any of them, --cfg without torch
    from collections.abc import Callable

    from omegaconf import DictConfig

    from node_cli.cli.compose import Command, Composer


@short_waits()
def main() -> int:
    """The command ``node-train``. Returns the exit code: 0 done, 1 failed or diverged, 2 bad input,
    130 interrupted."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # no run ends for want of a "±"
    logging.raiseExceptions = False  # nor for want of a reader
    warnings.formatwarning = lambda message, *_: f"warning: {message}\n"
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return _dispatch(_arguments())
    except UserError as error:
        print_problems(error)
        return 2
    except KeyboardInterrupt:
        return 130


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; options are written key=value, see node-train --help")


def _arguments() -> argparse.Namespace:
    """Those of Hydra's flags that are of use here."""
    parser = _Parser(prog="node-train", add_help=False, allow_abbrev=False)
    parser.add_argument("--help", "-h", action="store_true")
    parser.add_argument("--version", action="store_true")
    parser.add_argument("--multirun", "-m", action="store_true")
    parser.add_argument("--cfg", "-c", choices=["job", "hydra", "all"])
    parser.add_argument("--resolve", action="store_true")
    parser.add_argument("--package", "-p")
    info = ["all", "config", "defaults", "defaults-tree", "plugins", "searchpath"]
    parser.add_argument("--info", "-i", nargs="?", const="all", choices=info)
    parser.add_argument("--shell-completion", "-sc", action="store_true")
    parser.add_argument("--config-name", "-cn")
    parser.add_argument("--config-dir", "-cd")
    parser.add_argument("overrides", nargs="*")
    return parser.parse_intermixed_args()


def _dispatch(args: argparse.Namespace) -> int:
    if args.version:
        print(f"node-train {node_cli.__version__}")
        return 0
    from omegaconf import OmegaConf

    from node_cli.cli.compose import CONF, Composer, is_table

    if args.help:
        from node_cli.cli.help import help_text

        print(help_text(CONF), end="")
        return 0
    if args.shell_completion:
        _complete(args)
        return 0
    try:
        Path.cwd()
    except FileNotFoundError as error:
        raise UserError("the working directory is no longer there") from error
    if sum([args.cfg is not None, args.info is not None, args.multirun]) > 1:
        raise UserError("--cfg, --info, --multirun: give one of them")
    if (args.resolve or args.package) and not args.cfg:
        raise UserError("--resolve, --package: go with --cfg")

    if is_table(args.overrides):
        return _run_tables(args)
    with Composer(args.config_name, args.config_dir) as composer:
        on_folder = _on_folder(composer, args)
        if on_folder is None:
            command = composer.command(args.overrides, multirun=args.multirun)
    if on_folder is not None:
        return on_folder()
    if args.cfg == "job" and not args.package:
        print(OmegaConf.to_yaml(command.jobs[0].config.model_dump()), end="")
        return 0
    if args.cfg or args.info:
        _hydra(args, *command.overrides)
        return 0
    return _start(command, args)


def _on_folder(composer: "Composer", args: argparse.Namespace) -> "Callable[[], int] | None":
    """What ``resume=`` or ``report=`` asks for; None without either."""
    if not any(o.lstrip("+").startswith(("resume=", "report=")) for o in args.overrides):
        return None
    typed = composer.typed(args.overrides)
    for key in ("resume", "report"):
        if (folder := typed.pop(key, None)) is None:
            continue
        if args.multirun or args.cfg or args.info or args.config_dir or args.config_name:
            raise UserError(f"{key}={folder}: takes no flags")
        from node_cli.cli.report import report
        from node_cli.cli.runs import resume

        return partial({"resume": resume, "report": report}[key], str(folder), typed)
    return None


def _start(command: "Command", args: argparse.Namespace) -> int:
    """Check once more, with torch; then run the jobs."""
    from node_cli.cli import runs
    from node_cli.config.messages import quoted
    from node_cli.records.run_folder import RunFolder

    runs.preflight_all(command)
    _claim(command, args)
    folder = RunFolder(command.folder)
    if not args.multirun:
        _hydra(args, *command.overrides, quoted("hydra.run.dir", str(folder.path)))
        runs.show_published(folder.path, [folder])
        return runs.exit_code(folder)
    with runs.resumable(folder.path), folder.locked():
        _hydra(args, *command.overrides, quoted("hydra.sweep.dir", str(folder.path)))
    return runs.finish_sweep(command)


def _run_tables(args: argparse.Namespace) -> int:
    """The sweep of each table in turn."""
    from node_cli.cli import runs
    from node_cli.cli.compose import Composer

    if args.multirun or args.cfg or args.info:
        raise UserError("table=: is a sweep of its own, and takes no flags but --config-dir")
    with Composer(args.config_name, args.config_dir) as composer:
        commands = composer.tables(args.overrides)
    for command in commands:
        runs.preflight_all(command)
    for command in commands:
        _check_empty(command.folder)
    for command in commands:
        _claim(command, args)
    return runs.run_sweeps(commands[0].folder.parent, commands)


def _complete(args: argparse.Namespace) -> None:
    """Print what a shell wants of tab completion."""
    action, _, shell = "=".join(args.overrides).partition("=")
    if action not in ("install", "uninstall", "query") or shell not in ("bash", "zsh", "fish"):
        raise UserError("-sc: choose from install=SHELL, uninstall=SHELL, with bash, zsh or fish")
    _hydra(args, *args.overrides)


def _claim(command: "Command", args: argparse.Namespace) -> None:
    """Make the folder of a run or sweep and, at once, what a resume needs. Raises ``UserError``
    where it cannot be written to, or holds files already."""
    from node_cli.cli.compose import is_table
    from node_cli.records import sweep_folder
    from node_cli.records.run_folder import RunFolder

    folder = command.folder
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _check_empty(folder)
        if args.multirun or is_table(args.overrides):
            here = str(Path.cwd())
            typed = sweep_folder.Typed(args.overrides, args.config_name, args.config_dir, here)
            sweep_folder.write(folder, typed)
        else:
            RunFolder(folder).write_config(command.jobs[0].config.model_dump())
    except OSError as error:
        raise UserError(f"folder {folder}: not writable ({error.strerror})") from error


def _check_empty(folder: Path) -> None:
    if folder.is_dir() and any(folder.iterdir()):
        raise UserError(f"folder {folder}: not empty; choose another (resume= goes on with a run)")


def _hydra(args: argparse.Namespace, *overrides: str) -> None:
    """Hand the command over to Hydra, which shows the configuration or starts each job.

    Raises ``UserError`` for what Hydra, or a plugin of the user's, makes of it: the jobs themselves
    raise nothing. With HYDRA_FULL_ERROR=1 in the environment that error itself is raised.
    """
    import hydra

    from node_cli.cli.compose import CONF

    flags = ["--multirun"] if args.multirun else []
    flags += ["--shell-completion"] if args.shell_completion else []
    flags += ["--resolve"] if args.resolve else []
    for name in ("cfg", "package", "info", "config_name", "config_dir"):
        if value := getattr(args, name):
            flags += [f"--{name.replace('_', '-')}", value]
    sys.argv[1:] = [*flags, *overrides]
    full_error = os.environ.get("HYDRA_FULL_ERROR") == "1"
    os.environ["HYDRA_FULL_ERROR"] = "1"  # else Hydra prints it, and exits
    try:
        with redirect_stderr(io.StringIO()) if args.package else nullcontext():
            hydra.main(config_path=str(CONF), config_name="config", version_base="1.3")(_job)()
    except Exception as error:
        if full_error:
            raise
        raise UserError(f"Hydra: {one_line(error)}") from error
    except SystemExit as error:
        if not args.package:
            raise
        raise UserError(f"--package {args.package}: not in the configuration") from error


def _job(cfg: "DictConfig") -> float | None:
    """One job, in the folder that Hydra made for it. Returns the score for Hydra's sweeper.

    Configured anew from what Hydra composed, since a launcher may run it in another process, and a
    sweeper choose values that the door has not seen.
    """
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    from node_cli.cli import runs
    from node_cli.cli.compose import Job
    from node_cli.cli.over_checkpoint import configure, plain_tree
    from node_cli.records.files import short
    from node_cli.records.run_folder import RunFolder

    hydra = HydraConfig.get()
    overrides = [override.lstrip("+") for override in hydra.overrides.task]
    in_sweep = hydra.mode == RunMode.MULTIRUN
    folder = RunFolder(short(Path(hydra.runtime.output_dir)))

    def prepare() -> Job:
        try:
            config, notes = configure(plain_tree(cfg), overrides, in_sweep=in_sweep)
        except UserError as error:  # only where what was checked at the door has changed since
            folder.write_status("failed", overrides=overrides, reason=str(error), exit_code=2)
            raise
        return Job(overrides, config, notes)

    announce = runs.job_line(hydra.job.num, overrides) if in_sweep else ""
    sweep = Path(hydra.sweep.dir) if in_sweep else None
    return runs.run_job(folder, prepare, announce=announce, sweep=sweep).score
