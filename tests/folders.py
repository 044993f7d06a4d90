"""Reading and comparing run folders, for tests."""

import csv
from collections.abc import Collection
from pathlib import Path
from typing import Any

import torch

from node_cli.records.run_folder import RunFolder

TIMES_AND_MEMORY = {"seconds", "eval_seconds", "images_per_s", "peak_memory_mib"}


def rows(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def facts(path: Path) -> list[dict[str, str]]:
    """Rows without times and memory."""
    return [{k: v for k, v in row.items() if k not in TIMES_AND_MEMORY} for row in rows(path)]


def weights(checkpoint: Path) -> dict[str, torch.Tensor]:
    loaded: dict[str, Any] = torch.load(checkpoint, weights_only=True)
    return loaded["model"]


def same_weights(a: Path, b: Path) -> bool:
    others = weights(b)
    return all(torch.equal(w, others[name]) for name, w in weights(a).items())


def assert_same_run(a: RunFolder, b: RunFolder, besides: Collection[str] = ()) -> None:
    """Weights, and every record apart from times and memory, are the same to the last bit.
    ``besides``: root keys of the configuration that differ."""
    assert same_weights(a.last, b.last)
    assert same_weights(a.best, b.best)
    for name in ("steps", "epochs", "evaluations"):
        assert facts(getattr(a, name)) == facts(getattr(b, name))
    metrics = []
    for folder in (a, b):
        result = folder.read_result()
        result["metrics"] = {
            k: v for k, v in result["metrics"].items() if k not in TIMES_AND_MEMORY
        }
        metrics.append({k: v for k, v in result.items() if k not in TIMES_AND_MEMORY})
    assert metrics[0] == metrics[1]
    configs = [folder.read_config() for folder in (a, b)]
    for config in configs:
        for key in besides:
            del config[key]
    assert configs[0] == configs[1]
    assert a.read_status()["status"] == b.read_status()["status"] == "done"
