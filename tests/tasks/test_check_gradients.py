"""``task=check_gradients``: what its table says is so, and nothing is changed by looking."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from node_cli.config.schema import Config
from node_cli.display import Display
from node_cli.machine.memory import extra_mib
from node_cli.models.classifier import Classifier
from node_cli.records.columns import GRADIENTS
from node_cli.records.run_folder import RunFolder
from node_cli.tasks import check_gradients
from node_cli.tasks.check_gradients import CheckGradients
from tests.commands import QUICK, NodeTrain
from tests.folders import rows
from tests.packages import Installer
from tests.runs import run, watched_models

pytestmark = pytest.mark.usefixtures("undrawn")

Configure = Callable[..., Config]
Table = dict[str, dict[str, str]]

EVERY_METHOD = [
    *("discrete", "checkpointed", "backsolve full", "backsolve seminorm"),
    *("interpolating full", "interpolating seminorm", "gauss"),
]
SMALL = ["task=check_gradients", "data.limit=40", "batch_size=16"]
# A field that is far from linear in time.
CURVED = ["model.init=glorot", "seed=3"]


@pytest.fixture(autouse=True)
def _brief(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check_gradients, "LEAST_REPEATS", 1)
    monkeypatch.setattr(check_gradients, "LEAST_SECONDS", 0.0)


def table(folder: Path) -> Table:
    """The rows by their names as shown."""
    return {
        " ".join(filter(None, (row["sensitivity"], row["norm"]))): row
        for row in rows(folder / "gradients.csv")
    }


@pytest.fixture
def check(configure: Configure, tmp_path: Path) -> Callable[..., Table]:
    def check(*overrides: str, name: str = "check") -> Table:
        return table(run(configure(*SMALL, *overrides), tmp_path / name).path)

    return check


Check = Callable[..., Table]


def error(row: dict[str, str]) -> float:
    return float(row["relative_error"])


def test_a_row_for_every_method(check: Check, tmp_path: Path) -> None:
    found = check()
    assert list(found) == ["reference", "finite_differences", *EVERY_METHOD]
    assert list(found["discrete"]) == list(GRADIENTS.columns)
    for name in EVERY_METHOD:
        row = found[name]
        assert float(row["cosine"]) == pytest.approx(1)
        assert float(row["seconds"]) > 0
        assert float(row["extra_memory_mib"]) > 0
        assert row["note"] == ""
    assert found["discrete"]["nfe_backward"] == "0"
    result = RunFolder(tmp_path / "check").read_result()
    assert [row["sensitivity"] for row in result["gradients"]] == [
        row["sensitivity"] for row in found.values()
    ]
    assert (result["task"], result["batch"]) == ("check_gradients", 16)


def test_discrete_equals_checkpointed_and_errors_fall_with_the_tolerance(check: Check) -> None:
    options = [*CURVED, "precision=float64"]
    tables = [check(*options, f"solver.tol={tol}", name=str(tol)) for tol in (1e-2, 1e-8)]
    for found in tables:
        assert found["discrete"]["relative_error"] == found["checkpointed"]["relative_error"]
        assert found["discrete"]["nfe_forward"] == found["checkpointed"]["nfe_forward"]
        assert int(found["checkpointed"]["nfe_backward"]) > 0
        assert error(found["reference"]) < 1e-7
        assert error(found["finite_differences"]) < 1e-6
    for name in EVERY_METHOD:
        loose, tight = (error(found[name]) for found in tables)
        assert loose > 10 * tight, name
        assert tight < 1e-6, name


def test_several_odes_and_dropout_around_them(check: Check) -> None:
    """The gradient of all of f; without dropout, which is another one in every pass."""
    found = check(
        *("model.weights_in_t=2", "model.dynamics=heavy_ball", "model.augment=2"),
        *("model.dropout_before=0.5", "model.dropout_after=0.5"),
    )
    assert error(found["finite_differences"]) < 1e-5
    for name in EVERY_METHOD:
        assert error(found[name]) < 1e-4
        assert float(found[name]["relative_error_f"]) < 1e-3


def test_fixed_steps_show_the_error_of_the_discretisation(check: Check) -> None:
    """Of order 1: half with twice as many steps. The step size does not depend on a norm."""
    options = [*CURVED, "precision=float64", "solver=euler"]
    few, many = (check(*options, f"solver.n_steps={n}", name=str(n)) for n in (8, 16))
    assert [name for name in few if name.startswith("backsolve")] == ["backsolve"]
    for found in (few, many):
        assert error(found["discrete"]) > 1e-4
        assert error(found["finite_differences"]) < 1e-6, "of the reference, which has no steps"
    assert error(few["discrete"]) / error(many["discrete"]) == pytest.approx(2, rel=0.2)


def test_options_of_the_backward_solve_hold_for_the_methods_that_have_one(check: Check) -> None:
    plain = check("precision=float64")
    backwards = ["sensitivity.rtol=1e-9", "sensitivity.atol=1e-9"]
    tight = check("precision=float64", *backwards, name="tight")
    for name in ("discrete", "checkpointed"):
        assert plain[name]["relative_error"] == tight[name]["relative_error"]
    for name in EVERY_METHOD[2:]:
        assert plain[name]["nfe_forward"] == tight[name]["nfe_forward"]
        assert int(plain[name]["nfe_backward"]) < int(tight[name]["nfe_backward"]), name


@pytest.mark.parametrize("field_call", ["module", "functional"])
def test_weights_and_statistics_are_left_as_they_were(
    configure: Configure, tmp_path: Path, install: Installer, field_call: str
) -> None:
    install(files={}, entries={"fields": {"batch_norm": "tests.runs:BatchNormField"}})
    options = ["model.field=batch_norm", f"model.field_call={field_call}", "solver.tol=1e-6"]
    config = configure(*SMALL, *options)
    task = CheckGradients(config, RunFolder(tmp_path))
    model = task.setup.model
    before = {name: value.clone() for name, value in model.state_dict().items()}
    task.run(Display())
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())
    found = table(tmp_path)
    assert error(found["finite_differences"]) < 1e-5
    assert error(found["discrete"]) < 1e-2


def test_the_batch_is_the_first_one_of_training(configure: Configure, tmp_path: Path) -> None:
    options = ["data.limit=40", "batch_size=16", "data.augment=[crop]", "seed=5", "epochs=1"]
    batches: list[Tensor] = []

    def see(model: Classifier, images: Tensor) -> None:
        if model.training:
            batches.append(images)

    with watched_models(see):
        run(configure(*options), tmp_path / "run")
    task = CheckGradients(configure("task=check_gradients", *options[:-1]), RunFolder(tmp_path))
    seen: list[Tensor] = []
    with watched_models(lambda _, images: seen.append(images)):
        task.setup.objective.loss(task.setup.model, task.batch)
    assert torch.equal(seen[0], batches[0])


def test_with_a_checkpoint(node_train: NodeTrain, tmp_path: Path) -> None:
    """Its weights, model, data and solver; what is typed wins."""
    trained = [*QUICK, "batch_size=16", "solver.tol=1e-2", "model.field_call=functional"]
    assert node_train(*trained, "hydra.run.dir=run").code == 0
    command = ["task=check_gradients", "checkpoint=run"]
    result = node_train(*command, "solver.rtol=1e-4", "hydra.run.dir=check")
    assert result.code == 0, result.err
    assert "best.pt, after 9 steps" in result.out
    config = RunFolder(tmp_path / "check").read_config()
    assert (config["batch_size"], config["model"]["field_call"]) == (16, "functional")
    assert (config["solver"]["tol"], config["solver"]["rtol"]) == (1e-2, 1e-4)
    assert set(EVERY_METHOD) < set(table(tmp_path / "check"))
    refused = node_train(*command, "model.init=glorot")
    assert (refused.code, refused.err.count("\n")) == (2, 1)
    assert "model.init=glorot: not used by task=check_gradients" in refused.err
    assert node_train(*command, "model=conv").code == 2


def test_scipy_shows_which_methods_cannot_work(node_train: NodeTrain, tmp_path: Path) -> None:
    result = node_train(*SMALL, "solver=scipy", "hydra.run.dir=s")
    assert result.code == 0
    found = table(tmp_path / "s")
    assert error(found["backsolve"]) < 1e-3
    for name in ("discrete", "checkpointed", "interpolating", "gauss"):
        assert found[name]["relative_error"] == ""
        assert f"\n{name}: {found[name]['note']}\n" in result.out
    assert "carries no gradient" in found["discrete"]["note"]


def test_a_solve_that_fails_costs_its_row(check: Check, tmp_path: Path) -> None:
    """The backward one: 14 evaluations of f are enough for the forward one alone."""
    found = check("solver.max_nfe=14", "sensitivity.rtol=1e-7", "sensitivity.atol=1e-7")
    assert error(found["discrete"]) < 1e-3
    assert found["backsolve full"]["relative_error"] == ""
    assert "evaluations of f were not enough" in found["backsolve full"]["note"]


def test_the_check_fails_where_no_method_can_be_had(node_train: NodeTrain) -> None:
    result = node_train(*SMALL, "solver.max_nfe=3")
    assert result.code == 1
    assert "3 evaluations of f were not enough" in result.err


@pytest.mark.filterwarnings("ignore:y, solved again")
def test_words_below_the_table_for_what_is_far_off(node_train: NodeTrain) -> None:
    result = node_train(*SMALL, *CURVED, "solver=euler", "solver.n_steps=1")
    assert result.code == 0
    assert "\ndiscrete: " in result.out
    assert " off; it is exact for the numerical solution, which is not" in result.out
    lines = result.out.partition("first 16 images")[2].splitlines()
    assert all(len(line) <= 100 for line in lines if "gradients.csv" not in line)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["model.core=plain"], "model.core=plain: has no ODE"),
        (["model=resnet"], "model.core=residual: has no ODE"),
        (["sensitivity=gauss"], "sensitivity=gauss: not used by task=check_gradients"),
        (["sensitivity.norm=full"], "sensitivity.norm=full: not used by task=check_gradients"),
        (["epochs=3"], "epochs=3: not used by task=check_gradients"),
        (["optimizer.lr=1"], "optimizer.lr=1: not used by task=check_gradients"),
        (["schedule=cosine"], "schedule=cosine: not used by task=check_gradients"),
        (["eval.initial=true"], "eval.initial=true: not used by task=check_gradients"),
        (["train.checkpoint_every=1"], "not used by task=check_gradients"),
        (["sensitivity.solver=rk4"], "sensitivity.solver=rk4: needs the step_size or n_steps"),
        (["checkpoint=nowhere"], "nowhere: no such file"),
        (["batch_size=50", "data.limit=40", "data.drop_last=true"], "batch_size=50: data.drop"),
    ],
)
def test_mistakes(node_train: NodeTrain, arguments: list[str], message: str) -> None:
    result = node_train("task=check_gradients", *arguments)
    assert result.code == 2
    assert message in result.err
    assert result.err.count("\n") == 1


def test_extra_memory_is_that_of_the_tensors_alive_at_once() -> None:
    kept = torch.rand(2**17, dtype=torch.float64, requires_grad=True)  # 1 MiB

    def chain() -> None:
        for _ in range(10):
            y = kept.detach() * 2  # while the last one is still held
            y.view(-1).add_(1)

    def graph() -> None:
        y = kept
        for _ in range(10):
            y = y.exp()  # the result is saved for the backward pass

    cpu = torch.device("cpu")
    assert extra_mib(chain, cpu) == 2
    assert extra_mib(graph, cpu) == 10
    assert extra_mib(lambda: kept.view(2, -1), cpu) == 0
