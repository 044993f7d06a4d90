"""What a checkpoint holds, and whether it fits: checked before anything of it is loaded.

torch itself loads nearly anything into an optimizer, and then crashes in a kernel, or trains on
with other numbers. Keys that older versions did not write are not required.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from node_cli.config.schema import MOST_THREADS
from node_cli.records.progress import Progress

Checkpoint = Mapping[str, Any]

# Settings of an optimizer that change no more than the last digits, and were others once.
HOW_IT_COMPUTES = ("fused", "foreach", "capturable", "differentiable")

PARTS = ("model", "optimizer", "progress", "rng", "config")


class DoesNotFit(ValueError):
    """A part of a checkpoint is not what it must be: its dotted key, and what is wrong with it."""


def check_form(checkpoint: object) -> None:
    """Raise ``DoesNotFit`` unless this is a checkpoint of ours, for whatever model."""
    _require(isinstance(checkpoint, dict), "it is no dict")
    assert isinstance(checkpoint, dict)
    for name in PARTS:
        _require(isinstance(checkpoint.get(name), dict), f"{name}: must be a dict")
    for name, value in checkpoint["model"].items():
        _check_tensor(f"model.{name}", value)
    _check_first_steps(checkpoint.get("first_steps", []))
    _check_progress(checkpoint["progress"])
    _check_fingerprints(checkpoint.get("records", {}))
    if (inputs := checkpoint.get("inputs")) is not None:
        _check_inputs(inputs)
    threads = checkpoint.get("threads", 1)
    right = type(threads) is int and 1 <= threads <= MOST_THREADS
    _require(right, f"threads: {_short(threads)}, must be a number from 1 to {MOST_THREADS}")
    _require(type(checkpoint.get("compiled", False)) is bool, "compiled: must be true or false")
    n = checkpoint.get("processes", 1)
    _require(type(n) is int and n >= 1, f"processes: {_short(n)}, must be a number from 1")


def check_model(
    checkpoint: Checkpoint, expected: Mapping[str, Tensor], *, same_dtype: bool
) -> None:
    """Raise ``DoesNotFit`` unless the weights have the names and shapes of a state dict.

    ``same_dtype``: whether they must have its dtypes too; else a number of another precision will
    do, as for an evaluation in another one.
    """
    given = checkpoint["model"]
    for name in expected:
        _require(name in given, f"model.{name}: missing")
    for name, value in given.items():
        _require(name in expected, f"model.{name}: the model has no such weights")
        _check_like(f"model.{name}", value, expected[name], same_dtype=same_dtype)


def misfits(given: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> dict[str, str]:
    """Return which of the given weights a state dict does not take, and why; a number of another
    precision will do."""
    found = {}
    for name, value in given.items():
        if name not in expected:
            found[name] = "the model has no such weights"
            continue
        try:
            _check_like(name, value, expected[name], same_dtype=False)
        except DoesNotFit as error:
            found[name] = str(error).removeprefix(f"{name}: ")
    return found


def check_optimizer(
    checkpoint: Checkpoint, optimizer: torch.optim.Optimizer, *, every_step_updates: bool
) -> None:
    """Raise ``DoesNotFit`` unless this is the state of such an optimizer after so many updates.

    ``every_step_updates``: whether none of the steps can have been skipped.
    """
    given, steps = checkpoint["optimizer"], checkpoint["progress"]["step"]
    _check_groups(given.get("param_groups"), optimizer.state_dict()["param_groups"])
    state = given.get("state")
    _require(isinstance(state, dict), "optimizer.state: must be a dict")
    expected = state_after_a_step(optimizer)
    if not state and (steps == 0 or not every_step_updates):
        return
    _require(
        state.keys() == expected.keys(),
        f"optimizer.state: of {len(state)} parameters, must be of {len(expected)}",
    )
    for number, values in expected.items():
        where = f"optimizer.state.{number}"
        _require(isinstance(state[number], dict), f"{where}: must be a dict")
        _require(
            state[number].keys() == values.keys(),
            f"{where}: has {_names(state[number])}, must have {_names(values)}",
        )
        for name, value in values.items():
            key = f"{where}.{name}"
            if not isinstance(value, Tensor):
                _require(state[number][name] == value, f"{key}: must be {value}")
                continue
            _check_like(key, state[number][name], value, same_dtype=True)
            _check_values(key, name, state[number][name], steps, exact=every_step_updates)


def state_after_a_step(optimizer: torch.optim.Optimizer) -> dict[int, dict[str, Any]]:
    """What such an optimizer keeps of each parameter once it has made a step: keys, and tensors of
    the right shape, dtype and device. The optimizer itself and its parameters stay as they are."""
    groups = []
    for group in optimizer.param_groups:
        twins = [torch.zeros_like(parameter) for parameter in group["params"]]
        for twin in twins:
            twin.grad = torch.zeros_like(twin)
        groups.append({**group, "params": twins})
    twin_optimizer = type(optimizer)(groups)  # type: ignore[call-arg]
    twin_optimizer.step()
    state: dict[int, dict[str, Any]] = twin_optimizer.state_dict()["state"]
    return state


def load_optimizer(checkpoint: Checkpoint, optimizer: torch.optim.Optimizer) -> None:
    """Take over the state of an optimizer that ``check_optimizer`` has let through.

    Its settings stay those of the configuration. The tensors are copied into ones of the
    optimizer's own making, since its kernels take the layout for granted.
    """
    given = checkpoint["optimizer"]["state"]
    state = state_after_a_step(optimizer) if given else {}
    for number, values in state.items():
        for name, value in values.items():
            if isinstance(value, Tensor):
                value.copy_(given[number][name])
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": groups})


def check_rng(checkpoint: Checkpoint) -> None:
    """Raise ``DoesNotFit`` unless the states of torch's generators are of their size."""
    rng = checkpoint["rng"]
    _check_like("rng.cpu", rng.get("cpu"), torch.get_rng_state(), same_dtype=True)
    states = rng.get("cuda", [])
    _require(isinstance(states, list), "rng.cuda: must be a list")
    for number, value in enumerate(states):
        _check_tensor(f"rng.cuda.{number}", value)
        _require(value.dtype == torch.uint8, f"rng.cuda.{number}: {_dtype(value)}, must be uint8")


def _check_progress(state: Mapping[str, Any]) -> None:
    try:
        progress = Progress.from_state_dict(state)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise DoesNotFit(f"progress: {_first_line(error)}") from error
    sums = progress.sums
    for name, value in (
        ("best_score", progress.best_score),
        *((f"sums.{name}", value) for name, value in sums.state_dict().items()),
    ):
        finite = value is None or isinstance(value, int) or math.isfinite(value)
        _require(finite, f"progress.{name}: {value}, must be finite")
        positive = value is None or value >= 0 or name.startswith("sums.loss")
        _require(positive, f"progress.{name}: {value}, must not be negative")
    score, epoch = progress.best_score, progress.best_epoch
    _require(score is None or score <= 1, f"progress.best_score: {score}, must be at most 1")
    _require(
        (score is None) == (epoch is None) and (epoch is None or 1 <= epoch <= progress.epoch),
        f"progress.best_epoch: {epoch}, with best_score {score} after {progress.epoch} epochs",
    )
    _require(
        sums.skipped <= sums.batches and sums.trained <= sums.images,
        f"progress.sums: {sums.skipped} of {sums.batches} batches skipped, "
        f"{sums.trained} of {sums.images} images trained on",
    )


def _check_first_steps(sizes: object) -> None:
    _require(isinstance(sizes, list), "first_steps: must be a list")
    assert isinstance(sizes, list)
    for number, size in enumerate(sizes):
        right = size is None or (type(size) in (int, float) and 0 < size < math.inf)
        _require(right, f"first_steps.{number}: {size!r}, must be positive")


def _check_fingerprints(taken: object) -> None:
    _require(isinstance(taken, dict), "records: must be a dict")
    assert isinstance(taken, dict)
    for name, value in taken.items():
        right = isinstance(value, dict) and set(value) == {"bytes", "sha256"}
        right = right and type(value["bytes"]) is int and value["bytes"] >= 0
        _require(right and isinstance(value["sha256"], str), f"records.{name}: no fingerprint")


def _check_inputs(inputs: object) -> None:
    """See ``data.inputs.Inputs``."""
    names = ("shape", "mean", "std", "names")
    _require(isinstance(inputs, dict) and inputs.keys() == {*names}, f"inputs: needs {names}")
    assert isinstance(inputs, dict)
    shape, mean, std, classes = (inputs[name] for name in names)
    right = isinstance(shape, list) and len(shape) == 3
    right = right and all(type(n) is int and 0 < n < 2**20 for n in shape)
    _require(right, f"inputs.shape: {_short(shape)}, must be [C, H, W]")
    for name, values in (("mean", mean), ("std", std)):
        numbers = isinstance(values, list) and all(type(x) is float for x in values)
        right = values is None if mean is None else numbers and len(values) == shape[0]
        _require(right, f"inputs.{name}: {_short(values)}, must be a number for each channel")
        finite = values is None or all(math.isfinite(x) for x in values)
        positive = name == "mean" or values is None or all(x > 0 for x in values)
        _require(finite and positive, f"inputs.{name}: {_short(values)}, must be finite, std > 0")
    right = isinstance(classes, list) and bool(classes) and all(type(x) is str for x in classes)
    _require(right, f"inputs.names: {_short(classes)}, must be the names of the classes")


def _check_groups(given: object, expected: Sequence[Mapping[str, Any]]) -> None:
    """Settings of the optimizer: those of the configuration, but for the learning rate, which is
    set anew before each epoch, and for how torch computes a step. Other versions of torch know
    further settings."""
    key = "optimizer.param_groups"
    _require(isinstance(given, list) and len(given) == len(expected), f"{key}: must be a list of 1")
    assert isinstance(given, list)
    for number, (group, right) in enumerate(zip(given, expected, strict=True)):
        _require(isinstance(group, dict), f"{key}.{number}: must be a dict")
        for name in ("lr", "params"):
            _require(name in group, f"{key}.{number}.{name}: missing")
        lr = group["lr"]
        _require(
            isinstance(lr, int | float) and math.isfinite(lr) and lr >= 0,
            f"{key}.{number}.lr: {lr!r}, must be a number",
        )
        for name in sorted(right.keys() & group.keys() - {"lr", *HOW_IT_COMPUTES}):
            value = group[name]
            same = not isinstance(value, Tensor) and _plain(value) == _plain(right[name])
            _require(same, f"{key}.{number}.{name}: {_short(value)}, must be {_short(right[name])}")


def _check_values(key: str, name: str, value: Tensor, steps: int, *, exact: bool) -> None:
    _require(bool(value.isfinite().all()), f"{key}: not finite")
    if name == "step":
        count = float(value)
        right = count == steps if exact else 0 < count <= steps and count.is_integer()
        _require(right, f"{key}: {count:g}, after {steps} steps")
    elif name == "exp_avg_sq":
        _require(bool((value >= 0).all()), f"{key}: negative")


def _check_like(key: str, value: object, expected: Tensor, *, same_dtype: bool) -> None:
    _check_tensor(key, value)
    assert isinstance(value, Tensor)
    shape, right = [*value.shape], [*expected.shape]
    _require(shape == right, f"{key}: shape {shape}, must be {right}")
    similar = value.dtype.is_floating_point and expected.dtype.is_floating_point
    _require(
        value.dtype == expected.dtype or (similar and not same_dtype),
        f"{key}: {_dtype(value)}, must be {_dtype(expected)}",
    )


def _check_tensor(key: str, value: object) -> None:
    """A plain tensor in memory: neither sparse, nor quantized, nor without content."""
    plain = (
        isinstance(value, Tensor)
        and value.layout == torch.strided
        and value.device.type == "cpu"
        and not value.is_quantized
    )
    _require(plain, f"{key}: no tensor")


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise DoesNotFit(message)


def _plain(value: object) -> object:
    """Lists and tuples alike, which an older file may have for betas."""
    return [*value] if isinstance(value, list | tuple) else value


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _dtype(value: Tensor) -> str:
    return str(value.dtype).removeprefix("torch.")


def _names(values: Mapping[str, object]) -> str:
    return ", ".join(sorted(map(str, values))) or "nothing"


def _first_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200]
