"""One run, from its first record to its last."""

import traceback
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib import import_module

from node_cli.config.messages import shell_override
from node_cli.config.schema import Config
from node_cli.config.tasks import TASKS
from node_cli.display import Display
from node_cli.errors import UserError, complain, one_line, out_of_memory
from node_cli.learn.evaluation import Diverged
from node_cli.machine.garbage import collection
from node_cli.ode.failures import SolveFailed, Unsuitable
from node_cli.records.run_folder import RunFolder, Status
from node_cli.stopping import Interrupted, signals_held
from node_cli.stopping import exit_code as exit_code_of
from node_cli.tasks.task import Task


def task_class(name: str) -> type[Task]:
    """Return the class of a task by its name in ``config.tasks.TASKS``."""
    module, _, class_name = TASKS[name].implementation.partition(":")
    task: type[Task] = getattr(import_module(module), class_name)
    return task


def execute(
    config: Config,
    folder: RunFolder,
    overrides: Sequence[str],
    notes: Sequence[str] = (),
    report: Callable[[RunFolder], object] = lambda _: None,
    display: Display | None = None,
) -> float | None:
    """Run the configured task in ``folder``, which exists. Returns its score, None if it failed.

    ``overrides``: what was typed for it. ``notes``: lines to print first. ``report``: makes plots
    of the records; called before status.json says how the run ended, so that a finished run has
    them. ``display``: that of its sweep.

    status.json gets an exit code: 0 done, 1 failed or diverged, 2 bad input, 130 interrupted,
    128 + n by a signal n other than SIGINT and SIGTERM.
    Raises KeyboardInterrupt, and ``UserError`` where a run cannot go on in its folder, which is
    then left as it was.
    """
    display = display or Display()
    # Python tells the same warning once; here once a run, and not once a sweep.
    with folder.locked(), warnings.catch_warnings():
        begun_before = folder.status.exists()

        def begin() -> None:
            folder.remove_temporaries()
            folder.result.unlink(missing_ok=True)  # from a run of fewer epochs
            folder.write_config(config.model_dump(), overrides)
            folder.write_status("running", overrides=overrides)

        def end(status: Status, exit_code: int, reason: str = "") -> None:
            with signals_held():
                try:
                    folder.write_status(
                        status, overrides=overrides, reason=reason, exit_code=exit_code
                    )
                except OSError as error:
                    complain(f"{folder.status}: {error.strerror}")
            if reason and status != "done":
                complain(f"{status}: {reason}")

        def plot() -> None:
            try:
                report(folder)
            except Exception as error:  # the run itself is not lost
                complain(f"no plots: {one_line(error)}")

        try:
            if not begun_before:
                begin()
            task = task_class(config.task)(config, folder)
            if begun_before:
                begin()
            for note in notes:
                display.line(f"note: {note}")
            with collection(on=True):
                score, reason = task.run(display)
            plot()
            end("done", 0, reason)
            return score
        except UserError as error:
            if begun_before:
                raise
            end("failed", 2, str(error))
        except (SolveFailed, Unsuitable) as error:
            end("failed", 1, str(error))
            plot()
        except Diverged as error:
            end("diverged", 1, str(error))
            plot()
        except KeyboardInterrupt as error:
            saved = "checkpoint written" if isinstance(error, Interrupted) else "stopped at once"
            resume = f"; go on with: node-train {shell_override('resume', folder.path)}"
            end("interrupted", exit_code_of(error), saved + resume * TASKS[config.task].trains)
            if isinstance(error, Interrupted):
                plot()
            raise
        except OSError as error:
            end("failed", 1, f"{error.filename or folder.path}: {error.strerror or error}")
        except Exception as error:
            if line := out_of_memory(error):
                end("failed", 1, line)
                return None
            with suppress(OSError, ValueError):  # nowhere to print to
                traceback.print_exc()
            end("failed", 1, f"{type(error).__name__}: {error}")
        return None
