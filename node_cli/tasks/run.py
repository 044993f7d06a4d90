"""One run from its first record to its last, whatever happens in between."""

import traceback
from collections.abc import Callable, Sequence

from node_cli.config.messages import shell_override
from node_cli.config.schema import Config
from node_cli.errors import UserError, complain, one_line
from node_cli.learn.evaluation import Diverged
from node_cli.learn.stopping import Interrupted
from node_cli.ode.failures import SolveFailed
from node_cli.records.run_folder import RunFolder, Status
from node_cli.tasks.progress_display import Display
from node_cli.tasks.train import TASKS


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
        begun_before = folder.status.exists()

        def begin() -> None:
            folder.remove_temporaries()
            folder.result.unlink(missing_ok=True)  # that of fewer epochs
            folder.write_config(config.model_dump())
            folder.write_status("running", overrides=overrides)

        def end(status: Status, exit_code: int, reason: str = "") -> None:
            if reason:
                complain(f"{status}: {reason}")
            try:
                folder.write_status(status, overrides=overrides, reason=reason, exit_code=exit_code)
            except OSError as error:
                complain(f"{folder.status}: {error.strerror}")

        def plot() -> None:
            try:
                report(folder)
            except Exception as error:  # a run is worth more than its plots
                complain(f"no plots: {one_line(error)}")

        try:
            if not begun_before:
                begin()
            task = TASKS[config.task](config, folder)
            if begun_before:
                begin()
            for note in notes:
                display.line(f"note: {note}")
            score = task.run(display)
            plot()
            end("done", 0)
            return score
        except UserError as error:
            if begun_before:
                raise
            end("failed", 2, str(error))
        except SolveFailed as error:
            end("failed", 1, str(error))
            plot()
        except Diverged as error:
            end("diverged", 1, str(error))
            plot()
        except KeyboardInterrupt as error:
            saved = "checkpoint written" if isinstance(error, Interrupted) else "stopped at once"
            resume = f"; go on with: node-train {shell_override('resume', folder.path)}"
            end("interrupted", 130, saved + resume * (config.task == "train"))
            raise
        except OSError as error:
            end("failed", 1, f"{error.filename or folder.path}: {error.strerror or error}")
        except Exception as error:
            traceback.print_exc()
            end("failed", 1, f"{type(error).__name__}: {error}")
        return None
