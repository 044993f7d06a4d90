"""A training step in one graph: the numbers of the parts, whatever happens to the solve.

Without the code generator: what is traced does not depend on it.
"""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from node_cli.config.schema import Config
from node_cli.learn.classification import BatchGradient
from node_cli.learn.update import Outcome, Update
from node_cli.learn.whole_step import WholeStep
from node_cli.machine import device
from node_cli.models.classifier import Classifier, build
from node_cli.ode.engines.compiled import field
from node_cli.ode.failures import SolveFailed

Configure = Callable[..., Config]

pytestmark = pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")


def update(config: Config, *, compiled: bool) -> Update:
    backend = device.choose(config)
    torch.manual_seed(0)
    model: Classifier = build(config, (1, 12, 12), 3).to(backend.dtype)
    if compiled:
        model.compile_parts()
    model.train()
    return Update(config, model, BatchGradient(config, model, backend))


def train(step: Update, sizes: tuple[int, ...] = (6,) * 4) -> list[Outcome]:
    generator = torch.Generator().manual_seed(1)
    found = []
    for size in sizes:
        images = torch.randn(size, 1, 12, 12, dtype=torch.float64, generator=generator)
        labels = torch.randint(3, (size,), generator=generator)
        found.append(step(images.to(step.gradient.backend.dtype), labels))
    return found


def assert_same(
    ours: tuple[Update, list[Outcome]], others: tuple[Update, list[Outcome]], tol: float
) -> None:
    for a, b in zip(ours[1], others[1], strict=True):
        assert a.work == b.work
        drifts = [o.work.drift_backward for o in (a, b) if o.work and o.work.drift_backward]
        assert len(drifts) != 1
        assert drifts[:1] == pytest.approx(drifts[1:], rel=1e-3)
        assert a.correct == b.correct
        assert a.loss == pytest.approx(b.loss, rel=tol)
        assert a.grad_norm == pytest.approx(b.grad_norm, rel=tol)
    for p, q in zip(ours[0].parameters, others[0].parameters, strict=True):
        torch.testing.assert_close(p, q, rtol=tol, atol=tol)


def both(config: Config, tol: float, sizes: tuple[int, ...] = (6,) * 4) -> None:
    compiled, eager = update(config, compiled=True), update(config, compiled=False)
    assert compiled.gradient.whole
    assert_same((compiled, train(compiled, sizes)), (eager, train(eager, sizes)), tol)


FLOAT64 = ("precision=float64", "batch_size=6", "optimizer.lr=0.05")


BACKWARDS = [
    ("sensitivity=backsolve", "solver.tol=1e-4"),
    ("sensitivity=backsolve", "sensitivity.norm=seminorm", "sensitivity.solver=bosh3"),
    ("sensitivity=interpolating", "solver.tol=1e-4"),
    ("sensitivity=interpolating", "solver=bosh3", "solver.tol=1e-3", "solver.first_step=warm"),
    ("sensitivity=gauss", "solver.tol=1e-4"),
    ("sensitivity=gauss", "solver=rk4", "solver.n_steps=3", "model.field=dense_relu"),
]


@pytest.mark.parametrize(
    "options",
    [
        ("solver.tol=1e-4",),
        pytest.param(
            ("solver.tol=1e-4", "sensitivity=checkpointed", "optimizer.grad_clip=0.1"),
            marks=pytest.mark.slow,
        ),
        pytest.param(("solver=rk4", "solver.n_steps=3"), marks=pytest.mark.slow),
        *(pytest.param(options, marks=pytest.mark.slow) for options in BACKWARDS),
        pytest.param(
            ("solver=fehlberg2", "solver.tol=1e-3", "solver.first_step=warm"),
            marks=pytest.mark.slow,
        ),
        pytest.param(
            ("model=odenet", "optimizer=sgd", "solver.tol=0.1", "optimizer.lr=1e-3"),
            marks=pytest.mark.slow,
        ),
    ],
    ids=" ".join,
)
def test_the_same_training_from_one_graph(
    options: tuple[str, ...], configure: Configure, graphs: list[object]
) -> None:
    both(configure(*FLOAT64, *options), 1e-9)
    warm = "solver.first_step=warm" in options
    assert len(graphs) == 1 + warm  # a first size is found in the first step only


@pytest.mark.slow
@pytest.mark.usefixtures("graphs")
def test_gradients_are_laid_out_as_the_weights_are(configure: Configure) -> None:
    """A fused optimizer takes both as equal, whatever they are."""
    config = configure(*FLOAT64, "solver=rk4", "solver.n_steps=1")
    steps = [update(config, compiled=compiled) for compiled in (True, False)]
    for step in steps:
        for weight in step.parameters[::2]:
            weight.data = weight.data.t().contiguous().t()  # by columns
    compiled, eager = ((step, train(step)) for step in steps)
    assert_same(compiled, eager, 1e-9)


@pytest.mark.slow
@pytest.mark.usefixtures("graphs")
def test_bf16_concerns_what_it_did(configure: Configure) -> None:
    config = configure("precision=bf16", "batch_size=6", "solver.tol=1e-2")
    whole, eager = update(config, compiled=True), update(config, compiled=False)
    assert [o.loss for o in train(whole)] == pytest.approx([o.loss for o in train(eager)], rel=1e-2)
    assert {p.grad.dtype for p in whole.parameters if p.grad is not None} == {torch.float32}


@pytest.mark.slow
def test_an_odd_batch_is_not_compiled(configure: Configure, graphs: list[object]) -> None:
    both(configure(*FLOAT64), 1e-9, (6, 6, 4, 6))
    assert len(graphs) == 1


@pytest.mark.slow
@pytest.mark.usefixtures("graphs")
def test_a_solve_with_more_steps_than_any_before(
    configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is made by parts, with more room; after that there is room."""
    monkeypatch.setattr(field, "FIRST_ROWS", 4)
    config = configure(*FLOAT64, "solver.tol=1e-9")
    both(config, 1e-9)
    step = update(config, compiled=True)
    whole = step.gradient.whole
    assert whole
    found: list[object] = []

    def spied(images: Tensor, labels: Tensor) -> object:
        found.append(whole(images, labels))
        return found[-1]

    monkeypatch.setattr(step.gradient, "whole", spied)
    assert {o.work.forward.accepted > 4 for o in train(step) if o.work} == {True}
    assert [f is None for f in found] == [True, False, False, False]


@pytest.mark.slow
@pytest.mark.usefixtures("graphs")
@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("solver.max_nfe=20", "20 evaluations"),
        ("solver.max_steps=2", "2 steps were not enough"),
    ],
)
def test_a_failing_solve_fails_as_by_parts(option: str, message: str, configure: Configure) -> None:
    config = configure(*FLOAT64, "solver.tol=1e-9", option)
    said = []
    for compiled in (True, False):
        with pytest.raises(SolveFailed, match=message) as caught:
            train(update(config, compiled=compiled))
        said.append(caught.value)
    assert (said[0].accepted, said[0].rejected) == (said[1].accepted, said[1].rejected)
    assert said[0].t == pytest.approx(said[1].t)


@pytest.mark.parametrize(
    "options", [("solver.engine=torchdiffeq",), ("solver.jump_t=[0.5]",), ("model=mlp",)]
)
def test_other_models_go_by_parts(options: tuple[str, ...], configure: Configure) -> None:
    assert not WholeStep.suits(update(configure(*options), compiled=True).gradient.model)
