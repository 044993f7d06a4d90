"""One run from its first record to its last, whatever happens in between."""

import sys
import traceback
from collections.abc import Sequence

from node_cli.config.schema import Config
from node_cli.errors import UserError
from node_cli.ode.failures import SolveFailed
from node_cli.run.display import Display
from node_cli.run.records import RunFolder, Status
from node_cli.run.stopping import Interrupted
from node_cli.run.tasks import TASKS
from node_cli.run.training import Diverged


def execute(
    config: Config, folder: RunFolder, overrides: Sequence[str], notes: Sequence[str] = ()
) -> float | None:
    """Run the configured task in ``folder``, which exists. Returns its score, None if it failed.

    However it ends, status.json says so, with the exit code: 0 done, 1 failed or diverged, 2 bad
    input, 130 interrupted. Only KeyboardInterrupt leaves this function.
    """
    display = Display()
    with folder.locked():
        folder.write_config(config.model_dump())
        folder.write_status("running", overrides=overrides)

        def end(status: Status, exit_code: int, reason: str = "") -> None:
            if reason:
                print(f"{status}: {reason}", file=sys.stderr, flush=True)
            folder.write_status(status, overrides=overrides, reason=reason, exit_code=exit_code)

        for note in notes:
            display.line(f"note: {note}")
        try:
            score = TASKS[config.task](config, folder, display)
        except UserError as error:
            end("failed", 2, str(error))
        except SolveFailed as error:
            end("failed", 1, str(error))
        except Diverged as error:
            end("diverged", 1, str(error))
        except KeyboardInterrupt as error:
            saved = "checkpoint written" if isinstance(error, Interrupted) else "stopped at once"
            end("interrupted", 130, f"{saved}; go on with: node-train resume={folder.path}")
            raise
        except Exception as error:
            traceback.print_exc()
            end("failed", 1, f"{type(error).__name__}: {error}")
        else:
            end("done", 0)
            return score
        return None
