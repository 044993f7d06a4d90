"""Products of f by its layers: those of autograd, and only where nobody could notice."""

from collections.abc import Callable
from itertools import product as pairs
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from node_cli.models.activations import ACTIVATIONS as BY_NAME
from node_cli.ode.autonomous import Autonomous
from node_cli.ode.engines.eager import layers
from node_cli.ode.engines.eager.layers import (
    ACTIVATIONS,
    LinearisedLayers,
    evaluated,
    linearised,
)
from node_cli.ode.engines.eager.linearised import Linearised
from node_cli.ode.norms import rms_norm
from node_cli.ode.problem import Problem
from node_cli.ode.solver import Solver
from node_cli.ode.work import Work
from tests.ode.problems import ONE_OF_EACH

TIME = torch.zeros(())
SOLVER = Solver("dopri5", rtol=1e-4, atol=1e-4)


def problem_of(field: nn.Module, y: Tensor, solver: Solver = SOLVER) -> Problem:
    return Problem.posed(field, y, torch.tensor([0.0, 1.0]), solver, Work(), norm=rms_norm)


def chain(activation: nn.Module | None = None, *, bias: bool = True) -> Autonomous:
    torch.manual_seed(0)
    activation = activation or nn.Tanh()
    return Autonomous(nn.Sequential(nn.Linear(5, 7, bias=bias), activation, nn.Linear(7, 5)))


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_products_are_those_of_autograd_to_the_last_bit(
    activation: type[nn.Module], dtype: torch.dtype
) -> None:
    field = chain(activation(), bias=activation is not nn.ReLU).to(dtype)
    y, v = torch.randn(2, 33, 5, dtype=dtype).unbind()
    problem = problem_of(field, y)
    with torch.no_grad():
        by_layers = linearised(problem)
        by_graph = Linearised(problem.counted(), problem.parameters)
        assert type(by_layers) is LinearisedLayers
        stage, other = by_layers.evaluate(TIME, y.clone()), by_graph.evaluate(TIME, y.clone())
        assert torch.equal(stage.k, other.k)
        assert torch.equal(evaluated(problem)(TIME, y), field(TIME, y))
        products, others = by_layers.products(stage, v), by_graph.products(other, v)
        alone = by_layers.parameter_products(by_layers.evaluate(TIME, y.clone()), v)
    assert torch.equal(products.y, others.y)
    assert products.t is None
    for found, again, expected in zip(products.parameters, alone, others.parameters, strict=True):
        assert torch.equal(found, expected)
        assert torch.equal(again, expected)
    assert problem.work.nfe_forward == 4
    assert problem.work.vjps_backward == 3


def test_every_activation_that_a_model_can_have_is_known() -> None:
    assert set(BY_NAME.values()) == set(ACTIVATIONS)


def test_a_layer_that_is_there_twice_gets_both_products() -> None:
    torch.manual_seed(0)
    layer = nn.Linear(5, 5)
    field = Autonomous(nn.Sequential(layer, nn.Tanh(), layer))
    y, v = torch.randn(2, 33, 5).unbind()
    problem = problem_of(field, y)
    with torch.no_grad():
        f = linearised(problem)
        assert type(f) is LinearisedLayers
        found = f.products(f.evaluate(TIME, y), v).parameters
    expected = torch.autograd.grad(field(TIME, y), field.parameters(), v)
    torch.testing.assert_close(found, list(expected))


def _hooked(field: Autonomous) -> None:
    field.net[1].register_forward_hook(lambda *_: None)


def _frozen(field: Autonomous) -> None:
    field.net[0].weight.requires_grad_(False)


def _compiled(field: Autonomous) -> None:
    field._compiled_call_impl = field.forward  # as ``compile`` sets it


def _replaced(field: Autonomous) -> None:
    field.net.forward = lambda y: -y  # type: ignore[method-assign]


def _normalised(field: Autonomous) -> None:
    parametrizations.weight_norm(field.net[0])


def _noisy(field: Autonomous) -> None:
    field.net.append(nn.Dropout(0.0))


def _in_place(field: Autonomous) -> None:
    field.net[1] = nn.ReLU(inplace=True)


def _of_other_dtype(field: Autonomous) -> None:
    field.net[0].double()


def _of_other_width(field: Autonomous) -> None:
    field.net[2] = nn.Linear(7, 6)


@pytest.mark.parametrize(
    "change",
    [
        _hooked,
        _frozen,
        _compiled,
        _replaced,
        _normalised,
        _noisy,
        _in_place,
        _of_other_dtype,
        _of_other_width,
    ],
)
def test_what_is_more_than_known_layers_is_left_to_autograd(
    change: Callable[[Autonomous], None],
) -> None:
    field, y = chain(), torch.randn(3, 5)
    assert type(linearised(problem_of(field, y))) is LinearisedLayers
    change(field)
    assert type(linearised(problem_of(field, y))) is Linearised


def test_so_are_other_fields_states_and_wishes() -> None:
    class Timed(Autonomous):
        def forward(self, t: Tensor, y: Tensor) -> Tensor:
            return t * super().forward(t, y)

    y = torch.randn(3, 5)
    problem = problem_of(chain(), y)
    assert type(linearised(problem, with_time=True)) is Linearised
    assert type(linearised(problem_of(chain(), torch.randn(2, 3, 5)))) is Linearised
    assert type(linearised(problem_of(Timed(chain().net), y))) is Linearised
    assert type(linearised(problem_of(chain().net, y))) is Linearised
    assert type(linearised(problem_of(Autonomous(nn.Sequential()), y))) is Linearised
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert type(linearised(problem_of(chain(), y))) is Linearised
    handle = nn.modules.module.register_module_forward_hook(lambda *_: None)
    try:
        assert type(linearised(problem)) is Linearised
    finally:
        handle.remove()


@pytest.mark.parametrize(("name", "method"), [*pairs(ONE_OF_EACH, ["dopri5", "rk4"])])
def test_a_gradient_and_its_cost_are_those_of_autograd(
    name: str, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    solver = SOLVER if method == "dopri5" else Solver("rk4", n_steps=2)
    field, work = chain(), [Work(), Work()]
    y0 = torch.randn(33, 5, requires_grad=True)
    found: list[Any] = []
    for counted in work:
        y = ONE_OF_EACH[name](field, y0, torch.tensor([0.0, 1.0]), solver, counted)
        found.append(torch.autograd.grad(y[-1].square().sum(), [y0, *field.parameters()]))
        monkeypatch.setattr(layers, "layers_of", lambda _: None)
    assert all(map(torch.equal, *found))
    assert work[0] == work[1]


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_no_more_is_kept_than_a_graph_keeps(activation: type[nn.Module]) -> None:
    """Beside y, k and the weights."""
    field, y = chain(activation()), torch.randn(33, 5)
    with torch.no_grad():
        f = linearised(problem_of(field, y))
        stage = f.evaluate(TIME, y)
    saved: list[Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: saved.append(x) or x, lambda x: x):
        k = field(TIME, y.requires_grad_())
    assert stage.values is not None
    known = {x.untyped_storage().data_ptr() for x in (stage.y, stage.k, k, y, *field.parameters())}
    kept, by_graph = (
        {x.untyped_storage().data_ptr(): x.untyped_storage().nbytes() for x in some}
        for some in (stage.values, saved)
    )
    sizes = [sum(n for key, n in found.items() if key not in known) for found in (kept, by_graph)]
    assert sizes[0] <= sizes[1]
