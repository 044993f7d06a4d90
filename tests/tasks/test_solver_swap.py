"""``task=solver_swap``: the rule of its verdict, and two networks that it tells apart."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from node_cli.config.schema import Config
from node_cli.config.tree import lay
from node_cli.learn.answers import Answers
from node_cli.ode.failures import SolveFailed
from node_cli.ode.solver import Solver
from node_cli.records.columns import SWAPS
from node_cli.records.run_folder import RunFolder
from node_cli.tasks import solver_swap, swap_solvers
from node_cli.tasks.swap_solvers import in_words, others
from node_cli.tasks.swap_verdict import Tried, verdict
from tests.commands import QUICK, NodeTrain, composed
from tests.folders import rows
from tests.runs import run

Configure = Callable[..., Config]

LONG = ["model.t1=10"]  # an interval over which an Euler step is far from the solution


@pytest.fixture
def _few_solvers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(swap_solvers, "NUMBERS_OF_STEPS", (4,))
    monkeypatch.setattr(swap_solvers, "TOLERANCES", (1e-1, 1e-3))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a short training."""
    (job,) = composed(*QUICK)
    return run(job.config, tmp_path_factory.mktemp("trained") / "run").path


def edited(trained: Path, path: Path, **changes: object) -> str:
    """A checkpoint whose configuration says something else."""
    checkpoint = torch.load(trained / "checkpoints" / "last.pt", weights_only=True)
    for key, value in changes.items():
        lay(checkpoint["config"], key.replace("__", "."), value)
    torch.save(checkpoint, path)
    return f"checkpoint={path}"


def answered(right: list[bool]) -> Answers:
    return Answers(torch.zeros(len(right), 2), torch.tensor(right), 1.0)


def said(right: list[bool], under: dict[float, list[bool]], error: float = 0.5) -> str:
    """The verdict on answers ``under`` solvers with these errors; ``error``: of the training's."""
    tried = [Tried(f"{e}", answered(other), e) for e, other in under.items()]
    return verdict(Tried("trained", answered(right), error), tried).of


ALL, NONE = [True] * 100, [False] * 100


@pytest.mark.parametrize(
    ("before", "under", "of"),
    [
        (ALL, {0.0: ALL, 0.4: ALL}, "ode"),
        (ALL, {0.0: [False] * 10 + ALL[10:]}, "steps"),
        (ALL, {0.0: ALL, 0.5: [False] * 10 + ALL[10:]}, "steps"),  # as large is enough
        (ALL, {0.0: ALL, 0.6: NONE}, "ode"),  # a coarser solver says nothing
        (ALL, {0.0: [False, *ALL[1:]]}, "ode"),  # one point in a hundred
        (ALL[:20], {0.0: [False] * 4 + ALL[4:20]}, "ode"),  # by chance: 4 images of 20
        (ALL[:20], {0.0: [False] * 5 + ALL[5:20]}, "steps"),
        ([False] * 10 + ALL[10:], {0.0: ALL[10:] + [False] * 10}, "ode"),  # others, as many
        (NONE, {0.0: ALL}, "ode"),
    ],
)
def test_the_rule_of_the_verdict(
    before: list[bool], under: dict[float, list[bool]], of: str
) -> None:
    assert said(before, under) == of


def test_a_fall_by_chance_is_called_so() -> None:
    tried = [Tried("fine", answered([False] * 4 + ALL[4:20]), 0.0)]
    found = verdict(Tried("trained", answered(ALL[:20]), 0.5), tried)
    assert found.sentence.endswith("not larger (4 images fewer, which chance explains)")


@pytest.mark.usefixtures("_few_solvers")
def test_a_network_of_one_euler_step(
    configure: Configure, node_train: NodeTrain, tmp_path: Path
) -> None:
    """It loses accuracy under every finer solver, as those of Ott et al. do."""
    short = ["epochs=4", "data.limit=600", "optimizer.lr=3e-3"]
    run(configure(*LONG, *short, "solver=euler", "solver.n_steps=1"), tmp_path / "run")
    result = node_train("task=solver_swap", "checkpoint=run", "hydra.run.dir=swap")
    assert result.code == 0, result.err
    assert "\nverdict: the solution of its solver's steps, not of an ODE: " in result.out
    found = rows(tmp_path / "swap" / "solver_swap.csv")
    assert list(found[0]) == list(SWAPS.columns)
    first, *middle, last = found
    assert (first["solver"], first["options"], first["role"]) == ("euler", "n_steps=1", "training")
    assert (last["solver"], last["role"], float(last["error"])) == ("dopri8", "reference", 0)
    assert float(first["accuracy"]) - float(last["accuracy"]) > 0.1
    by_name = {f"{row['solver']} {row['options']}": row for row in middle}
    assert by_name["euler n_steps=2"]["nfe_mean"] == "2.0"
    errors = [float(by_name[f"{m} n_steps=4"]["error"]) for m in ("euler", "midpoint", "rk4")]
    assert errors[2] < errors[1] < errors[0] < float(first["error"])
    assert (tmp_path / "swap" / "plots" / "solver_swap.png").exists()
    assert RunFolder(tmp_path / "swap").read_result()["verdict"] == "steps"

    evaluation = run(configure("task=eval", f"checkpoint={tmp_path / 'run'}"), tmp_path / "eval")
    evaluated = evaluation.read_result()["metrics"]
    assert float(first["accuracy"]) == pytest.approx(evaluated["test_accuracy"])


@pytest.mark.usefixtures("_few_solvers")
def test_a_network_of_tight_tolerances(configure: Configure, tmp_path: Path) -> None:
    run(configure(*LONG, *QUICK, "epochs=3", "solver.tol=1e-4"), tmp_path / "run")
    checkpoint = f"checkpoint={tmp_path / 'run'}"
    swap = run(configure("task=solver_swap", checkpoint), tmp_path / "swap")
    assert swap.read_result()["verdict"] == "ode"
    row, *_ = rows(swap.swaps)
    assert (row["options"], float(row["logit_change_max"])) == ("tol=0.0001", 0)


@pytest.mark.usefixtures("_few_solvers")
@pytest.mark.parametrize(
    "model",
    [
        ["model.weights_in_t=3"],
        [
            *("model.stem=pixels", "model.field=conv", "model.head=mean"),
            "model.stages=[{channels:2,blocks:2,entry:conv,stride:4},"
            "{channels:3,blocks:1,entry:conv,stride:2}]",
        ],
    ],
    ids=["weights in t", "stages"],
)
def test_every_block_is_solved_by_the_other_solver(
    configure: Configure, tmp_path: Path, model: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(solver_swap, "MOST_IMAGES", 40)
    run(configure(*model, *QUICK), tmp_path / "run")
    checkpoint = f"checkpoint={tmp_path / 'run'}"
    swap = run(configure("task=solver_swap", checkpoint), tmp_path / "swap")
    nfe = {f"{row['solver']} {row['options']}": float(row["nfe_mean"]) for row in rows(swap.swaps)}
    assert (nfe["euler n_steps=4"], nfe["rk4 n_steps=4"]) == (3 * 4, 3 * 16)


def test_solvers_that_fail(
    configure: Configure, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each has a row that says why; without a reference there is no verdict."""
    answers = solver_swap.answers

    def failing(config: Config, model: object, *given: object, **seen: object) -> Answers:
        solver: Solver = model.ode_blocks[0].solver  # type: ignore[attr-defined]
        if solver.name in ("dopri8", "euler"):
            raise SolveFailed("too stiff", solver=solver, advice="", t=0.0)
        return answers(config, model, *given, **seen)  # type: ignore[arg-type]

    monkeypatch.setattr(solver_swap, "answers", failing)
    swap = run(configure("task=solver_swap", f"checkpoint={trained}"), tmp_path / "swap")
    assert swap.read_result()["verdict"] == "unknown"
    found = rows(swap.swaps)
    assert all("too stiff" in row["note"] for row in found if row["solver"] == "euler")
    assert all(row["accuracy"] and not row["error"] for row in found if row["solver"] == "rk4")


@pytest.mark.parametrize(
    "trained",
    [
        Solver("dopri5", rtol=1e-3, atol=1e-3, max_nfe=50, first_step="warm"),
        Solver("dopri5", rtol=1e-6, atol=1e-7),
        Solver("euler", n_steps=1),
        Solver("euler", step_size=0.1),
        Solver("rk4", n_steps=8, jump_t=(0.5,)),
        Solver("implicit_adams", n_steps=8, rtol=1e-3, atol=1e-3),
        Solver("scipy", rtol=1e-3, atol=1e-3, scipy_method="LSODA"),
    ],
    ids=in_words,
)
def test_which_solvers_are_tried(trained: Solver) -> None:
    found = others(trained, "float32")
    words = [in_words(solver) for solver in found]
    assert len({*words}) == len(words) and in_words(trained) not in words
    like = [solver for solver in found if solver.name == trained.name]
    assert len(like) > 1
    assert all(solver.jump_t == trained.jump_t for solver in found)
    assert all(solver.rtol is None or solver.rtol >= 1e-6 for solver in found)


def test_mistakes(
    configure: Configure, node_train: NodeTrain, trained: Path, tmp_path: Path
) -> None:
    trajectory = ["data=spiral_linear", "model=linear_field", "data.windows=1", "epochs=1"]
    run(configure(*trajectory), tmp_path / "spiral")
    plain = edited(trained, tmp_path / "plain.pt", model__core="plain")
    for typed, message in {
        f"checkpoint={trained} solver=rk4": "solver=rk4: not used by task=solver_swap, which tries",
        f"checkpoint={trained} compile=true": "compile=true: not used by task=solver_swap",
        f"checkpoint={trained} eval.test=end": "eval.test=end: not used by task=solver_swap",
        plain: "model.core=plain: has no ODE, so that task=solver_swap has nothing",
        "checkpoint=spiral": "data=spiral_linear: not with task=solver_swap, which needs images",
        "seed=1": "task=solver_swap: needs checkpoint=<run folder or checkpoint file>",
    }.items():
        result = node_train("task=solver_swap", *typed.split())
        assert result.code == 2
        assert message in result.err


def test_a_checkpoint_of_a_compiled_training_is_evaluated_without_the_compiler(
    configure: Configure, trained: Path, tmp_path: Path
) -> None:
    """Else every solver would be compiled for half a minute."""
    compiled = edited(trained, tmp_path / "compiled.pt", compile=True)
    for task in ("solver_swap", "check_gradients", "profile"):
        assert not configure(f"task={task}", compiled).compile
