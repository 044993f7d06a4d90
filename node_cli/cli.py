"""The door: compose, check, run, report."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import node_cli
from node_cli.errors import UserError

if TYPE_CHECKING:  # imported where needed: --help answers without any of them, --cfg without torch
    from omegaconf import DictConfig

    from node_cli.compose import Command
    from node_cli.config.schema import Config
    from node_cli.run.records import RunFolder


def main() -> int:
    """The command ``node-train``. Returns the exit code: 0 done, 1 failed or diverged, 2 bad input,
    130 interrupted."""
    try:
        return _dispatch(_arguments())
    except UserError as error:
        _print_problems(error)
        return 2
    except KeyboardInterrupt:
        return 130


def _print_problems(error: UserError) -> None:
    for problem in error.problems:
        print(f"error: {problem}", file=sys.stderr)


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
    from node_cli.compose import CONF, Composer

    if args.help:
        from node_cli.help import help_text

        print(help_text(CONF), end="")
        return 0
    if args.shell_completion:
        _hydra(args, *args.overrides)
        return 0
    if sum([args.cfg is not None, args.info is not None, args.multirun]) > 1:
        raise UserError("--cfg, --info, --multirun: give one of them")
    if (args.resolve or args.package) and not args.cfg:
        raise UserError("--resolve, --package: go with --cfg")

    resume = None
    with Composer(args.config_name, args.config_dir) as composer:
        if any("resume=" in override for override in args.overrides):
            typed = composer.typed(args.overrides)
            resume = typed.pop("resume", None)
        if resume is None:
            command = composer.command(args.overrides, multirun=args.multirun)
    if resume is not None:
        if args.multirun or args.cfg or args.info:
            raise UserError(f"resume={resume}: takes no flags")
        return _resume(str(resume), typed)
    if args.cfg or args.info:
        _hydra(args, *command.overrides)
        return 0
    _preflight(command)
    _claim(command.folder)
    key = "hydra.sweep.dir" if args.multirun else "hydra.run.dir"
    quoted = str(command.folder).replace("\\", "\\\\").replace("'", "\\'")
    try:
        _hydra(args, *command.overrides, f"{key}='{quoted}'")
    except KeyboardInterrupt:
        if args.multirun:
            print(f"go on with the sweep: node-train resume={command.folder}", file=sys.stderr)
        raise
    return _sweep_result(command) if args.multirun else _exit_code(command.folder)


def _preflight(command: "Command") -> None:
    """What can only be checked with torch, for every job before the first one starts."""
    from node_cli.run.setup import preflight

    problems: list[str] = []
    for job in command.jobs:
        try:
            preflight(job.config)
        except UserError as error:
            problems += error.problems
    if problems:
        raise UserError(*dict.fromkeys(problems))


def _claim(folder: Path) -> None:
    """Make the folder of a run or sweep. Raises ``UserError`` where it cannot be written to, or
    holds another run's records."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        held = any(folder.iterdir())
        (folder / ".writable").touch()
        (folder / ".writable").unlink()
    except OSError as error:
        raise UserError(f"folder {folder}: not writable ({error.strerror})") from error
    if held:
        raise UserError(
            f"folder {folder}: not empty; choose another, or go on with resume={folder}"
        )


def _hydra(args: argparse.Namespace, *overrides: str) -> None:
    """Hand the command over to Hydra, which shows the configuration or starts each job."""
    import hydra

    from node_cli.compose import CONF

    flags = ["--multirun"] if args.multirun else []
    flags += ["--shell-completion"] if args.shell_completion else []
    flags += ["--resolve"] if args.resolve else []
    for name in ("cfg", "package", "info", "config_name", "config_dir"):
        if (value := getattr(args, name)) is not None:
            flags += [f"--{name.replace('_', '-')}", value]
    sys.argv[1:] = [*flags, *overrides]
    hydra.main(config_path=str(CONF), config_name="config", version_base="1.3")(_job)()


def _job(cfg: "DictConfig") -> float | None:
    """One job, in the folder that Hydra made for it. Returns the score for Hydra's sweeper."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    from node_cli.compose import configure, plain_tree
    from node_cli.report.summary import summarise
    from node_cli.run.records import RunFolder

    hydra = HydraConfig.get()
    overrides = [override.lstrip("+") for override in hydra.overrides.task]
    in_sweep = hydra.mode == RunMode.MULTIRUN
    folder = RunFolder(_short(Path(hydra.runtime.output_dir)))
    if in_sweep:
        print(f"\njob {hydra.job.num}: {' '.join(overrides)}\n")
    try:
        config, notes = configure(plain_tree(cfg), overrides, in_sweep=in_sweep)
        return _run(config, folder, overrides, notes)
    except UserError as error:  # only where what was checked at the door has changed since
        _print_problems(error)
        folder.write_status("failed", overrides=overrides, reason=str(error), exit_code=2)
        return None
    finally:
        if in_sweep:
            summarise(Path(hydra.sweep.dir))


def _run(
    config: "Config", folder: "RunFolder", overrides: Sequence[str], notes: Sequence[str]
) -> float | None:
    """Run, then plot what there is to plot."""
    from node_cli.run.session import execute

    score = execute(config, folder, overrides, notes)
    if config.task == "train":
        from node_cli.report.plots import plot_run

        plot_run(folder)
    return score


def _resume(location: str, typed: dict[str, object]) -> int:
    from node_cli.report.summary import summarise
    from node_cli.resume import is_sweep

    folder = Path(location).expanduser()
    if is_sweep(folder):
        return _resume_sweep(folder, typed)
    _go_on(folder, typed)
    if is_sweep(folder.parent):
        summarise(folder.parent)
    return _exit_code(folder)


def _go_on(folder: Path, typed: dict[str, object]) -> None:
    """The rest of one run; says so where there is none."""
    from node_cli.resume import resumed

    found = resumed(str(folder), typed)
    if found is None:
        print(f"{folder}: this run is finished; train it further with epochs=N")
        return
    run, config, notes = found
    _run(config, run, run.read_status().get("overrides", []), notes)


def _resume_sweep(folder: Path, typed: dict[str, object]) -> int:
    """The rest of every job that has started, and every job that has not."""
    from node_cli.report.summary import summarise
    from node_cli.resume import resumed_sweep
    from node_cli.run.records import RunFolder

    if typed:
        raise UserError(f"{', '.join(typed)}: not with the resume= of a sweep")
    command = resumed_sweep(folder)
    _preflight(command)
    for number, job in enumerate(command.jobs):
        run = RunFolder(folder / str(number))
        overrides = [override.lstrip("+") for override in job.overrides]
        print(f"\njob {number}: {' '.join(overrides)}\n")
        try:
            if run.config.exists() and job.config.task == "train":
                _go_on(run.path, {})
            elif run.read_status().get("status") != "done":
                run.path.mkdir(exist_ok=True)
                _run(job.config, run, overrides, job.notes)
        finally:
            summarise(folder)
    return _sweep_result(command)


def _exit_code(folder: Path) -> int:
    from node_cli.run.records import RunFolder

    code = RunFolder(folder).read_status().get("exit_code", 1)
    assert isinstance(code, int)
    return code


def _sweep_result(command: "Command") -> int:
    """Print the table of a finished sweep; 1 where a job failed or is missing."""
    from node_cli.report.summary import as_text, summarise

    rows = summarise(command.folder)
    print(f"\n{as_text(rows)}\n{command.folder / 'summary.csv'}")
    return 0 if len(rows) >= len(command.jobs) and all(r["status"] == "done" for r in rows) else 1


def _short(path: Path) -> Path:
    """Relative to the working directory where the path lies below it."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
