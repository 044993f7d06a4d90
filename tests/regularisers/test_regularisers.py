"""What each regulariser measures and differentiates, in the solves of an ODE block."""

from collections.abc import Mapping

import pytest
import torch
from torch import Tensor, nn

from node_cli.models.blocks import ODEBlock
from node_cli.ode.engines.eager.single_step import single_step
from node_cli.ode.penalties import error_of_step
from node_cli.ode.sensitivity.backsolve import Backsolve
from node_cli.ode.sensitivity.discrete import Checkpointed, Discrete
from node_cli.ode.sensitivity.gauss import Gauss
from node_cli.ode.sensitivity.interpolating import Interpolating
from node_cli.ode.sensitivity.method import Sensitivity
from node_cli.ode.solver import Solver
from node_cli.regularisers.options import Options, Steer, Taylor, Weighted
from node_cli.regularisers.regulariser import Regulariser
from node_cli.regularisers.solves import RegularisedSolves
from node_cli.regularisers.table import REGULARISERS

TIGHT = Solver("dopri8", rtol=1e-9, atol=1e-9)
FIXED = Solver("rk4", n_steps=2)

METHODS: dict[str, Sensitivity] = {
    "discrete": Discrete(),
    "checkpointed": Checkpointed(),
    "backsolve": Backsolve(norm="full", solver=TIGHT),
    "interpolating": Interpolating(norm="seminorm", solver=TIGHT),
    "gauss": Gauss(solver=TIGHT),
}


class Field(nn.Module):
    """tanh(W [y, t]), in float64."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(3)
        self.weight = nn.Parameter(torch.randn(3, 4, dtype=torch.float64, generator=generator))

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return (torch.cat([y, t.expand(len(y), 1)], 1) @ self.weight.T).tanh()


class Linear(nn.Module):
    """A y."""

    def __init__(self, matrix: list[list[float]]) -> None:
        super().__init__()
        self.matrix = nn.Parameter(torch.tensor(matrix, dtype=torch.float64))

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return y @ self.matrix.T


def start(width: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(5)
    return torch.randn(2, width, dtype=torch.float64, generator=generator)


def options(name: str) -> Options:
    match REGULARISERS[name].options.__name__:
        case "Taylor":
            return Taylor(name=name, weight=1.0, order=3)
        case "Steer":
            return Steer(name=name, half_width=0.4)
    return Weighted(name=name, weight=1.0)


def regulariser(name: str) -> Regulariser:
    found: Regulariser = REGULARISERS[name].build(options(name))
    return found


def measured(
    block: ODEBlock, y: Tensor, chosen: Mapping[str, Regulariser], seed: int = 0
) -> tuple[Tensor, dict[str, Tensor]]:
    """y(t1), and what the regularisers measure; the same draws each time."""
    generators = {name: torch.Generator().manual_seed(seed) for name in chosen}
    solves = RegularisedSolves(chosen, generators)
    with block.solved_by(solves):
        y1 = block(y)
    return y1, solves.measured


def numbers(
    block: ODEBlock, y: Tensor, chosen: Mapping[str, Regulariser], seed: int = 0
) -> dict[str, float]:
    return {n: float(x.detach()) for n, x in measured(block, y, chosen, seed)[1].items()}


NAMES = ("kinetic", "jacobian", "steer", "decay", "local")
PAIRS = [(name, method) for name in NAMES for method in METHODS]
SLOW = [pytest.param("taylor", method, marks=pytest.mark.slow) for method in [*METHODS][1:]]


@pytest.mark.parametrize(("name", "method"), [*PAIRS, ("taylor", "discrete"), *SLOW])
def test_gradients_are_those_of_finite_differences(name: str, method: str) -> None:
    """Of those that work with every gradient method, and a local step of a fixed size."""
    field, y0 = Field(), start().requires_grad_()
    block = ODEBlock(field, 0.0, 1.0, TIGHT, METHODS[method])

    def loss() -> Tensor:
        y1, found = measured(block, y0, {name: regulariser(name)})
        return y1.square().sum() + sum(found.values())

    loss().backward()
    generator = torch.Generator().manual_seed(0)
    for x in (y0, field.weight):
        direction = torch.randn(x.shape, dtype=torch.float64, generator=generator)
        values = []
        for sign in (1, -1):
            with torch.no_grad():
                x += sign * 1e-5 * direction
            values.append(loss().detach())
            with torch.no_grad():
                x -= sign * 1e-5 * direction
        expected = (values[0] - values[1]) / 2e-5
        assert x.grad is not None
        # The size of a local step changes with y, which its gradient does not count.
        rtol = 2e-2 if name == "local" else 1e-6
        torch.testing.assert_close((x.grad * direction).sum(), expected, rtol=rtol, atol=1e-7)


def test_integrals_of_a_linear_ode() -> None:
    """y = exp(a t) y0: the integrals are known."""
    a, y0 = 0.7, torch.tensor([[2.0]], dtype=torch.float64)
    block = ODEBlock(Linear([[a]]), 0.0, 1.0, TIGHT, Discrete())
    energy = 4 * (torch.e ** (2 * a) - 1) / (2 * a)
    second = REGULARISERS["taylor"].build(Taylor(name="taylor", weight=1.0, order=2))
    chosen = {"kinetic": regulariser("kinetic"), "third": regulariser("taylor"), "second": second}
    found = numbers(block, y0, chosen)
    assert found["kinetic"] == pytest.approx(a**2 * energy)
    assert found["second"] == pytest.approx(a**4 * energy)
    assert found["third"] == pytest.approx(a**6 * energy)


def test_the_derivatives_count_the_time() -> None:
    """f = t^2: d^2 y/dt^2 = 2 t, d^3 y/dt^3 = 2."""

    class Square(nn.Module):
        def forward(self, t: Tensor, y: Tensor) -> Tensor:
            return t.square() + 0 * y

    block = ODEBlock(Square(), 0.0, 1.0, TIGHT, Discrete())
    second = REGULARISERS["taylor"].build(Taylor(name="taylor", weight=1.0, order=2))
    found = numbers(block, start(), {"third": regulariser("taylor"), "second": second})
    assert found == {"second": pytest.approx(4 / 3), "third": pytest.approx(4)}


def test_the_expectation_of_the_jacobian_is_its_frobenius_norm() -> None:
    matrix = [[0.3, -0.8], [0.5, 0.1]]
    block = ODEBlock(Linear(matrix), 0.0, 1.0, FIXED, Discrete())
    found = [
        numbers(block, start(2), {"jacobian": regulariser("jacobian")}, seed)["jacobian"]
        for seed in range(150)
    ]
    expected = float(torch.tensor(matrix).square().sum()) / 2
    assert sum(found) / len(found) == pytest.approx(expected, rel=0.15)
    assert len(set(found)) == len(found)


def test_an_integral_leaves_the_solution_as_it_is() -> None:
    block, y0 = ODEBlock(Field(), 0.0, 1.0, FIXED, Discrete()), start()
    chosen = {name: regulariser(name) for name in ("kinetic", "jacobian", "taylor")}
    assert torch.equal(measured(block, y0, chosen)[0], block(y0))


def test_steer_ends_within_its_half_width() -> None:
    """Of dy/dt = 1, y tells the time; evaluation keeps the interval."""

    class One(nn.Module):
        def forward(self, t: Tensor, y: Tensor) -> Tensor:
            return torch.ones_like(y)

    block, y0 = ODEBlock(One(), 0.0, 1.0, FIXED, Discrete()), torch.zeros(1, 1).double()
    ends = [float(measured(block, y0, {"steer": regulariser("steer")}, s)[0]) for s in range(200)]
    assert min(ends) > 0.6 and max(ends) < 1.4
    assert sum(ends) / len(ends) == pytest.approx(1.0, abs=0.05)
    assert max(ends) - min(ends) > 0.7
    assert float(block(y0)) == pytest.approx(1.0)


def test_steer_and_an_integral_together() -> None:
    """The integral goes as far as the solution: of dy/dt = 1, both are the end."""

    class One(nn.Module):
        def forward(self, t: Tensor, y: Tensor) -> Tensor:
            return torch.ones_like(y)

    block, y0 = ODEBlock(One(), 0.0, 1.0, FIXED, Discrete()), torch.zeros(1, 1).double()
    y1, found = measured(block, y0, {n: regulariser(n) for n in ("steer", "kinetic")})
    assert float(y1) == pytest.approx(float(found["kinetic"]))


def test_a_local_penalty_lands_on_its_time_and_returns_the_end_alone() -> None:
    block, y0 = ODEBlock(Field(), 0.0, 1.0, TIGHT, Discrete()), start()
    y1, found = measured(block, y0, {"local": regulariser("local")})
    torch.testing.assert_close(y1, block(y0), rtol=1e-9, atol=1e-9)
    assert 0 < float(found["local"].detach()) < 1


@pytest.mark.parametrize("tolerance", [1e-6, 1e-9])
def test_a_local_step_has_the_size_that_the_solver_would_take(tolerance: float) -> None:
    """Its error is near the tolerance, far above rounding."""
    solver = Solver("tsit5", rtol=tolerance, atol=tolerance)
    for t in (0.0, 1.7, 5.2):
        step = single_step(Field(), solver, t, start(), 10.0)
        assert 0.05 < float(error_of_step(solver, step).detach()) < 1.5
        assert step.dt > 0
        assert single_step(Field(), solver, t, start(), t + 0.01).dt <= 0.0101, "not beyond the end"


def test_every_evaluation_for_a_penalty_is_counted() -> None:
    calls = 0

    class Counting(Field):
        def forward(self, t: Tensor, y: Tensor) -> Tensor:
            nonlocal calls
            calls += 1
            return super().forward(t, y)

    solver = Solver("tsit5", rtol=1e-3, atol=1e-3)
    for name in ("kinetic", "taylor", "local", "error", "local_biased", "stiffness"):
        block, calls = ODEBlock(Counting(), 0.0, 1.0, solver, Discrete()), 0
        measured(block, start(), {name: regulariser(name)})
        work = block.take_work()
        assert calls == work.nfe_forward + work.nfe_penalty, name


def test_a_weight_goes_from_one_to_the_other() -> None:
    weights = Weighted(name="error", weight=100.0, final_weight=1.0)
    assert [weights.at(x) for x in (0.0, 0.5, 1.0)] == pytest.approx([100, 10, 1])
    assert Weighted(name="error", weight=3.0).at(0.7) == 3


def test_several_blocks_add_up() -> None:
    block, y0 = ODEBlock(Field(), 0.0, 1.0, FIXED, Discrete()), start()
    solves = RegularisedSolves({"kinetic": regulariser("kinetic")}, {"kinetic": torch.Generator()})
    with block.solved_by(solves):
        block(y0)
        once = float(solves.measured["kinetic"].detach())
        block(y0)
    assert float(solves.measured["kinetic"].detach()) == pytest.approx(2 * once)


def test_every_row_can_be_built() -> None:
    """Every row can be built, and knows its source."""
    for name, traits in REGULARISERS.items():
        assert isinstance(regulariser(name), Regulariser)
        assert traits.source and traits.cost and traits.meaning
