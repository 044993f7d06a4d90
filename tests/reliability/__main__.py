"""``python -m tests.reliability KIND COUNT``: one kind of harm, ``COUNT`` times, and its row of the
table in docs/reliability.md."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

from tests.reliability import endurance, files, kills, lines, mixtures, signals
from tests.reliability.children import Tally, can_fault, faults_built, warmed

KINDS: dict[str, Callable[[Path, int], Tally]] = {
    "random_kills": kills.random_kills,
    "placed_kills": kills.placed_kills,
    "full_disks": kills.full_disks,
    "mutated_files": files.mutated,
    "wrong_files": files.wrong,
    "lines": lines.in_process,
    "lines_forked": lines.forked,
    "signals": signals.one,
    "storms": signals.storms,
    "outputs": signals.outputs,
    "mixtures": mixtures.killed,
    "soak": endurance.soak,
    "sweep": endurance.sweep,
}
NEED_FAULTS = ("placed_kills", "full_disks")
PAGE = Path(__file__).parents[2] / "docs" / "reliability.md"
BEGIN, END = "<!-- counts: begin -->\n", "<!-- counts: end -->\n"


def write_row(tally: Tally) -> None:
    """Put a row into the table, in the place of the row of the same kind."""
    before, table, after = _parts(PAGE.read_text())
    rows = [r for r in table.splitlines() if not r.startswith(f"| {tally.what}")]
    text = "".join(f"{row}\n" for row in [*rows, tally.row()])
    PAGE.write_text(before + BEGIN + text + END + after)


def _parts(page: str) -> tuple[str, str, str]:
    before, _, rest = page.partition(BEGIN)
    table, _, after = rest.partition(END)
    return before, table, after


def main(kind: str, count: int) -> int:
    """Do it, and print what went wrong. Returns the number of times it did."""
    torch.set_num_threads(1)
    os.environ["CI"] = "true"
    with tempfile.TemporaryDirectory() as folder:
        if kind in NEED_FAULTS and not can_fault():
            with faults_built(Path(folder)) as environment:
                if environment is None:
                    raise SystemExit(f"{kind}: needs Linux and a C compiler")
                again = [sys.executable, "-m", "tests.reliability", kind, str(count)]
                return subprocess.run(again, env=environment, check=False).returncode
        begin = time.perf_counter()
        warmed(Path(folder))
        tally = KINDS[kind](Path(folder), count)
    print(tally.row(), f"{time.perf_counter() - begin:.0f} s", file=sys.stderr)
    write_row(tally)
    return min(len(tally.wrong), 1)


if __name__ == "__main__":
    if len(sys.argv) != 3 or sys.argv[1] not in KINDS or not sys.argv[2].isdigit():
        raise SystemExit(f"python -m tests.reliability KIND COUNT; KIND: {', '.join(KINDS)}")
    raise SystemExit(main(sys.argv[1], int(sys.argv[2])))
