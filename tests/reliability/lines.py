"""Command lines at random: each is run or refused in a line."""

import random
import traceback
from pathlib import Path

from node_cli.cli.compose import Composer
from node_cli.config.schema import keys
from node_cli.errors import UserError
from tests.reliability.children import Tally, run

GROUPS = ["data", "model", "optimizer", "schedule", "sensitivity", "solver", "experiment"]
NAMES = ["dense", "conv", "anode", "mlp", "dopri5", "rk4", "gauss", "backsolve", "adam", "cosine"]
VALUES = [
    *(
        "0",
        "1",
        "-1",
        "1e400",
        "nan",
        "-inf",
        "9" * 40,
        "null",
        "true",
        "''",
        "[]",
        "{}",
        "[1,[2]]",
    ),
    *("{a:1}", "0.5", "1,2", "range(0,3)", "range(0,5,0)", "choice(1,2)", "shuffle(range(3))"),
    *("${seed}", "${nothing}", "${", "}", "\\", "a b", "ü", "../x", "x" * 300, "[", "glob(*)", "="),
    *("${oc.env:HOME}", "interval(0,1)", "tag(a,1)", "int(x)", "!!python/object:os.system"),
]
PREFIXES = ["", "", "", "", "+", "++", "~"]


def composed_line(draw: random.Random) -> list[str]:
    """One to four overrides, most of keys that exist."""
    line = []
    for _ in range(draw.randint(1, 4)):
        key = draw.choice([*keys(), *GROUPS, *GROUPS, "hydra.run.dir", "hydra.job.name", "nothing"])
        value = draw.choice(NAMES if key in GROUPS and draw.random() < 0.7 else VALUES)
        line.append(f"{draw.choice(PREFIXES)}{key}={value}")
    return line


def in_process(where: Path, count: int) -> Tally:
    """Composed and checked, not run."""
    tally, draw = Tally("random command lines, composed and checked"), random.Random(0)
    for _ in range(count):
        line = composed_line(draw)
        try:
            with Composer() as composer:
                composer.command(composer.parse(line), multirun=draw.random() < 0.3)
        except UserError:
            pass
        except Exception:
            tally.add("tracebacks", f"{line}: {traceback.format_exc().splitlines()[-1]}")
        tally.done += 1
    return tally


def forked(where: Path, count: int) -> Tally:
    """The whole command, in a process of its own; those that are sound are trained."""
    tally, draw = Tally("random command lines, run"), random.Random(1)
    for number in range(count):
        line = composed_line(draw)
        folder = where / f"line{number}"
        folder.mkdir()
        quick = ["data.limit=60", "epochs=1"]
        end = run(folder, *quick, *line)
        tally.judge(end, str(line), codes=(0, 1, 2))
        tally.done += 1
    return tally
