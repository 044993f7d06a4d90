"""Compiled solves: one graph each, the same numbers, and no graph made anew while sizes change.

Without the code generator, unless slow: what is traced, and how often, does not depend on it.
"""

import pytest
import torch
from torch import Tensor, nn

from node_cli.models.blocks import ODEBlock
from node_cli.models.fields import FIELDS
from node_cli.ode.engines.compiled.field import CompiledField
from node_cli.ode.sensitivity.backsolve import Backsolve
from node_cli.ode.sensitivity.discrete import Checkpointed, Discrete
from node_cli.ode.sensitivity.gauss import Gauss
from node_cli.ode.sensitivity.interpolating import Interpolating
from node_cli.ode.sensitivity.method import Sensitivity
from node_cli.ode.solver import Solver
from node_cli.ode.work import Work
from tests.models.states import UNBOUNDED, WITH_BUFFERS, state
from tests.ode.problems import times

UNIT = times(0.0, 1.0)


# Dynamo looks at the gradients of whatever it meets.
pytestmark = pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")


def field_and_start(name: str) -> tuple[nn.Module, Tensor]:
    torch.manual_seed(0)
    return FIELDS[name](state(name)).double(), torch.randn(2, *state(name), dtype=torch.float64)


def train(
    field: nn.Module,
    y0: Tensor,
    sensitivity: Sensitivity,
    solver: Solver,
    t: Tensor = UNIT,
    faster: float = 1.7,
) -> list[tuple[list[Tensor], Work]]:
    """Gradients and work of a few steps, between which f gets faster and so its steps shorter."""
    found = []
    parameters = list(field.parameters())
    for _ in range(4):
        work = Work()
        y0 = y0.detach().requires_grad_()
        y = sensitivity(field, y0, t, solver, work)[1:]
        gradients = torch.autograd.grad((y**2).sum(), [y0, *parameters])
        found.append(([y.detach(), *gradients], work))
        with torch.no_grad():
            for p in parameters:
                p *= faster
    return found


def assert_equal(
    ours: list[tuple[list[Tensor], Work]], expected: list[tuple[list[Tensor], Work]], tol: float
) -> None:
    for (tensors, work), (others, other_work) in zip(ours, expected, strict=True):
        assert work == other_work
        scale = max(float(b.norm()) for b in others)
        for a, b in zip(tensors, others, strict=True):
            assert float((a - b).norm()) <= tol * scale


@pytest.mark.parametrize(
    "name",
    [
        name if name == "linear" else pytest.param(name, marks=pytest.mark.slow)
        for name in FIELDS
        if name not in WITH_BUFFERS
    ],
)
def test_no_field_needs_a_new_graph_when_step_sizes_change(name: str, graphs: list[object]) -> None:
    field, y0 = field_and_start(name)
    faster = 1.2 if name in UNBOUNDED else 1.7
    solver = Solver("dopri5", rtol=1e-4, atol=1e-4, max_steps=1000)
    solves = CompiledField(field)
    compiled = train(solves, y0, Discrete(), solver, faster=faster)
    assert len({work.forward.accepted for _, work in compiled}) > 1
    assert len(graphs) == 2  # the solve and its adjoint
    train(solves, 0.5 * y0, Discrete(), solver, faster=faster)
    assert len(graphs) == 2
    field, y0 = field_and_start(name)
    assert_equal(compiled, train(field, y0, Discrete(), solver, faster=faster), 1e-10)


DENSE_OUTPUT = [Interpolating(), Gauss()]  # a dozen seconds each to trace
METHODS = [Discrete(), Checkpointed(), Backsolve("seminorm"), *DENSE_OUTPUT]


@pytest.mark.usefixtures("graphs")
@pytest.mark.parametrize(
    "sensitivity", [METHODS[0], *(pytest.param(m, marks=pytest.mark.slow) for m in METHODS[1:])]
)
def test_every_method_gives_the_same_gradient_at_the_same_cost(sensitivity: Sensitivity) -> None:
    field, y0 = field_and_start("dense")
    solver = Solver("tsit5", rtol=1e-4, atol=1e-4, max_steps=1000)
    compiled = train(CompiledField(field), y0, sensitivity, solver)
    field, y0 = field_and_start("dense")
    assert_equal(compiled, train(field, y0, sensitivity, solver), 1e-8)


@pytest.mark.usefixtures("graphs")
@pytest.mark.slow
@pytest.mark.parametrize("sensitivity", [Discrete(), Gauss()])
def test_a_tape_is_used_again_only_where_nobody_holds_its_recording(
    sensitivity: Sensitivity,
) -> None:
    field, y0 = field_and_start("dense")
    solver, called = Solver("bosh3", rtol=1e-3, atol=1e-3), CompiledField(field)
    expected = train(field_and_start("dense")[0], y0, sensitivity, solver, faster=1.0)[0][0][1:]

    def solution(scale: float) -> tuple[Tensor, Tensor]:
        start = (scale * y0).requires_grad_()
        return start, sensitivity(called, start, UNIT, solver, Work())[1:]

    def gradients(start: Tensor, y: Tensor) -> list[Tensor]:
        return list(torch.autograd.grad((y**2).sum(), [start, *field.parameters()]))

    first = solution(1.0)
    solution(-0.5)
    third = solution(0.7)
    for found in (gradients(*first), gradients(*solution(1.0))):
        for a, b in zip(found, expected, strict=True):
            torch.testing.assert_close(a, b)
    gradients(*third)
    del first, third
    tapes = {key: tape for key, (tape, _) in called._lent.items()}
    gradients(*solution(1.0))
    assert all(called._lent[key][0] is tape for key, tape in tapes.items())


@pytest.mark.usefixtures("graphs")
@pytest.mark.slow
@pytest.mark.parametrize("sensitivity", DENSE_OUTPUT)
def test_the_stages_that_dense_output_adds(sensitivity: Sensitivity) -> None:
    """Only where steps are accepted, and counted."""
    field, y0 = field_and_start("dense")
    solver = Solver("dopri8", rtol=1e-7, atol=1e-7, max_steps=1000, first_step=2.0)
    compiled = train(CompiledField(field), y0, sensitivity, solver, times(0.0, 0.6, 2.0))
    assert any(work.forward.rejected for _, work in compiled)
    field, y0 = field_and_start("dense")
    expected = train(field, y0, sensitivity, solver, times(0.0, 0.6, 2.0))
    assert_equal(compiled, expected, 1e-8)


@pytest.mark.usefixtures("graphs")
@pytest.mark.parametrize(
    "sensitivity",
    [
        pytest.param(method, marks=pytest.mark.slow) if method in METHODS[1:] else method
        for method in METHODS
    ],
)
def test_any_times_and_the_pi_controller(sensitivity: Sensitivity) -> None:
    field, y0 = field_and_start("dense")
    t = times(0.7, 0.4, -0.5)
    solver = Solver("bosh3", rtol=1e-3, atol=1e-3, max_steps=1000, controller="pi")
    compiled = train(CompiledField(field), y0, sensitivity, solver, t)
    field, y0 = field_and_start("dense")
    assert_equal(compiled, train(field, y0, sensitivity, solver, t), 1e-8)


@pytest.mark.usefixtures("graphs")
@pytest.mark.parametrize(
    ("name", "sensitivity"),
    [
        ("euler", Discrete()),
        pytest.param("heun3", Checkpointed(), marks=pytest.mark.slow),
        pytest.param("rk4", Discrete(), marks=pytest.mark.slow),
    ],
)
def test_fixed_steps(name: str, sensitivity: Sensitivity) -> None:
    field, y0 = field_and_start("dense")
    solver = Solver(name, n_steps=3)
    compiled = train(CompiledField(field), y0, sensitivity, solver)
    field, y0 = field_and_start("dense")
    assert_equal(compiled, train(field, y0, sensitivity, solver), 1e-10)


@pytest.mark.usefixtures("graphs")
@pytest.mark.parametrize("name", [pytest.param("fehlberg2", marks=pytest.mark.slow), "bosh3"])
def test_adaptive_steps(name: str) -> None:
    field, y0 = field_and_start("dense")
    solver = Solver(name, rtol=1e-3, atol=1e-3, max_steps=1000)
    compiled = train(CompiledField(field), y0, Discrete(), solver)
    field, y0 = field_and_start("dense")
    assert_equal(compiled, train(field, y0, Discrete(), solver), 1e-10)


class Normed(nn.Module):
    """A field with buffers."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Tanh()).double()

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        dy: Tensor = self.net(y)
        return dy


@pytest.mark.usefixtures("graphs")
@pytest.mark.parametrize("sensitivity", [Discrete(), Checkpointed(), Backsolve()])
def test_buffers_are_updated_as_without_compiling(sensitivity: Sensitivity) -> None:
    """Only the field is compiled then."""
    y0 = torch.randn(6, 4, dtype=torch.float64, requires_grad=True)
    found = []
    fields = Normed(), Normed()
    for field in fields:
        block = ODEBlock(field, 0.0, 1.0, Solver("rk4", n_steps=2), sensitivity)
        if field is fields[1]:
            block.compile_core(solves=True)
        y = block(y0)
        gradients = torch.autograd.grad((y**2).sum(), [y0, *field.parameters()])
        found.append([([y.detach(), *gradients], block.take_work())])
    assert_equal(*found, 1e-9)
    for a, b in zip(*(field.buffers() for field in fields), strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.usefixtures("graphs")
@pytest.mark.parametrize("sensitivity", [Discrete(), Interpolating()])
def test_compiled_vjps_are_those_of_autograd(sensitivity: Sensitivity) -> None:
    field, y0 = field_and_start("dense")
    solver = Solver("dopri5", rtol=1e-4, atol=1e-4, max_steps=1000)
    field.compile(fullgraph=True, dynamic=False, backend="aot_eager")
    compiled = train(field, y0, sensitivity, solver)
    field, y0 = field_and_start("dense")
    assert_equal(compiled, train(field, y0, sensitivity, solver), 1e-8)


@pytest.mark.slow
@pytest.mark.usefixtures("_loops_write")
@pytest.mark.parametrize("sensitivity", METHODS)
def test_generated_code_gives_the_same_gradient(sensitivity: Sensitivity) -> None:
    torch.compiler.reset()
    field, y0 = field_and_start("dense")
    solver = Solver("dopri5", rtol=1e-3, atol=1e-3, max_steps=1000)
    compiled = train(CompiledField(field.float()), y0.float(), sensitivity, solver)
    field, y0 = field_and_start("dense")
    expected = train(field.float(), y0.float(), sensitivity, solver)
    for (tensors, _), (others, _) in zip(compiled[:2], expected[:2], strict=True):
        for a, b in zip(tensors, others, strict=True):
            assert float((a - b).norm()) <= 1e-5 * float(b.norm())


@pytest.mark.slow
@pytest.mark.usefixtures("_loops_write")
@pytest.mark.parametrize("sensitivity", [Discrete(), Gauss()])
def test_memory_layouts_do_not_matter(sensitivity: Sensitivity) -> None:
    """Of the state, and of dL/dy, which is one number spread over all places."""
    torch.compiler.reset()
    field, y0 = field_and_start("dense")
    solver = Solver("dopri5", rtol=1e-4, atol=1e-4, max_steps=1000)
    compiled = CompiledField(field)
    found = []
    for start in (y0, y0.t().contiguous().t()):
        for called in (compiled, field):
            y = sensitivity(called, start.clone().requires_grad_(), UNIT, solver, Work())
            found.append(torch.autograd.grad(y.sum(), list(field.parameters())))
    for others in found[1:]:
        for a, b in zip(found[0], others, strict=True):
            torch.testing.assert_close(a, b)
