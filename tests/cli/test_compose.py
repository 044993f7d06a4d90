"""The door's first half: every mistake of a command or of a user's file is one line."""

from pathlib import Path

import pytest

from node_cli.cli.compose import Composer
from node_cli.config.files import choices
from node_cli.config.messages import ELSEWHERE
from node_cli.errors import UserError
from tests.commands import composed


def problems(*overrides: str, multirun: bool = False) -> list[str]:
    with pytest.raises(UserError) as caught:
        composed(*overrides, multirun=multirun)
    assert all("\n" not in problem for problem in caught.value.problems)
    return list(caught.value.problems)


MISTAKES = [
    (["model=convv"], "model=convv: choose from anode, .* (did you mean conv?)"),
    (["model=_base"], "model=_base: choose from"),
    (["schedule=[step,[2]]"], "schedule=[step,[2]]: choose from"),
    (["regularize=[error,[2]]"], "regularize=[2]: choose from"),
    (["model=[dense,conv]"], "model=[dense,conv]: choose from"),
    (["optimizer={a:1}"], "optimizer={...}: choose from"),
    (["epocs=3"], "epocs=3: no such key (did you mean epochs?); there are task"),
    (["+epocs=3"], "epocs=3: no such key (did you mean epochs?)"),
    (["++solver.tolx=1"], "solver.tolx=1: no such key (did you mean solver.tol?)"),
    (["model._target_=os.system"], "model._target_=os.system: no such key"),
    (["+_target_=os.system"], "_target_=os.system: no such key"),
    (
        ["+hydra.callbacks.x._target_=os.system"],
        "_target_=os.system: not to be set",
    ),
    (["epochs=abc"], "epochs=abc: must be a valid integer"),
    (["epochs=0"], "epochs=0: must be greater than 0"),
    (["epochs=true"], "epochs=true: must be a valid integer"),
    (["data.holdout=1.5"], "data.holdout=1.5: must be less than 1"),
    (["optimizer.lr=nan"], "optimizer.lr=nan: must be a finite number"),
    (["optimizer.lr=inf"], "optimizer.lr=inf: must be a finite number"),
    (["solver.tol=-1e-3"], "solver.tol=-1e-3: must be greater than 0"),
    (["seed=-1"], "seed=-1: must be greater than or equal to 0"),
    (["device=gpu"], "device=gpu: choose from auto, cpu, cuda, cuda:N, mps"),
    (["precision=half"], "precision=half: choose from float32, tf32, float64, bf16"),
    (["eval.train=most"], "eval.train=most: choose from none, all; or must be a valid integer"),
    (
        ["solver=rk4", "solver.tol=1e-3"],
        "solver.tol=1e-3: not used by solver=rk4; it takes jump_t, step",
    ),
    (
        ["solver.step_size=0.1"],
        "solver.step_size=0.1: not used by solver=dopri5; it takes jump_t, tol",
    ),
    (["solver=rk4", "solver.step_size=1", "solver.n_steps=3"], "give either solver.step_size or"),
    (["solver=rk4", "solver.step_size=null"], "solver=rk4: give either solver.step_size or"),
    (["solver.tol=null"], "solver=dopri5: needs solver.tol, or both"),
    (["solver=explicit_adams", "solver.rtol=1"], "solver.rtol=1: not used by"),
    (["solver=scipy"], "solver=scipy sensitivity=discrete: scipy's solution carries no gradient"),
    (["sensitivity.norm=full"], "sensitivity.norm=full: not used by sensitivity=discrete"),
    (
        ["solver=rk4", "sensitivity=backsolve", "sensitivity.norm=seminorm"],
        "sensitivity.norm=seminorm: not used by sensitivity=backsolve with the solver rk4",
    ),
    (
        ["sensitivity=backsolve", "sensitivity.solver=rk4"],
        "sensitivity.solver=rk4: needs the step_size or n_steps",
    ),
    (
        ["solver=rk4", "sensitivity=backsolve", "sensitivity.solver=dopri5"],
        "sensitivity.solver=dopri5: needs sensitivity.rtol and sensitivity.atol",
    ),
    (["optimizer.momentum=0.9"], "optimizer.momentum=0.9: not used by optimizer=adam; it takes lr"),
    (["schedule.gamma=0.1"], "schedule.gamma=0.1: not used by schedule=constant"),
    (["schedule=step", "schedule.milestones=[3,2]"], "schedule.milestones=[3,2]: must increase"),
    (["data.root=x"], "data.root=x: not used by data=digits; it takes limit"),
    (["model=resnet", "solver=rk4"], "solver=rk4: not used, model.core=residual has no ODE"),
    (["model=mlp", "sensitivity=backsolve"], "sensitivity=backsolve: not used, model.core=none"),
    (["model=mlp", "model.core=ode"], "model.core=ode: model=mlp has no field f; set model.field"),
    (["model.core=residual"], "model.blocks: model.core=residual needs a number"),
    (["model.blocks=3"], "model.blocks=3: not used by model.core=ode"),
    (["model.t1=0"], "model.t1=0: equals model.t0"),
    (["model.t0=null"], "model.t0: model.core=ode needs it"),
    (["model.core=plain", "model.t1=2"], "model.t1=2: not used by model.core=plain"),
    (["model.augment_by=layer"], "model.augment_by=layer: not used by model.augment=0"),
    (["model.augment=2", "model.augment_by=null"], "model.augment_by: model.augment=2 needs it"),
    (["model.core=none", "model.augment=2"], "model.augment=2: not used by model.core=none"),
    (
        ["model.dynamics=heavy"],
        "model.dynamics=heavy: choose from first_order, second_order, heavy",
    ),
    (["model.damping=0.1"], "model.damping=0.1: not used by model.core=ode"),
    (
        ["model.dynamics=second_order", "model.damping=0.1"],
        "model.damping=0.1: not used by model.core=ode with model.dynamics=second_order",
    ),
    (["model.dynamics=heavy_ball", "model.damping=big"], "model.damping=big: choose from learned"),
    (["model.dropout_before=1"], "model.dropout_before=1: must be less than 1"),
    (["model.weights_in_t=0"], "model.weights_in_t=0: must be greater than"),
    (
        ["data=spiral_linear", "model=linear_field", "model.dynamics=second_order"],
        "model.dynamics=second_order: not with data=spiral_linear, which is fitted",
    ),
    (
        ["data=spiral_linear", "model=linear_field", "model.t1=2"],
        "model.t1=2: not with data=spiral_linear, which has its own times",
    ),
    (["checkpoint=x"], "checkpoint=x: not used by task=train"),
    (["task=eval"], "task=eval: needs checkpoint="),
    (["solver.tol=1e-2,1e-3"], "solver.tol=1e-2,1e-3: several values need -m"),
    (["epochs"], "epochs: not of the form key=value"),
    (["train=5"], "train=5: a section; set one of its keys: train.accumulate, "),
    (["epochs=${nothing}"], "nothing"),
    (["~model"], "~model: nothing can be left out"),
    (["model.name=conv"], "model.name=conv: not a key to set; choose with model=conv"),
    (["device=cuda:01"], "device=cuda:01: choose from auto, cpu, cuda, cuda:N, mps"),
    (["solver=rk4", "solver.n_steps=10000000"], "must be less than or equal to 1000000"),
    (["solver=rk4", "solver.step_size=1e-12"], "solver.step_size=1e-12: must be greater than"),
    (["seed=${oc.env:NOT_SET,3}"], "seed=3: must be a valid integer, not text"),
    (["schedule=step", "schedule.milestones=[1,a]"], "schedule.milestones=[1,a]: must be a"),
    (["solver=null"], "solver=null: choose from"),
]


@pytest.mark.parametrize(("overrides", "message"), MISTAKES)
def test_a_mistake_is_one_line_with_key_value_and_choices(
    overrides: list[str], message: str
) -> None:
    (problem,) = problems(*overrides)
    for part in message.split(".*"):
        assert part in problem


def test_all_mistakes_of_a_command_are_shown_at_once() -> None:
    found = problems(
        "model=convv", "epocs=3", "solver.tol=-1", "epochs=0", "+a.b=2", "optimizer.lr"
    )
    assert [problem.split(":")[0].split("=")[0] for problem in found] == [
        "optimizer.lr",
        "model",
        "epocs",
        "a.b",
        "epochs",
        "solver.tol",
    ]


def test_of_a_key_that_is_typed_twice_the_last_one_counts() -> None:
    """In what is run, and in what is recorded as typed."""
    with Composer() as composer:
        typed = composer.parse(["seed=1", "model=mlp", "+seed=2", "model=dense"])
        command = composer.command(typed, multirun=False)
    (job,) = command.jobs
    assert (job.config.seed, job.config.model.name) == (2, "dense")
    assert [*job.overrides] == ["seed=2", "model=dense"]
    assert [*command.overrides] == ["++seed=2", "model=dense"]


def test_every_job_of_a_sweep_is_checked() -> None:
    assert problems("solver.tol=1e-2,-1", "seed=0,1", multirun=True) == [
        "solver.tol=-1: must be greater than 0"
    ]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("seed=range(0,0)", "seed=range(0,0): no values to run with"),
        ("seed=glob(x*)", "no values to run with"),
        ("solver.tol=interval(0,1)", "solver.tol=interval(0,1): BasicSweeper does not"),
        ("hydra.sweep.dir=a,b", "hydra.sweep.dir=a,b: takes one value"),
        ("hydra.sweep.subdir=x", "hydra.sweep.subdir=x: not to be set"),
        ("hydra.searchpath=x", "hydra.searchpath: no such folder x"),
    ],
)
def test_sweeps_that_cannot_be(override: str, message: str) -> None:
    assert message in " ".join(problems(override, multirun=True))


def test_in_a_sweep_over_models_solver_keys_are_ignored_where_there_is_no_ode() -> None:
    conv, resnet = composed("model=conv,resnet", "solver=rk4", multirun=True)
    assert conv.config.solver is not None
    assert conv.config.solver.name == "rk4"
    assert resnet.config.solver is None
    assert resnet.notes == ["solver=rk4: not used, model.core=residual has no ODE"]
    assert problems("model=mlp,resnet", "solver=rk4", multirun=True)


def test_in_a_sweep_a_key_that_one_job_uses_is_a_note_in_the_others() -> None:
    dopri5, rk4 = composed("solver=dopri5,rk4", "solver.tol=1e-3", multirun=True)
    assert not dopri5.notes
    assert [note.partition(";")[0] for note in rk4.notes] == [
        "solver.tol=0.001: not used by solver=rk4"
    ]
    assert len(problems("solver=rk4,euler", "solver.tol=1e-3", multirun=True)) == 2


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("modle=conv", "model"),
        ("experimnt=lux_mnist", "experiment"),
        ("sensitivity=adjoint", "backsolve"),
        ("solver=RK45", "dopri5"),
        ("solver=RK4", "rk4"),
        ("solver=heun", "heun2"),
    ],
)
def test_what_was_meant(typed: str, meant: str) -> None:
    (line,) = problems(typed)
    assert f"(did you mean {meant}?)" in line


def test_other_names_are_of_choices_that_there_are() -> None:
    there = {choice for group in ("model", "solver", "sensitivity") for choice in choices(group)}
    assert set(ELSEWHERE.values()) <= there
    assert not set(ELSEWHERE) & there


def test_configuration_files_of_the_users_own(tmp_path: Path) -> None:
    """--config-dir adds choices; one that names code to run, or an unknown key, is refused."""
    (tmp_path / "model").mkdir()
    (tmp_path / "experiment").mkdir()
    (tmp_path / "model" / "wide.yaml").write_text(
        "name: wide\nstem: conv\nfield: conv\nhead: pool\ncore: ode\ninit: glorot\n"
    )
    delta = "# @package _global_\ndefaults:\n  - override /solver: tsit5\nepochs: 2\n"
    (tmp_path / "experiment" / "mine.yaml").write_text(delta)
    evil = "# @package _global_\nhydra:\n  callbacks:\n    x:\n      _target_: os.system\n"
    (tmp_path / "experiment" / "evil.yaml").write_text(evil)
    (tmp_path / "experiment" / "typo.yaml").write_text("# @package _global_\nepocs: 2\n")
    (tmp_path / "experiment" / "bare.yaml").write_text("epochs: 2\n")
    (tmp_path / "experiment" / "binary.yaml").write_bytes(b"epochs: \xff\n")
    mode = "# @package _global_\nhydra:\n  mode: MULTIRUN\n"
    (tmp_path / "experiment" / "mode.yaml").write_text(mode)
    (job,) = composed("model=wide", "experiment=mine", config_dir=tmp_path)
    assert job.config.solver is not None
    assert (job.config.model.init, job.config.solver.name) == ("glorot", "tsit5")
    assert job.config.epochs == 2
    with pytest.raises(UserError, match="may not name code"):
        composed("experiment=evil", config_dir=tmp_path)
    with pytest.raises(UserError, match=r"epocs=2: no such key \(did you mean epochs\?\)"):
        composed("experiment=typo", config_dir=tmp_path)
    with pytest.raises(UserError, match="begins with # @package _global_"):
        composed("experiment=bare", config_dir=tmp_path)
    with pytest.raises(UserError, match="codec can't decode"):
        composed("experiment=binary", config_dir=tmp_path)
    with pytest.raises(UserError, match="mode=MULTIRUN: not in a file; give -m"):
        composed("experiment=mode", config_dir=tmp_path)
    with pytest.raises(UserError, match=r"model=widee: choose from .*did you mean wide"):
        composed("model=widee", config_dir=tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        *("defaults: 5", "defaults: {a: b}", "defaults: [null]", "defaults: [x]", "a: &a [*a]"),
        *("a: [1", "# @package _global_\nhydra: null", "# @package _global_\nresume: x"),
        "# @package _global_\nhydra: {job: {chdir: true}}",
    ],
)
def test_a_file_that_cannot_be_composed_is_one_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "x.yaml").write_text(text)
    with pytest.raises(UserError) as caught:
        composed("experiment=x", config_dir=tmp_path)
    (problem,) = caught.value.problems
    assert "\n" not in problem


def test_a_model_file_without_its_parts(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "half.yaml").write_text("name: half\n")
    with pytest.raises(UserError) as caught:
        composed("model=half", config_dir=tmp_path)
    for part in ("stem", "head"):
        assert f"model.{part}: missing" in caught.value.problems
