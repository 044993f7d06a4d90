"""How a command ends: each error that has a line of its own, and its exit code."""

import errno
from collections.abc import Callable

from node_cli.errors import UserError, complain, out_of_memory, print_problems
from node_cli.stopping import exit_code

# Of a folder or a name that was given and cannot be used; others, a full disk, are of the system.
OF_THE_INPUT = (
    *(errno.EACCES, errno.EPERM, errno.EROFS, errno.ENAMETOOLONG, errno.ELOOP),
    *(errno.ENOENT, errno.ENOTDIR, errno.EISDIR),
)


def ended(command: Callable[[], int]) -> int:
    """Call a command; return its exit code, or that of the error it ends with, which is printed.

    0 done, 1 failed or diverged, 2 bad input, 130 interrupted, 128 + n by another signal n than
    SIGINT and SIGTERM. Raises what is a defect.
    """
    try:
        return command()
    except UserError as error:
        print_problems(error)
        return 2
    except KeyboardInterrupt as error:
        return exit_code(error)
    except OSError as error:  # a folder that may not be read, a name that is too long
        where = f"{error.filename}: " if error.filename else ""
        print_problems(UserError(f"{where}{error.strerror or error}"))
        return 2 if error.errno in OF_THE_INPUT else 1
    except (RuntimeError, MemoryError) as error:
        if not (line := out_of_memory(error)):
            raise
        complain(f"error: {line}")
        return 1
