"""Data parallelism: two processes, each with half of a batch, train as one with the whole."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, distributed, multiprocessing, nn
from torch.nn.parallel import DistributedDataParallel

from node_cli.models.blocks import ODEBlock
from node_cli.ode.sensitivity.method import Sensitivity
from node_cli.ode.solver import Solver
from node_cli.ode.work import Work
from tests.ode.problems import FLOAT64, MLP, ONE_OF_EACH, relative

PROCESSES = 2
SOLVERS = {
    "rk4": Solver("rk4", n_steps=4),
    "dopri5": Solver("dopri5", rtol=1e-6, atol=1e-6),
}
Result = dict[tuple[str, str], tuple[list[Tensor], Work]]


def classifier(sensitivity: Sensitivity, solver: Solver) -> nn.Module:
    torch.manual_seed(0)
    block = ODEBlock(MLP(), 0.0, 1.0, solver, sensitivity)
    return nn.Sequential(nn.Linear(4, 3), block, nn.Linear(3, 5)).to(FLOAT64)


def batch() -> tuple[Tensor, Tensor]:
    """The second half is larger, and so takes other steps than the first."""
    generator = torch.Generator().manual_seed(7)
    x = torch.randn(12, 4, dtype=FLOAT64, generator=generator)
    x[6:] *= 10
    return x, torch.arange(12) % 5


def gradients(model: nn.Module, x: Tensor, labels: Tensor) -> list[Tensor]:
    nn.functional.cross_entropy(model(x), labels).backward()
    return [p.grad for p in model.parameters() if p.grad is not None]


def train_half(rank: int, folder: str) -> None:
    """What one of the processes does."""
    torch.set_num_threads(1)
    distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=PROCESSES
    )
    x, labels = (part.chunk(PROCESSES)[rank] for part in batch())
    result: Result = {}
    for name, sensitivity in ONE_OF_EACH.items():
        for solver_name, solver in SOLVERS.items():
            model = classifier(sensitivity, solver)
            found = gradients(DistributedDataParallel(model), x, labels)
            result[name, solver_name] = found, model[1].take_work()
    distributed.destroy_process_group()
    torch.save(result, f"{folder}/{rank}.pt")


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> list[Result]:
    """Of every process."""
    folder: Path = tmp_path_factory.mktemp("distributed")
    multiprocessing.spawn(train_half, args=(str(folder),), nprocs=PROCESSES)
    return [torch.load(folder / f"{rank}.pt", weights_only=False) for rank in range(PROCESSES)]


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("sensitivity", ONE_OF_EACH)
def test_gradients_are_those_of_one_process(
    sensitivity: str, solver: str, results: list[Result]
) -> None:
    """With equal steps to rounding, and equal in both processes to the last bit.

    With chosen steps each process takes those of its half, and the gradients agree to within the
    error that the tolerance allows.
    """
    (first, first_work), (second, second_work) = (r[sensitivity, solver] for r in results)
    model = classifier(ONE_OF_EACH[sensitivity], SOLVERS[solver])
    expected = gradients(model, *batch())
    assert len(first) == len(expected) == 8
    for a, b, whole in zip(first, second, expected, strict=True):
        assert torch.equal(a, b)
        assert relative(a, whole) < (1e-12 if solver == "rk4" else 1e-4)
    if solver == "dopri5":
        assert first_work.forward != second_work.forward
        assert any(relative(a, whole) > 1e-12 for a, whole in zip(first, expected, strict=True))
