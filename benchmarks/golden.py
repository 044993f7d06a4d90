"""Proof that a change of the code moves no number.

    python benchmarks/golden.py record OLD.json     # with one commit
    python benchmarks/golden.py record NEW.json     # with another, on the same machine
    python benchmarks/golden.py compare OLD.json NEW.json

``record`` runs the short commands of ``golden_cases.py`` with the node-train that Python imports
(``PYTHONPATH`` chooses a worktree) in one process with one thread, and writes down hashes of all
that they leave behind: weights, optimizers, columns of records. ``compare`` names what differs and
ends with 1 if anything does. Wrong commands are compared by their exit code; the words that are
printed are shown where they differ. ``--quick`` does without compile=true, which takes minutes.
"""

import argparse
import contextlib
import difflib
import importlib.util
import json
import os
import platform
import re
import runpy
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatch
from importlib.metadata import version
from pathlib import Path
from typing import Any

from golden_cases import CASES, Case
from golden_facts import Facts, Texts, differences, left_behind, without
from golden_files import write_files
from golden_messages import MESSAGES

# One thread, no GPU, no order that is drawn anew for each process.
ENVIRONMENT = {
    **dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1"),
    **{"PYTHONHASHSEED": "0", "TORCHINDUCTOR_COMPILE_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
    **{"CI": "true", "COLUMNS": "100", "MPLBACKEND": "Agg"},
}


def main() -> int:
    arguments = _arguments()
    if arguments.action == "compare":
        return compare(_read(arguments.files[0]), _read(arguments.files[1]), arguments.only)
    _start_again_in({**ENVIRONMENT, "TORCHINDUCTOR_CACHE_DIR": str(arguments.cache.absolute())})
    (file,) = arguments.files
    cases = [case for case in CASES if _matches(case.name, arguments.only)]
    cases = [case for case in cases if not (arguments.quick and case.is_compiled)]
    messages = [m for m in MESSAGES if _matches(" ".join(m), arguments.only)]
    with _folder(arguments.folder) as folder:
        recording = record(folder, cases, messages)
    file.write_text(json.dumps(recording, indent=1) + "\n")
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("action", choices=["record", "compare"])
    parser.add_argument("files", nargs="+", type=Path, help="record: one, compare: two")
    parser.add_argument("--only", help="cases whose name has this in it, or fits it (*, ?)")
    parser.add_argument("--quick", action="store_true", help="without compile=true")
    parser.add_argument("--folder", type=Path, help="where to run, to look at it; else temporary")
    cache = Path(tempfile.gettempdir()) / "golden_inductor"
    parser.add_argument("--cache", type=Path, default=cache, help="compiled kernels (%(default)s)")
    arguments = parser.parse_args()
    if len(arguments.files) != (1 if arguments.action == "record" else 2):
        parser.error("record takes one file, compare two")
    arguments.files = [file.absolute() for file in arguments.files]
    return arguments


def _start_again_in(environment: Mapping[str, str]) -> None:
    """Replace this process by one with those variables, unless it has them: Python and torch read
    them when they start."""
    if any(os.environ.get(name) != value for name, value in environment.items()):
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **environment})


def _matches(name: str, pattern: str | None) -> bool:
    return pattern is None or pattern in name or fnmatch(name, pattern)


@contextlib.contextmanager
def _folder(given: Path | None) -> Iterator[Path]:
    if given is not None:
        given.mkdir(parents=True)
        yield given.resolve()
        return
    with tempfile.TemporaryDirectory(prefix="golden_") as name:
        yield Path(name).resolve()


def record(
    folder: Path, cases: Sequence[Case], messages: Sequence[tuple[str, ...]]
) -> dict[str, Any]:
    """Run everything below a folder; what to write to the file."""
    spec = importlib.util.find_spec("node_cli")
    assert spec is not None
    assert spec.origin is not None, "no node_cli to import"
    code = Path(spec.origin).parents[1]
    print(f"node_cli of {code}", flush=True)
    written = _last_written(code)
    texts = {str(folder): "<tmp>", str(code): "<code>"}
    write_files(folder)
    _draw_nothing()
    begin = time.perf_counter()
    said = {" ".join(m): _message(folder, m, texts) for m in messages}
    print(f"{len(said)} messages", flush=True)
    found = {}
    for number, case in enumerate(cases, 1):
        start = time.perf_counter()
        facts = _facts(folder, case, texts)
        codes = [facts[f"exit code {i}"] for i, _ in enumerate(case.commands, 1)]
        found[case.name] = {"commands": [[*c] for c in case.commands], "facts": facts}
        seconds = time.perf_counter() - start
        print(
            f"{number}/{len(cases)}  {seconds:.1f} s  exit {','.join(codes)}  {case.name}",
            flush=True,
        )
    seconds = round(time.perf_counter() - begin)
    print(f"{len(found)} cases, {seconds} s")
    if _last_written(code) != written:
        print("the code has changed while it ran: record again", file=sys.stderr)
    return {
        "machine": _machine(),
        "seconds": seconds,
        "cases": found,
        "messages": said,
    }


def _last_written(code: Path) -> float:
    """When a file of the package or of its configuration was last changed."""
    files = [p for name in ("node_cli", "conf") for p in (code / name).rglob("*.[py]*")]
    return max(p.stat().st_mtime for p in files if p.suffix in (".py", ".yaml"))


def _draw_nothing() -> None:
    """Leave the pictures empty: to draw them takes longer than all else."""
    from matplotlib.figure import Figure

    def savefig(figure: Figure, file: Any, **options: Any) -> None:
        if isinstance(file, Path):
            file.touch()
        else:  # a frame of an animation
            width, height = (int(inches * options["dpi"]) for inches in figure.get_size_inches())
            file.write(bytes(4 * width * height))

    Figure.savefig = savefig  # type: ignore[assignment,method-assign]


def _machine() -> dict[str, str]:
    cpu = Path("/proc/cpuinfo")
    models = re.findall(r"model name\s*: (.*)", cpu.read_text()) if cpu.exists() else []
    packages = ("torch", "torchvision", "torchdiffeq", "numpy", "scipy", "scikit-learn")
    return {
        "cpu": models[0] if models else platform.machine(),
        "python": platform.python_version(),
        **{name: version(name) for name in packages},
    }


def _facts(folder: Path, case: Case, texts: Texts) -> Facts:
    """Run the commands of a case in a folder of its own."""
    own = folder / re.sub(r"[^\w.=,-]+", "_", case.name)
    own.mkdir(parents=True)
    facts = {}
    for number, command in enumerate(case.commands, 1):
        if command[0] == "remove":
            shutil.rmtree(own / command[1])
            facts[f"exit code {number}"] = "0"
        else:
            facts[f"exit code {number}"] = str(_node_train(command, own, folder / "log.txt"))
    return facts | left_behind(own, texts)


def _message(folder: Path, command: tuple[str, ...], texts: Texts) -> dict[str, str]:
    own = folder / "messages"
    own.mkdir(exist_ok=True)
    log = folder / "message.txt"
    log.unlink(missing_ok=True)
    code = _node_train(command, own, log)
    return {"exit code": str(code), "text": without(texts, log.read_text(encoding="utf-8"))}


def _node_train(command: Sequence[str], folder: Path, log: Path) -> int:
    """The exit code of node-train, which runs in this process; what it prints goes to a file."""
    sys.argv = ["node-train", *command]
    code = 0
    with (
        log.open("a", encoding="utf-8") as file,
        contextlib.chdir(folder),
        contextlib.redirect_stdout(file),
        contextlib.redirect_stderr(file),
    ):
        try:
            runpy.run_module("node_cli", run_name="__main__")
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
        except Exception:
            traceback.print_exc()
            code = 1
    if code == 130:
        raise KeyboardInterrupt
    return code


def _read(file: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(file.read_text())
    return content


def compare(old: dict[str, Any], new: dict[str, Any], only: str | None) -> int:
    """Print what differs between two recordings; 1 if anything does that counts."""
    for name, was in old["machine"].items():
        if (now := new["machine"].get(name)) != was:
            print(f"note: recorded with {name} {was} and {now}: bits may differ for that alone")
    names = [name for name in old["cases"] if _matches(name, only)]
    both = [name for name in names if name in new["cases"]]
    equal = sum(_compare_case(name, old["cases"][name], new["cases"][name]) for name in both)
    changed = _compare_messages(old["messages"], new["messages"], only)
    alone = len(names) - len(both)
    print(f"{len(both)} cases, {equal} equal" + f"; {alone} only in the first file" * (alone > 0))
    return 0 if equal == len(both) and not changed else 1


def _compare_case(name: str, old: dict[str, Any], new: dict[str, Any]) -> bool:
    lines = differences(old["facts"], new["facts"])
    if old["commands"] != new["commands"]:
        lines.insert(0, "the commands are others")
    print(f"{'differs' if lines else 'equal'}  {name}")
    for line in lines:
        print(f"    {line}")
    return not lines


def _compare_messages(old: dict[str, Any], new: dict[str, Any], only: str | None) -> int:
    """How many wrong commands end with another exit code; words are shown alone."""
    both = [name for name in old if name in new and _matches(name, only)]
    same, codes = 0, 0
    for name in both:
        was, now = old[name]["exit code"], new[name]["exit code"]
        same += old[name] == new[name]
        codes += was != now
        if old[name] != new[name]:
            print(f"message  node-train {name}" + f"  exit code {was}, now {now}" * (was != now))
            texts = [one[name]["text"].splitlines() for one in (old, new)]
            for line in [*difflib.unified_diff(texts[0], texts[1], n=0, lineterm="")][2:]:
                print(f"    {line}")
    print(f"{len(both)} messages, {same} equal, {codes} with another exit code")
    return codes


if __name__ == "__main__":
    sys.exit(main())
