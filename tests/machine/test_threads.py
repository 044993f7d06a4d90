"""How many threads: by the size of the model, by the machine, and the same ones to the end."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from node_cli.cli.resume import resumed
from node_cli.config.data import TrajectoryData
from node_cli.config.schema import MOST_THREADS, Config
from node_cli.errors import UserError
from node_cli.machine import threads
from node_cli.models.model import Model
from node_cli.records.run_folder import RunFolder
from node_cli.tasks.setup import objective_of
from tests.commands import NodeTrain
from tests.runs import go_on, run, run_and_kill, watched_models

Configure = Callable[..., Config]
IMAGE = (1, 28, 28)


def suited(config: Config) -> int:
    model = objective_of(config).build(config)
    sample = (2,) if isinstance(config.data, TrajectoryData) else IMAGE
    return threads.suited(model, sample, config.batch_size)


@pytest.mark.parametrize(
    ("overrides", "least", "most"),
    [
        (["model=dense"], 1, 1),
        (["model=dense", "model.core=plain"], 1, 1),
        (["model=dense", "batch_size=1024"], 1, 1),
        (["model=mlp_field", "data=spiral_nonlinear"], 1, 1),
        (["model=linear_field", "data=spiral_linear"], 1, 1),
        (["model=conv_dense"], 2, 4),
        (["model=mlp"], 8, 32),
        (["model=conv"], 64, 1000),
        (["model=conv_bn"], 64, 1000),
        (["model=odenet"], 64, 1000),
        (["model=resnet"], 64, 1000),
        (["model=conv", "batch_size=1"], 1, 1),
        (["model=conv", "sensitivity=backsolve", "sensitivity.vjp=compiled"], 64, 1000),
    ],
)
def test_one_thread_for_small_models_and_many_for_large_ones(
    configure: Configure, overrides: list[str], least: int, most: int
) -> None:
    assert least <= suited(configure(*overrides)) <= most


def test_counting_leaves_model_and_random_numbers_alone(configure: Configure) -> None:
    config = configure("model=conv_bn")
    model: Model = objective_of(config).build(config)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    random = torch.get_rng_state()
    threads.suited(model, IMAGE, 8)
    assert model.training
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random)


def test_usable_are_the_cores_of_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS")
    monkeypatch.setattr(threads, "_quotas", lambda: [16])
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 3, 5}, raising=False)
    assert threads.usable() == 3
    monkeypatch.setattr(threads, "_quotas", lambda: [16, 2])
    assert threads.usable() == 2


@pytest.mark.parametrize(("value", "number"), [("1", 1), ("6", 6), ("5,2", 5)])
def test_the_user_has_the_last_word_on_usable(
    monkeypatch: pytest.MonkeyPatch, value: str, number: int
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", value)
    assert threads.usable() == number


@pytest.mark.parametrize("value", ["", "0", "-1", "many"])
def test_what_is_no_number_of_threads_is_not_read(
    monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", value)
    assert 1 <= threads.usable() <= (os.cpu_count() or 1)


def test_quotas_of_every_control_group_around(tmp_path: Path) -> None:
    own = tmp_path / "cgroup"
    own.write_text("1:cpu:/old\n0::/outer/inner\n")
    root = tmp_path / "fs"
    (root / "outer" / "inner").mkdir(parents=True)
    assert min(threads._quotas(root, own)) > 10**6
    (root / "outer" / "cpu.max").write_text("150000 100000\n")
    (root / "outer" / "inner" / "cpu.max").write_text("max 100000\n")
    assert min(threads._quotas(root, own)) == 2
    (root / "cpu.max").write_text("100000 100000\n")
    assert min(threads._quotas(root, own)) == 1
    assert threads._quotas(root, tmp_path / "nowhere")


def test_every_run_sets_its_own_number(configure: Configure, tmp_path: Path) -> None:
    """The jobs of a sweep share a process."""
    for number, (typed, used) in enumerate([("3", 3), ("auto", 1), ("2", 2), ("auto", 1)]):
        seen = set()
        with watched_models(lambda *_: seen.add(torch.get_num_threads())):  # noqa: B023
            config = configure("data.limit=100", "epochs=1", f"threads={typed}")
            folder = run(config, tmp_path / str(number))
        assert seen == {used}
        assert folder.read_result()["environment"]["threads"] == used


def killed_with_two(configure: Configure, path: Path, monkeypatch: pytest.MonkeyPatch) -> RunFolder:
    """A run under ``threads=auto`` on a machine where that is 2, killed after its checkpoint; from
    here on auto is 1."""
    config = configure("data.limit=100", "epochs=2")
    with monkeypatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "2")
        patch.setattr(threads, "suited", lambda *_: 100)
        run_and_kill(config, path, 2, patch)
    torch.set_num_threads(1)
    return RunFolder(path)


def test_a_resumed_run_keeps_its_number(
    configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = killed_with_two(configure, tmp_path / "run", monkeypatch)
    go_on(folder)
    assert folder.read_result()["environment"]["threads"] == 2
    assert torch.load(folder.last, weights_only=True)["threads"] == 2


def test_another_number_is_taken_with_a_note(
    configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = killed_with_two(configure, tmp_path / "run", monkeypatch)
    assert resumed(folder, {"threads": 2}) is not None
    found = resumed(folder, {"threads": 3})
    assert found is not None
    (note,) = found[1]
    assert note.startswith("threads=3: the run began with 2;")
    go_on(folder, threads=3)
    assert folder.read_result()["environment"]["threads"] == 3


def test_a_checkpoint_of_old_goes_on_with_every_core_as_it_began(
    configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = killed_with_two(configure, tmp_path / "run", monkeypatch)
    checkpoint = torch.load(folder.last, weights_only=True)
    del checkpoint["threads"], checkpoint["config"]["threads"]
    torch.save(checkpoint, folder.last)
    text = folder.config.read_text()
    folder.config.write_text(text.replace("threads: auto\n", ""))
    assert "threads" not in folder.config.read_text()
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    go_on(folder)
    assert folder.read_result()["environment"]["threads"] == 2


def test_an_evaluation_has_the_number_of_its_command(node_train: NodeTrain, tmp_path: Path) -> None:
    assert node_train("data.limit=100", "epochs=1", "threads=2", "hydra.run.dir=run").code == 0
    for number, typed in enumerate([[], ["threads=3"]]):
        folder = f"eval{number}"
        result = node_train("task=eval", "checkpoint=run", *typed, f"hydra.run.dir={folder}")
        assert result.code == 0
        used = 3 if typed else 1
        assert f"cpu ({used} thread{'s' * (used > 1)})" in result.out
        assert RunFolder(tmp_path / folder).read_result()["environment"]["threads"] == used


@pytest.mark.parametrize("value", ["0", "-1", "1.5", "true", "many", "null", "1025"])
def test_a_wrong_number_is_one_line(configure: Configure, value: str) -> None:
    with pytest.raises(UserError) as error:
        configure(f"threads={value}")
    (line,) = error.value.problems
    assert line == f"threads={value}: choose auto, or a number from 1 to {MOST_THREADS}"


def test_counting_operations_does_not_load_the_compiler() -> None:
    """Which takes a second: of every command, since the number of threads depends on the count."""
    lines = [
        "import sys, torch",
        "from node_cli.machine.flops import Flops",
        "with Flops() as counted: torch.ones(2, 3) @ torch.ones(3, 4)",
        "assert counted.total == 48",
        "sys.exit('torch._dynamo' in sys.modules)",
    ]
    assert subprocess.run([sys.executable, "-c", "\n".join(lines)], check=False).returncode == 0
