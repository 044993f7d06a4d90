"""The command line: what is asked for, and what answers."""

import argparse
import io
import logging
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import node_cli
from node_cli.cli.caches import own_caches
from node_cli.cli.ending import ended
from node_cli.cli.torchrun import answered, check_typed
from node_cli.cli.waiting import short_waits
from node_cli.errors import UserError, complain
from node_cli.machine import git  # noqa: F401, it finds git before anything is composed
from node_cli.machine.garbage import collection, none_at_exit
from node_cli.outputs import failure_in_words, tolerant_outputs
from node_cli.stopping import stops_on_signal

if TYPE_CHECKING:  # imported where needed: --help answers without any of them, --cfg without torch
    from collections.abc import Callable, Sequence

    from node_cli.cli.command import Command
    from node_cli.cli.overrides import CommandLine


@short_waits()
@collection(on=False)  # but while a task runs
def main() -> int:
    """The command ``node-train``. Returns the exit code: see ``ending.ended``."""
    none_at_exit()
    own_caches()
    with _short_warnings(), tolerant_outputs() as (out, _), stops_on_signal():
        code = ended(lambda: answered(lambda: ended(lambda: _printed(_arguments()))))
        out.flush()
        if out.failure and not isinstance(out.failure, BrokenPipeError):
            complain(f"error: standard output: {failure_in_words(out.failure)}")
            # A run is none the worse for it; what a command only prints is lost.
            only_prints = {"--version", "--help", "-h", "--cfg", "-c", "--info", "-i"}
            code = max(code, 1) if only_prints & set(sys.argv) else code
        return code


@contextmanager
def _short_warnings() -> Iterator[None]:
    """Within it warnings are one line, and a log or a terminal that cannot be written to is no
    error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal may not have the character
    formatwarning, raises = warnings.formatwarning, logging.raiseExceptions
    warnings.formatwarning = lambda message, *_: f"warning: {message}\n"
    logging.raiseExceptions = False
    try:
        yield
    finally:
        warnings.formatwarning, logging.raiseExceptions = formatwarning, raises


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; options are written key=value, see node-train --help")


def _arguments() -> argparse.Namespace:
    """Those of Hydra's flags that are of use here."""
    parser = _Parser(prog="node-train", add_help=False, allow_abbrev=False)
    parser.add_argument("--help", "-h", nargs="?", const="", metavar="TOPIC")
    parser.add_argument("--version", action="store_true")
    parser.add_argument("--multirun", "-m", action="store_true")
    parser.add_argument("--dry-run", action="store_true")
    parser.add_argument("--quiet", action="store_true")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--cfg", "-c", choices=["job", "hydra", "all"])
    parser.add_argument("--resolve", action="store_true")
    parser.add_argument("--package", "-p")
    info = ["all", "config", "defaults", "defaults-tree", "parts", "plugins", "searchpath"]
    parser.add_argument("--info", "-i", nargs="?", const="all", choices=info)
    parser.add_argument("--shell-completion", "-sc", action="store_true")
    parser.add_argument("--config-name", "-cn")
    parser.add_argument("--config-dir", "-cd")
    parser.add_argument("overrides", nargs="*")
    return parser.parse_intermixed_args()


def _printed(args: argparse.Namespace) -> int:
    """Answer with text, or as ``--quiet`` and ``--json`` say."""
    if not (args.quiet or args.json):
        return _dispatch(args)
    only_prints = [args.version, args.help is not None, args.cfg, args.info, args.shell_completion]
    if any(only_prints) or args.overrides[:1] == ["new"]:
        raise UserError("--quiet, --json: go with runs, sweeps and reports")
    if args.quiet and (args.json or args.dry_run):
        raise UserError("--quiet: not with --json or --dry-run, which print what it leaves out")
    from node_cli.display import printing

    with printing("json" if args.json else "quiet"):
        return _dispatch(args)


def _dispatch(args: argparse.Namespace) -> int:
    if args.version:
        print(f"node-train {node_cli.__version__}")
        return 0
    if args.help is not None:
        from node_cli.cli.help import help_text
        from node_cli.cli.topics import topic_text

        print(topic_text(args.help) if args.help else help_text(), end="")
        return 0
    if args.info == "parts":
        from node_cli.cli.parts_info import parts_text

        print(parts_text(), end="")
        return 0
    if args.shell_completion:
        _complete(args)
        return 0
    try:
        Path.cwd()
    except FileNotFoundError as error:
        raise UserError("the working directory is no longer there") from error
    check_typed(sys.argv[1:])
    if args.overrides[:1] == ["new"]:
        from node_cli.cli.new_package import new_package

        print(new_package(args.overrides[1:]))
        return 0
    if args.overrides[:1] == ["report"]:
        return _report(args)
    if sum([args.cfg is not None, args.info is not None, args.multirun]) > 1:
        raise UserError("--cfg, --info, --multirun: give one of them")
    if args.dry_run and (args.cfg or args.info):
        raise UserError("--cfg, --info, --dry-run: give one of them")
    if (args.resolve or args.package) and not args.cfg:
        raise UserError("--resolve, --package: go with --cfg")

    from omegaconf import OmegaConf

    from node_cli.cli import workers
    from node_cli.cli.compose import Composer

    with Composer(args.config_name, args.config_dir) as composer:
        typed = composer.parse(args.overrides)
        if not args.dry_run:
            workers.begin(args.overrides)
        action = _on_folder(typed, args)
        if action is None and typed.find("table"):
            if args.multirun or args.cfg or args.info:
                raise UserError("table=: is a sweep of its own, takes no flags but --config-dir")
            action = partial(_run_tables, composer.tables(typed), args)
        if action is None:
            command = composer.command(typed, multirun=args.multirun)
    if action is not None:  # it may need Hydra for itself
        return action()
    if args.cfg == "job" and not args.package:
        print(OmegaConf.to_yaml(command.jobs[0].config.model_dump()), end="")
        return 0
    if args.cfg or args.info:
        from node_cli.cli.hydra_app import hand_over

        hand_over(args, *command.overrides)
        return 0
    return _start(command, args)


def _on_folder(typed: "CommandLine", args: argparse.Namespace) -> "Callable[[], int] | None":
    """What ``resume=`` or ``report=`` asks for; None without either."""
    override = typed.find("resume") or typed.find("report")
    if override is None:
        return None
    if typed.problems:
        raise UserError(*typed.problems)
    if several := [o.text for o in typed.overrides if o.several]:
        raise UserError(
            *(f"{text}: takes one value (quote special characters)" for text in several)
        )
    if any((args.multirun, args.cfg, args.info, args.config_dir, args.config_name, args.dry_run)):
        raise UserError(f"{override.text.lstrip('+')}: takes no flags")
    from node_cli.cli.report import report
    from node_cli.cli.runs import resume

    others = {o.key: o.value for o in typed.overrides if o.key != override.key}
    if override.key == "report":
        return partial(report, [str(override.value)], others)
    return partial(resume, str(override.value), others)


def _report(args: argparse.Namespace) -> int:
    """What ``report FOLDER...`` asks for. Folders stand as they are, ``report.out=FOLDER`` among
    them."""
    from node_cli.cli.report import OUT, report

    if any((args.multirun, args.cfg, args.info, args.config_dir, args.config_name, args.dry_run)):
        raise UserError("report: takes no flags")
    words = args.overrides[1:]
    out = [word for word in words if word.startswith(f"{OUT}=")]
    folders = [word for word in words if word not in out]
    if not folders:
        raise UserError("report: needs a folder of runs, for example node-train report outputs")
    return report(folders, {OUT: out[-1].partition("=")[2]} if out else {})


def _start(command: "Command", args: argparse.Namespace) -> int:
    """Check once more, with torch; then run the jobs."""
    from node_cli.cli import runs
    from node_cli.cli.compose import Composer
    from node_cli.cli.dry_run import dry_run, dry_search
    from node_cli.cli.hydra_app import hand_over
    from node_cli.cli.jobs import exit_code
    from node_cli.cli.published import show_published
    from node_cli.config.messages import quoted
    from node_cli.display import last_line
    from node_cli.records.run_folder import RunFolder

    runs.preflight_all(command)
    if args.dry_run:
        _check_empty(command.folder)
        if command.search is None:
            return dry_run([command], one=not args.multirun)
        with Composer(args.config_name, args.config_dir) as composer:
            typed = composer.parse(args.overrides)
            first = composer.chosen(command, typed, command.search.first())
        return dry_search(command.search, command.folder, first)
    _claim(command, args, is_sweep=args.multirun)
    folder = RunFolder(command.folder)
    if not args.multirun:
        hand_over(args, *command.overrides, quoted("hydra.run.dir", str(folder.path)))
        show_published(folder.path, [folder])
        last_line(folder.path)
        return exit_code(folder)
    return runs.run_sweeps(folder.path, [command])


def _run_tables(commands: "Sequence[Command]", args: argparse.Namespace) -> int:
    """The sweep of each table in turn."""
    from node_cli.cli import runs
    from node_cli.cli.dry_run import dry_run

    for command in commands:
        runs.preflight_all(command)
    for command in commands:
        _check_empty(command.folder)
    if args.dry_run:
        return dry_run(commands, one=False)
    for command in commands:
        _claim(command, args, is_sweep=True)
    return runs.run_sweeps(commands[0].folder.parent, commands)


def _complete(args: argparse.Namespace) -> None:
    """Print what a shell wants of tab completion."""
    from node_cli.cli.hydra_app import hand_over

    action, _, shell = "=".join(args.overrides).partition("=")
    if action not in ("install", "uninstall", "query") or shell not in ("bash", "zsh", "fish"):
        raise UserError("-sc: choose from install=SHELL, uninstall=SHELL, with bash, zsh or fish")
    hand_over(args, *args.overrides)


def _claim(command: "Command", args: argparse.Namespace, *, is_sweep: bool) -> None:
    """Make the folder of a run or sweep and, at once, what a resume needs. Raises ``UserError``
    where it cannot be written to, or holds files already."""
    from node_cli.records import sweep_folder
    from node_cli.records.run_folder import RunFolder

    folder = command.folder
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with RunFolder(folder).locked():  # of two processes that find it empty, one goes on
            _check_empty(folder)
            if is_sweep:
                where = (args.config_name, args.config_dir, str(Path.cwd()))
                typed = sweep_folder.Typed(args.overrides, *where, command.count)
                sweep_folder.write(folder, typed)
            else:
                (job,) = command.jobs
                RunFolder(folder).write_config(job.config.model_dump(), job.overrides)
    except OSError as error:
        way_out = "hydra.sweep.dir" if is_sweep else "hydra.run.dir"
        raise UserError(
            f"folder {folder}: not writable ({error.strerror}) from {Path.cwd()}; choose another "
            f"with {way_out}="
        ) from error


def _check_empty(folder: Path) -> None:
    if folder.is_dir() and any(folder.iterdir()):
        raise UserError(f"folder {folder}: not empty; choose another (resume= goes on with a run)")
