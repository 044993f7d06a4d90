"""``node-train new NAME``: a package of the user's own parts, which works as it is written."""

import re
from collections.abc import Sequence
from importlib.util import find_spec
from keyword import iskeyword
from pathlib import Path

from node_cli.errors import UserError

TEMPLATE = Path(__file__).with_name("template")

# Where each file of the template goes; NAME stands for the name of the package, inside it as well.
FILES = {
    "pyproject.toml": "pyproject.toml",
    "README.md": "README.md",
    "init.py": "NAME/__init__.py",
    "field.py": "NAME/field.py",
    "data.py": "NAME/data.py",
    "regulariser.py": "NAME/regulariser.py",
    "observer.py": "NAME/observer.py",
    "test_parts.py": "tests/test_parts.py",
    "experiment.yaml": "conf/experiment/NAME.yaml",
}


def new_package(arguments: Sequence[str]) -> str:
    """Write the package into a new folder of its name; return what to type next.

    ``arguments``: what was typed after ``new``. Raises ``UserError`` for a name that a package
    cannot have, or that a module has, and where the folder is there already.
    """
    if len(arguments) != 1:
        raise UserError("new: needs the name of a package, for example node-train new my_parts")
    (name,) = arguments
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or iskeyword(name):
        raise UserError(f"new {name}: a name has small letters, digits and _, as in my_parts")
    folder = Path(name)
    if not folder.exists() and find_spec(name) is not None:
        raise UserError(f"new {name}: Python has a module of this name already; choose another")
    try:
        folder.mkdir()
        for source, place in FILES.items():
            path = folder / place.replace("NAME", name)
            path.parent.mkdir(parents=True, exist_ok=True)
            text = (TEMPLATE / f"{source}.template").read_text(encoding="utf-8")
            path.write_text(text.replace("NAME", name), encoding="utf-8")
    except FileExistsError:
        raise UserError(f"new {name}: {folder.absolute()} is there already") from None
    except OSError as error:
        raise UserError(f"new {name}: {error.filename}: {error.strerror}") from error
    return (
        f"{folder.absolute()}: a field, a data set, a regulariser, an observer, tests, and an "
        "experiment. Next:\n"
        f'  pip install -e "{name}[test]"\n'
        f"  python -m pytest {name}\n"
        f"  node-train --config-dir {name}/conf experiment={name}"
    )
