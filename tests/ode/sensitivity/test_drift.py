"""A y that is solved again backwards has to come back to that of the forward solve."""

import re
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from node_cli.config.schema import Config
from node_cli.errors import UserError
from node_cli.ode.drift import LARGE, UNCONTROLLED, Unit
from node_cli.ode.engines.compiled.field import CompiledField
from node_cli.ode.failures import SolveFailed
from node_cli.ode.sensitivity.backsolve import Backsolve
from node_cli.ode.sensitivity.discrete import Discrete
from node_cli.ode.sensitivity.gauss import Gauss
from node_cli.ode.sensitivity.interpolating import Interpolating
from node_cli.ode.sensitivity.method import Sensitivity
from node_cli.ode.solver import Engine, Solver
from node_cli.ode.work import Work
from node_cli.records.run_folder import RunFolder
from node_cli.tasks.run import execute
from tests.folders import rows
from tests.ode.problems import FLOAT64, MLP, Linear, loss_of, relative, start, times
from tests.ode.sensitivity.test_gradients import VanDerPol
from tests.runs import run

Configure = Callable[..., Config]
T = times(0.0, 1.0, 2.0, 3.0)
TIGHT = {"rtol": 1e-10, "atol": 1e-10}


def by_start(sensitivity: Sensitivity, solver: Solver, work: Work) -> Tensor:
    """dL/dy0 of Van der Pol's equation, mu = 10, for the sum of y over four times."""
    y0 = times(2.0, 0.0).requires_grad_()
    y = sensitivity(VanDerPol(10.0), y0, T, solver, work)
    return torch.autograd.grad(y.sum(), y0)[0]


@pytest.mark.parametrize("engine", ["native", "torchdiffeq"])
def test_a_gradient_that_is_lost_is_not_lost_in_silence(engine: Engine) -> None:
    """The other methods have it: (4.6585, 1.1221), by dopri8 at a tolerance of 1e-12."""
    solver, work = Solver("dopri8", **TIGHT, engine=engine), Work()
    right = times(4.65849, 1.12209)
    native = Solver("dopri8", **TIGHT)
    for method in (Discrete(), Interpolating(), Gauss()):
        assert relative(by_start(method, native, Work()), right) < 1e-5
    with pytest.warns(UserWarning, match="more than 100 tolerances"):
        found = by_start(Backsolve(), solver, work)
    assert relative(found, right) > 0.5
    assert work.drift_backward is not None
    assert work.drift_backward > 1e9

    method = Backsolve(max_drift=1e3)
    with pytest.raises(SolveFailed, match=r"^backward solve: y came back .* max_drift=1000") as e:
        by_start(method, solver, Work())
    assert 0 <= e.value.t < 3


@pytest.mark.filterwarnings("ignore:y, solved again")
@pytest.mark.parametrize("t", [times(0.0, 1.0), times(0.0, 0.25, 1.0)])
def test_by_hand(t: Tensor) -> None:
    """Euler's steps of dy/dt = A y, forwards and back, in the unit of fixed steps."""
    field, y0, work, n = Linear(), start().detach(), Work(), 4
    y = Backsolve()(field, y0.requires_grad_(), t, Solver("euler", n_steps=n), work)
    y.sum().backward()
    y, drifts = y.detach(), []
    for i, length in enumerate(t.diff()):
        step = torch.linalg.matrix_power(torch.eye(3) - length / n * field.a.detach(), n)
        back = y[i + 1] @ step.T
        unit = UNCONTROLLED + UNCONTROLLED * y[i].abs()
        drifts.append(float(((back - y[i]) / unit).square().mean().sqrt()))
    assert work.drift_backward == pytest.approx(max(drifts))
    assert max(drifts) > 1


def test_the_unit_is_the_tolerance_of_the_looser_solver() -> None:
    fine, loose = Solver("dopri5", rtol=1e-8, atol=1e-6), Solver("tsit5", rtol=1e-2, atol=1e-7)
    for pair in ((fine, loose), (loose, fine)):
        unit = Unit(*pair)
        assert (unit.rtol, unit.atol) == (1e-2, 1e-6)
    unit = Unit(fine, Solver("implicit_adams", rtol=1e-9, atol=1e-9, n_steps=3))
    assert (unit.rtol, unit.atol) == (1e-3, 1e-3)


def test_the_number_is_finite_whatever_happens() -> None:
    """Records and checkpoints hold nothing else."""
    y = torch.tensor([1.0, 2.0])
    unit = Unit(*2 * [Solver("dopri5", rtol=1e-6, atol=1e-6)])
    assert unit.distance(y * 1e37, y).isfinite()


@pytest.mark.parametrize("sensitivity", [Discrete(), Interpolating(), Gauss()])
def test_what_does_not_solve_y_again_has_no_drift(sensitivity: Sensitivity) -> None:
    work = Work()
    loss_of(sensitivity(MLP(), start(), T, Solver("dopri5", 1e-3, 1e-3), work)).backward()
    assert work.drift_backward is None


def test_one_read_for_everything() -> None:
    """Who reads numbers from the device anyway gets the drift with them, and the largest."""
    work, found = Work(reads_later=True), []
    for tol in (1e-3, 1e-6):
        y = Backsolve()(MLP(scale=3.0), start(), T, Solver("dopri5", tol, tol), work)
        y.sum().backward()
        assert work.drift_backward is None
        alone = Work()
        Backsolve()(MLP(scale=3.0), start(), T, Solver("dopri5", tol, tol), alone).sum().backward()
        found.append(alone.drift_backward)
    assert work.read(torch.tensor(2.0), torch.tensor(3.0)) == [2.0, 3.0]
    assert work.drift_backward == max(found)
    assert not work.unread


@pytest.mark.slow
def test_compiled_loops_have_it_too() -> None:
    found = []
    for compiles in (False, True):
        field, work = MLP(scale=3.0), Work()
        field = CompiledField(field) if compiles else field
        Backsolve()(field, start(), T, Solver("dopri5", 1e-4, 1e-4), work).sum().backward()
        found.append(work.drift_backward)
    assert found[1] == pytest.approx(found[0], rel=1e-3)


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["solver=rk4"],
        pytest.param(["model=conv", "batch_size=10"], marks=pytest.mark.slow),
        ["sensitivity.norm=seminorm", "solver=tsit5", "solver.tol=1e-5"],
        ["data=spiral_nonlinear", "model=mlp_field"],
    ],
    ids=" ".join,
)
def test_shipped_models_do_not_warn(
    configure: Configure, tmp_path: Path, overrides: list[str]
) -> None:
    small = [] if "data=spiral_nonlinear" in overrides else ["data.limit=100"]
    config = configure("sensitivity=backsolve", *small, "epochs=1", *overrides)
    with warnings.catch_warnings(action="error"):
        folder = run(config, tmp_path / "run")
    drifts = [float(row["drift_backward"]) for row in rows(folder.steps)]
    assert 0 < max(drifts) < LARGE / 2
    assert float(rows(folder.epochs)[0]["drift_backward_max"]) == max(drifts)


def test_a_run_fails_or_skips_beyond_max_drift_and_warns_once(
    configure: Configure,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    typed = ["sensitivity=backsolve", "data.limit=100", "batch_size=25", "epochs=1"]
    folder = RunFolder(tmp_path / "failed")
    folder.path.mkdir()
    execute(configure(*typed, "sensitivity.max_drift=1e-12"), folder, [])
    status = folder.read_status()
    assert (status["status"], status["exit_code"]) == ("failed", 1)
    assert re.match("backward solve: y came back .*max_drift=1e-12", status["reason"])

    skipping = ["train.on_solver_failure=skip", "sensitivity.max_drift=1e-12"]
    folder = run(configure(*typed, *skipping), tmp_path / "skipped")
    assert {row["loss"] for row in rows(folder.steps)} == {""}

    monkeypatch.setattr("node_cli.ode.drift.LARGE", 1e-12)
    with warnings.catch_warnings(record=True, action="default") as told:
        for name in ("first", "second"):
            run(configure(*typed), tmp_path / name)
    assert len(told) == 2


def test_it_is_an_option_of_backsolve_alone(configure: Configure) -> None:
    config = configure("sensitivity=backsolve", "sensitivity.max_drift=5", "solver=rk4")
    assert config.sensitivity.arguments(config.forward_solver())["max_drift"] == 5
    for name in ("discrete", "interpolating", "gauss"):
        with pytest.raises(UserError, match=r"sensitivity.max_drift=5.*: not used by"):
            configure(f"sensitivity={name}", "sensitivity.max_drift=5")
    with pytest.raises(UserError, match="greater than 0"):
        configure("sensitivity=backsolve", "sensitivity.max_drift=0")


def test_a_state_of_float32_and_a_single_number() -> None:
    for dtype in (torch.float32, FLOAT64):
        work, y0 = Work(), torch.tensor(0.5, dtype=dtype, requires_grad=True)
        y = Backsolve()(Halving(), y0, T, Solver("dopri5", 1e-3, 1e-3), work)
        y.sum().backward()
        assert work.drift_backward is not None
        assert 0 < work.drift_backward < 1


class Halving(torch.nn.Module):
    """dy/dt = -y / 2, y 0-dim."""

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return -y / 2
