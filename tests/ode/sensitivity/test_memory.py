"""What each sensitivity method keeps between the forward and the backward pass, per step."""

import gc
import os
import subprocess
import sys
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from torch import Tensor, nn

from node_cli.machine.memory import extra_mib
from node_cli.models.blocks import ODEBlock
from node_cli.ode.sensitivity.backsolve import Backsolve
from node_cli.ode.sensitivity.discrete import Checkpointed, Discrete
from node_cli.ode.sensitivity.method import Sensitivity
from node_cli.ode.solver import Solver
from node_cli.ode.tableaus import TABLEAUS
from node_cli.ode.work import Work
from tests.ode.problems import ONE_OF_EACH


class Layer(nn.Module):
    """tanh(A y + t): autograd keeps its input and its result, two states an evaluation."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layer = nn.Linear(width, width)

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return (self.layer(y) + t).tanh()


class Kept:
    """What autograd saves, in an object that lives as long as the graph that saved it."""

    alive: ClassVar["weakref.WeakSet[Kept]"] = weakref.WeakSet()

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor.detach()
        self.alive.add(self)


def bytes_alive() -> int:
    """In all tensors that Python or an autograd graph holds, memory that they share once."""
    gc.collect()
    tensors = [x for x in gc.get_objects() if type(x) in (Tensor, nn.Parameter)]
    tensors += [kept.tensor for kept in Kept.alive]
    storages = {x.untyped_storage().data_ptr(): x.untyped_storage().nbytes() for x in tensors}
    return sum(storages.values())


@pytest.fixture(autouse=True)
def _only_what_is_new() -> Iterator[None]:
    """Whatever was there before a test is left out of its search, which would take long."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


def kept_after_forward(
    sensitivity: Sensitivity, solver: Solver, times: tuple[float, ...] = (0.0, 1.0)
) -> tuple[float, int]:
    """States (in their size) that are kept for the backward pass, and accepted steps."""
    torch.manual_seed(0)
    field, y0, work = Layer(16), torch.randn(256, 16, requires_grad=True), Work()
    before = bytes_alive()
    with torch.autograd.graph.saved_tensors_hooks(Kept, lambda kept: kept.tensor):
        y = sensitivity(field, y0, torch.tensor(times, dtype=torch.float64), solver, work)
    kept = bytes_alive() - before
    y.sum().backward()
    assert work.forward.accepted is not None
    return kept / (y0.numel() * y0.element_size()), work.forward.accepted


def kept_per_step(sensitivity: Sensitivity, name: str) -> float:
    """States per accepted step, from solves with few and with many steps."""
    few, many = (
        [Solver(name, n_steps=n) for n in (5, 25)]
        if name in ("euler", "rk4")
        else [Solver(name, rtol=tol, atol=tol, first_step=0.01) for tol in (1e-3, 1e-6)]
    )
    (kept, n), (kept_more, n_more) = (kept_after_forward(sensitivity, s) for s in (few, many))
    assert n_more > n
    return (kept_more - kept) / (n_more - n)


@pytest.mark.parametrize(("name", "evaluations"), [("euler", 1), ("rk4", 4), ("dopri5", 6)])
def test_discrete_keeps_the_activations_of_every_evaluation(name: str, evaluations: int) -> None:
    """Two states an evaluation here; y1 of a step is the input of the next one's first."""
    per_step = kept_per_step(Discrete(), name)
    assert 2 * evaluations - 0.1 <= per_step <= 2 * evaluations + 0.6


@pytest.mark.parametrize("name", ["euler", "rk4", "dopri5", "dopri8"])
def test_checkpointed_keeps_one_state_per_accepted_step(name: str) -> None:
    per_step = kept_per_step(Checkpointed(), name)
    assert 0.99 <= per_step <= 1.01


@pytest.mark.parametrize("name", ["euler", "rk4", "dopri5", "dopri8"])
def test_backsolve_keeps_nothing_of_its_steps(name: str) -> None:
    """But y at the requested times, once more for each of them."""
    assert kept_per_step(Backsolve(), name) == pytest.approx(0, abs=0.01)
    solver = Solver("rk4", n_steps=2)
    two, _ = kept_after_forward(Backsolve(), solver)
    five, _ = kept_after_forward(Backsolve(), solver, (0.0, 0.2, 0.4, 0.6, 1.0))
    assert five - two == pytest.approx(3, abs=0.01)


@pytest.mark.parametrize("name", ["euler", "rk4", "dopri5", "tsit5", "dopri8"])
@pytest.mark.parametrize("sensitivity", ["interpolating", "gauss"])
def test_dense_output_keeps_y_and_f_where_steps_meet(sensitivity: str, name: str) -> None:
    """2 states a step, and those that the polynomial meets within it: 1 with dopri5 and tsit5, 4
    with dopri8."""
    kept = 2 + len(TABLEAUS[name].interior)
    per_step = kept_per_step(ONE_OF_EACH[sensitivity], name)
    assert kept - 0.1 <= per_step <= kept + 0.05


@pytest.mark.parametrize("sensitivity", ONE_OF_EACH)
def test_nothing_is_kept_after_the_backward_pass(sensitivity: str) -> None:
    """Nor where no gradient is wanted."""
    solver = Solver("dopri5", rtol=1e-4, atol=1e-4)
    kept_after_forward(ONE_OF_EACH[sensitivity], solver)  # fills what is cached once for all
    before = bytes_alive()
    kept_after_forward(ONE_OF_EACH[sensitivity], solver)
    assert bytes_alive() == before
    field, y0 = Layer(16), torch.randn(256, 16)
    before = bytes_alive()
    with torch.no_grad():
        y = ONE_OF_EACH[sensitivity](field, y0, torch.tensor([0.0, 1.0]), solver, Work())
    assert bytes_alive() - before == y.numel() * 4


def peak_of_blocks(blocks: int, sensitivity: str, n: int) -> float:
    """Of the tensors alive at once, forward and backward, in states."""
    block = [ODEBlock(Layer(16), 0.0, 1.0, Solver("rk4", n_steps=n), ONE_OF_EACH[sensitivity])]
    chain, y0 = nn.Sequential(*block * blocks), torch.randn(1024, 16)
    for parameter in chain.parameters():
        parameter.grad = torch.zeros_like(parameter)
    peak = extra_mib(lambda: chain(y0).sum().backward(), torch.device("cpu"))
    return peak * 2**20 / y0.nbytes


@pytest.mark.parametrize(
    ("sensitivity", "per_step"),
    [("discrete", 8), ("checkpointed", 1), ("backsolve", 0), ("interpolating", 2), ("gauss", 2)],
)
def test_the_peak_grows_with_the_steps_as_told(sensitivity: str, per_step: int) -> None:
    """No method keeps anything of its backward steps, nor of the stages that it computes again."""
    few, many = (peak_of_blocks(1, sensitivity, n) for n in (4, 14))
    assert (many - few) / 10 == pytest.approx(per_step, abs=0.05)


@pytest.mark.parametrize(
    ("sensitivity", "kept"),
    [("checkpointed", 5), ("backsolve", 1), ("interpolating", 10), ("gauss", 10)],
)
def test_a_block_frees_what_it_computed_again_before_the_next(sensitivity: str, kept: int) -> None:
    """A further block adds what its forward pass has kept to the peak, and y at both times."""
    one, three = (peak_of_blocks(blocks, sensitivity, 4) for blocks in (1, 3))
    assert (three - one) / 2 == pytest.approx(kept + 2, abs=0.05)


# States of 4 MiB, so that what Python and torch allocate besides is noise.
PEAK = """
import sys, torch
from pathlib import Path
from node_cli.ode.solver import Solver
from node_cli.ode.work import Work
from tests.ode.problems import ONE_OF_EACH
from tests.ode.sensitivity.test_memory import Layer
torch.set_num_threads(1)
name, n = sys.argv[1], int(sys.argv[2])
y0 = torch.randn(65536, 16, requires_grad=True)
times = torch.tensor([0.0, 1.0], dtype=torch.float64)
y = ONE_OF_EACH[name](Layer(16), y0, times, Solver("rk4", n_steps=n), Work())
y[-1].sum().backward()
# Not ru_maxrss, which a process takes over from the one that has started it.
print(int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) / 2**12)
"""


def peak(sensitivity: str, n: int) -> float:
    """Of the resident memory of a process of its own, forward and backward, in states."""
    result = subprocess.run(
        [sys.executable, "-c", PEAK, sensitivity, str(n)],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[3],
        # A fixed threshold: what is freed goes back to the system at once.
        env=os.environ | {"MALLOC_MMAP_THRESHOLD_": str(2**20)},
    )
    return float(result.stdout)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sensitivity", "least", "most"),
    [
        ("discrete", 7.5, 9.5),
        ("checkpointed", 0.8, 1.3),
        ("backsolve", -0.3, 0.3),
        ("interpolating", 1.6, 2.6),
        ("gauss", 1.6, 2.6),
    ],
)
def test_resident_memory_grows_with_the_steps_as_told(
    sensitivity: str, least: float, most: float
) -> None:
    per_step = (peak(sensitivity, 30) - peak(sensitivity, 10)) / 20
    assert least <= per_step <= most
