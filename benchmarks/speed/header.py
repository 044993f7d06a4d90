"""What a benchmark ran on, for its header."""

import os
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from node_cli.machine.device import Backend
from node_cli.machine.environment import environment

PEERS = ("torchdyn", "torchode", "diffrax", "jax", "optax")


def header(device: str) -> dict[str, str]:
    """Machine, versions, commit; a package that is not there is named as not installed."""
    facts = environment(Backend(torch.device(device), "float32", torch.float32), packages={})
    machine = f"{_cpu() or facts['device_name']}, {os.cpu_count()} cores"
    if device == "cuda":
        machine += f", {facts['device_name']}"
    packages = {name: facts["packages"][name] for name in ("torch", "torchdiffeq")}
    packages |= {name: _version(name) for name in PEERS}
    versions = ", ".join(f"{name} {number or 'not installed'}" for name, number in packages.items())
    return {
        "machine": machine,
        "versions": f"Python {facts['python']}, {versions}",
        "node-train": f"{facts['node_train']}, commit {facts['commit']}",
    }


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _cpu() -> str | None:
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else None
