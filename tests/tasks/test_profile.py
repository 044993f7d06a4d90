"""``task=profile``: every moment of a step is in one part, and counts are those of the records."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from node_cli.config.schema import Config
from node_cli.machine.device import Backend
from node_cli.machine.flops import Flops
from node_cli.machine.memory import Peaks
from node_cli.records.columns import PROFILE
from node_cli.records.run_folder import RunFolder
from node_cli.tasks import bare_f, profile
from node_cli.tasks.bare_f import bare_cost
from node_cli.tasks.profile import Profile
from node_cli.tasks.step_parts import Parts
from tests.commands import NodeTrain
from tests.folders import rows
from tests.pretend_cuda import pretended_cuda
from tests.runs import run

Configure = Callable[..., Config]

SMALL = ["task=profile", "data.limit=60", "batch_size=20"]
METHODS = ["discrete", "checkpointed", "backsolve", "interpolating", "gauss"]
OF_IMAGES = ["data", "stem", "f", "VJPs", "solver", "head", "optimizer", "records"]


@pytest.fixture(autouse=True)
def _brief(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profile, "WARM_UP", 1)
    monkeypatch.setattr(profile, "LEAST_STEPS", 2)
    monkeypatch.setattr(profile, "LEAST_SECONDS", 0.0)
    monkeypatch.setattr(bare_f, "ROUNDS", 1)
    monkeypatch.setattr(bare_f, "LEAST_SECONDS", 0.0)
    monkeypatch.setattr(bare_f, "CALLS", 2)


def test_every_reading_is_in_one_part() -> None:
    """Parts within parts: what an inner one takes is not the outer one's."""
    readings = iter(range(100))
    parts = Parts(lambda: next(readings))
    inner = parts.around("f", lambda x: x + 1, backward=False)
    parts.enter("data")  # 0
    parts.enter("solver")  # 1
    assert inner(1) == 2  # 2, 3
    parts.enter("head")  # 4
    parts.leave()  # 5
    spans = [(place.part, end - start) for place, start, end in parts.spans()]
    assert spans == [("data", 1), ("solver", 1), ("f", 1), ("solver", 1), ("head", 1)]
    with pytest.raises(ZeroDivisionError):
        parts.around("f", lambda: 1 / 0, backward=True)()
    assert parts.place.part == "", "a failure does not leave it there"


def test_the_parts_sum_up_to_the_step(configure: Configure, tmp_path: Path) -> None:
    """Of the very steps that are looked at, but for a twentieth or a millisecond."""
    made = Profile(configure(*SMALL, "batch_size=60"), RunFolder(tmp_path))
    made.setup.model.train()
    outside = []
    with made._observers(None) as observers:  # type: ignore[arg-type]
        for _ in range(4):
            parts: Parts[Any] = Parts(time.perf_counter)
            start = time.perf_counter()
            made._watched_step(observers, parts)
            seconds = time.perf_counter() - start
            added = sum(end - start for _, start, end in parts.spans())
            outside.append((seconds - added) / max(seconds, 0.02))
    assert min(outside[1:]) < 0.05
    assert all(share >= 0 for share in outside)


@pytest.mark.parametrize("sensitivity", METHODS)
def test_a_row_for_each_part(configure: Configure, tmp_path: Path, sensitivity: str) -> None:
    folder = run(configure(*SMALL, f"sensitivity={sensitivity}"), tmp_path / "run")
    *parts, added, step = rows(folder.profile)
    assert list(added) == list(PROFILE.columns)
    assert [row["part"] for row in parts] == OF_IMAGES
    assert (added["part"], step["part"]) == ("sum", "step")
    by_name = {row["part"]: row for row in parts}
    solves = folder.read_result()["solves"]
    assert int(by_name["f"]["calls"]) == solves["evaluations"]
    assert int(by_name["VJPs"]["calls"]) == solves["vjps"]
    for column in ("seconds", "share"):
        total = sum(float(row[column]) for row in parts)
        assert total == pytest.approx(float(added[column]))
    assert all(float(row["peak_memory_mib"]) >= 0 for row in parts)
    again = sensitivity != "discrete"
    assert bool(by_name["f"]["seconds_backward"]) == again
    # 20 images through Linear 784 -> 20: forward, and by the weights backward.
    assert float(by_name["stem"]["flops"]) == 2 * (2 * 20 * 784 * 20)
    evaluation = 2 * 20 * (20 * 10 + 10 * 10 + 10 * 20)
    assert float(by_name["f"]["flops"]) == solves["evaluations"] * evaluation
    assert {p.name for p in folder.path.iterdir()} == {
        *("config.yaml", "status.json", "result.json", "profile.csv")
    }, "nothing else is left"


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        (["model.core=residual", "model.blocks=2"], ["data", "stem", "core", "head"]),
        (["model.core=none"], ["data", "stem", "head"]),
        (["model.weights_in_t=2", "model.dropout_before=0.1"], ["data", "stem", "core", "f"]),
        (["solver.engine=torchdiffeq"], ["data", "stem", "f", "solver", "head"]),
        (["regularize=[error,kinetic]", "train.accumulate=2"], OF_IMAGES),
        (["data=spiral_linear", "model=linear_field"], ["data", "f", "VJPs", "solver", "head"]),
    ],
    ids=lambda value: " ".join(value),
)
def test_other_models(
    configure: Configure, tmp_path: Path, options: list[str], parts: list[str]
) -> None:
    is_fit = options[0].startswith("data=")
    given = SMALL[:1] if is_fit else SMALL
    folder = run(configure(*given, *options), tmp_path / "run")
    found = [row["part"] for row in rows(folder.profile)]
    assert found[: len(parts)] == parts
    assert found[-4:] == ["optimizer", "records", "sum", "step"]


def test_nothing_of_a_step_changes_by_looking(configure: Configure, tmp_path: Path) -> None:
    """The weights after steps that were looked at are those of a training."""
    made = [Profile(configure(*SMALL), RunFolder(tmp_path)) for _ in range(2)]
    for each, look in zip(made, (True, False), strict=True):
        each.setup.model.train()
        with each._observers(None) as observers:  # type: ignore[arg-type]
            for _ in range(3):
                if look:
                    each._watched_step(observers, Parts(time.perf_counter))
                else:
                    each._step(observers)
    one, other = (each.setup.model for each in made)
    for a, b in zip(one.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b)
    assert not any(module._forward_hooks for module in one.modules()), "no hook is left"
    assert all(block.work.meter is None for block in one.ode_blocks)


def test_peaks_between_looks() -> None:
    with Peaks(torch.device("cpu")) as peaks:
        kept = torch.ones(2**18)  # one MiB
        first = peaks.take()
        torch.ones(2**19)  # freed at once
        second = peaks.take()
        del kept
        third, fourth = peaks.take(), peaks.take()
    assert (first, second, third, fourth) == (1, 3, 1, 0)


def test_operations() -> None:
    x, layer = torch.ones(5, 3, requires_grad=True), nn.Linear(3, 4)
    with Flops() as counter:
        y = layer(x)
        assert counter.total == 2 * 5 * 3 * 4
        y.sum().backward()
    assert counter.total == 3 * (2 * 5 * 3 * 4)


def test_what_one_evaluation_takes(
    configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A field that sleeps: its time is that of the sleep, and a product's that of its own."""
    made = Profile(configure(*SMALL), RunFolder(tmp_path))
    (block,) = made.setup.model.ode_blocks

    class Sleeping(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, y: torch.Tensor) -> torch.Tensor:
            time.sleep(0.002)
            return y.clone()

        @staticmethod
        def backward(ctx: Any, grad: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
            time.sleep(0.004)
            return grad

    class Field(nn.Module):
        def forward(self, t: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            found: torch.Tensor = Sleeping.apply(y)
            return found

    block.field = Field()
    backend: Backend = made.setup.backend
    cost = bare_cost(block, torch.ones(2, 20), backend)
    assert 0.002 <= cost.evaluation < 0.01
    assert 0.002 <= cost.product < 0.02


def test_the_command(node_train: NodeTrain, tmp_path: Path, configure: Configure) -> None:
    result = node_train(*SMALL, "hydra.run.dir=run")
    assert result.code == 0, result.err
    for words in ("\nVJPs  ", "\nA step takes ", "times that.\n", "On a CPU memory is that of"):
        assert words in result.out
    run(configure("data.limit=60", "epochs=1", "regularize=error"), tmp_path / "trained")
    result = node_train("task=profile", "checkpoint=trained", "hydra.run.dir=again")
    assert result.code == 0, result.err
    assert "best.pt, after 1 steps\n" in result.out
    assert [*RunFolder(tmp_path / "again").read_config()["regularize"]] == ["error"]
    refused = node_train(*SMALL, "compile=true")
    assert refused.err == (
        "error: compile=true: not used by task=profile, since a compiled step has no parts that "
        "could be told apart\n"
    )


class Event:
    """Stands for one of CUDA: the time when it is recorded."""

    def __init__(self, enable_timing: bool = False) -> None:
        assert enable_timing

    def record(self) -> None:
        self.at = time.perf_counter()

    def elapsed_time(self, other: "Event") -> float:
        return 1000 * (other.at - self.at)


@pytest.mark.slow
def test_on_cuda_parts_are_bounded_by_events(
    configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "Event", Event)
    with pretended_cuda():
        folder = run(configure(*SMALL, "device=cuda"), tmp_path / "run")
    *parts, added, _ = rows(folder.profile)
    assert [row["part"] for row in parts] == OF_IMAGES
    assert float(added["seconds"]) == pytest.approx(sum(float(row["seconds"]) for row in parts))
    assert {row["peak_memory_mib"] for row in parts} == {"1.0"}, "what CUDA says"
