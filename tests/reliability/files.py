"""Files of a run that are damaged, or well-formed and wrong: resumed or refused in a line."""

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import yaml

from node_cli.records.run_folder import RunFolder
from tests.reliability.children import Tally, run
from tests.reliability.kills import BUSY, same

VALUES = [None, -1, 0, 1e400, float("nan"), 10**30, "", "x" * 5000, [], {}, True, "1", 0.5]


def mutated(where: Path, count: int) -> Tally:
    """Bytes of any file changed, cut off, repeated or put in at random."""
    return _spoilt(
        where, count, "bytes of a file changed, then `resume=`", _change_bytes, compared=True
    )


def wrong(where: Path, count: int) -> Tally:
    """One value of a checkpoint, a status or a configuration replaced by another."""
    return _spoilt(
        where, count, "a value of a file replaced, then `resume=`", _replace_value, compared=False
    )


def _spoilt(
    where: Path,
    count: int,
    what: str,
    spoil: Callable[[RunFolder, random.Random], str],
    *,
    compared: bool,
) -> Tally:
    """``compared``: whether a resume that succeeds must end as that of the sound run."""
    tally, draw = Tally(what), random.Random(count)
    end = run(where, *BUSY, "hydra.run.dir=sound")
    assert end.code == 0, end.said
    whole = RunFolder(where / "whole")
    shutil.copytree(where / "sound", whole.path)
    end = run(where, "resume=whole", "epochs=4")
    assert end.code == 0, end.said
    for number in range(count):
        folder = RunFolder(where / f"spoilt{number}")
        shutil.copytree(where / "sound", folder.path)
        folder.write_status("interrupted", overrides=BUSY)
        label = spoil(folder, draw)
        end = run(where, f"resume={folder.path.name}", "epochs=4")
        if tally.judge(end, label, codes=(0, 1, 2)) and end.code and "error:" not in end.said:
            tally.add("lost", f"{label}: exit code {end.code} without a word")
        elif end.code == 0 and compared:
            same(tally, whole, folder, label)
        shutil.rmtree(folder.path)
        tally.done += 1
    return tally


def _change_bytes(folder: RunFolder, draw: random.Random) -> str:
    paths = sorted(p for p in folder.path.rglob("*") if p.is_file() and p.stat().st_size)
    path = draw.choice(paths)
    content, way = bytearray(path.read_bytes()), draw.choice(["flip", "cut", "repeat", "put"])
    at = draw.randrange(len(content))
    if way == "flip":
        content[at] ^= 1 << draw.randrange(8)
    elif way == "cut":
        del content[at:]
    elif way == "repeat":
        content[at:at] = content[at : at + 200]
    else:
        content[at:at] = draw.randbytes(20)
    path.write_bytes(content)
    return f"{path.name}: {way} at {at}"


def _replace_value(folder: RunFolder, draw: random.Random) -> str:
    path = draw.choice([folder.last, folder.best, folder.status, folder.config])
    value = draw.choice(VALUES)
    if path.suffix == ".pt":
        tree = torch.load(path, weights_only=True)
        where = _replace(tree, value, draw)
        torch.save(tree, path)
    elif path.suffix == ".json":
        tree = json.loads(path.read_text())
        where = _replace(tree, value, draw)
        path.write_text(json.dumps(tree))
    else:
        tree = yaml.safe_load(path.read_text())
        where = _replace(tree, value, draw)
        path.write_text(yaml.safe_dump(tree))
    return f"{path.name}: {where} = {str(value)[:20]}"


def _replace(tree: Any, value: object, draw: random.Random) -> str:
    """Replace one value at a random depth; return where."""
    where = ""
    while True:
        key = draw.choice([*tree] if isinstance(tree, dict) else range(len(tree)))
        where += f".{key}"
        inner = tree[key]
        if not (isinstance(inner, dict | list) and inner and draw.random() < 0.9):
            tree[key] = value
            return where
        tree = inner
