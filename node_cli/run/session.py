"""One run from its first record to its last, whatever happens in between."""

import sys
import traceback
from collections.abc import Callable, Sequence

from node_cli.config.messages import typed
from node_cli.config.schema import Config
from node_cli.errors import UserError, one_line
from node_cli.ode.failures import SolveFailed
from node_cli.run.display import Display
from node_cli.run.evaluation import Diverged
from node_cli.run.records import RunFolder, Status
from node_cli.run.stopping import Interrupted
from node_cli.run.tasks import TASKS


def execute(
    config: Config,
    folder: RunFolder,
    overrides: Sequence[str],
    notes: Sequence[str] = (),
    report: Callable[[RunFolder], object] = lambda _: None,
) -> float | None:
    """Run the configured task in ``folder``, which exists. Returns its score, None if it failed.

    However it ends, status.json says so, with the exit code: 0 done, 1 failed or diverged, 2 bad
    input, 130 interrupted. ``report`` makes plots of what has been recorded before that is said, so
    that a run that is done has them. KeyboardInterrupt leaves this function and, where a resume is
    refused, ``UserError``: the folder is left as it was.
    """
    display = Display()
    with folder.locked():
        resumed = folder.status.exists()
        folder.remove_temporaries()

        def begin() -> None:
            folder.write_config(config.model_dump())
            folder.write_status("running", overrides=overrides)

        def end(status: Status, exit_code: int, reason: str = "") -> None:
            if reason:
                _complain(f"{status}: {reason}")
            try:
                folder.write_status(status, overrides=overrides, reason=reason, exit_code=exit_code)
            except OSError as error:
                _complain(f"{folder.status}: {error.strerror}")

        def finish(status: Status, exit_code: int, reason: str = "") -> None:
            try:
                report(folder)
            except Exception as error:  # a run is worth more than its plots
                _complain(f"no plots: {one_line(error)}")
            end(status, exit_code, reason)

        try:
            if not resumed:
                begin()
            task = TASKS[config.task](config, folder)
            if resumed:
                begin()
            for note in notes:
                display.line(f"note: {note}")
            score = task.run(display)
        except UserError as error:
            if resumed:
                raise
            end("failed", 2, str(error))
        except SolveFailed as error:
            finish("failed", 1, str(error))
        except Diverged as error:
            finish("diverged", 1, str(error))
        except KeyboardInterrupt as error:
            saved = "checkpoint written" if isinstance(error, Interrupted) else "stopped at once"
            resume = f"; go on with: node-train {typed('resume', folder.path)}"
            end("interrupted", 130, saved + resume * (config.task == "train"))
            raise
        except OSError as error:
            finish("failed", 1, f"{error.filename or folder.path}: {error.strerror or error}")
        except Exception as error:
            traceback.print_exc()
            finish("failed", 1, f"{type(error).__name__}: {error}")
        else:
            finish("done", 0)
            return score
        return None


def _complain(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
