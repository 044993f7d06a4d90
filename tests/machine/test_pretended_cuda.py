"""What runs do on a device, by a pretended one; ``test_cuda.py`` asks a real one."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from node_cli.config.schema import Config
from node_cli.errors import UserError
from node_cli.machine import device
from node_cli.records.run_folder import RunFolder
from node_cli.tasks.run import execute
from node_cli.tasks.setup import Setup
from tests.folders import rows, weights
from tests.pretend_cuda import copies, pretended_cuda, waits
from tests.runs import go_on, run
from tests.training_steps import METHODS, WAITS, training_step

Configure = Callable[..., Config]

# The size of a first step is found by other operations on a device, and tells where f has ReLUs.
GIVEN = "solver.first_step=0.1"
CONVOLUTIONAL: dict[str, list[str]] = {
    "conv_dense": [],
    "conv": [],
    "conv_bn": [GIVEN],
    "odenet": [GIVEN],
    "resnet": [],
}


@pytest.fixture(autouse=True)
def _short_paths(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pretended operation takes twenty times as long as one of the CPU."""
    for name in ("state_paths", "state_flow"):
        monkeypatch.setattr(f"node_cli.learn.{name}.INTERVALS", 2)


@pytest.fixture
def _cuda() -> Iterator[None]:
    with pretended_cuda():
        yield


def assert_agree(one: RunFolder, other: RunFolder) -> None:
    """The same steps, and the same numbers but for rounding: a first step size is found by other
    operations on a device."""
    for name in ("steps", "epochs", "evaluations"):
        for a, b in zip(rows(getattr(one, name)), rows(getattr(other, name)), strict=True):
            for column in a.keys() - {"seconds", "eval_seconds", "images_per_s", "peak_memory_mib"}:
                try:
                    assert float(a[column]) == pytest.approx(float(b[column]), rel=1e-4), column
                except ValueError:
                    assert a[column] == b[column]
    others = weights(other.last)
    for name, w in weights(one.last).items():
        torch.testing.assert_close(w, others[name], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "options",
    [
        *([f"sensitivity={method}"] for method in METHODS),
        [
            "model=mlp",
            "data.augment=[crop,flip,randaugment,erasing,cutmix,mixup]",
            "optimizer.grad_clip=0.1",
        ],
        ["model.core=residual", "model.blocks=2"],
        *(
            pytest.param([f"model={name}", "batch_size=16", *typed], marks=pytest.mark.slow)
            for name, typed in CONVOLUTIONAL.items()
        ),
        ["solver=rk4", "solver.n_steps=3"],
    ],
    ids=" ".join,
)
def test_a_run_on_cuda_1_is_that_of_the_cpu(
    configure: Configure, tmp_path: Path, options: list[str]
) -> None:
    options = ["data.limit=60", "batch_size=32", "eval.batch_size=400", "epochs=2", *options]
    on_cpu = run(configure("device=cpu", *options), tmp_path / "cpu")
    with pretended_cuda():
        on_cuda = run(configure("device=cuda:1", *options), tmp_path / "cuda")
    assert on_cuda.read_result()["environment"]["device"] == "cuda:1"
    assert_agree(on_cpu, on_cuda)


def test_a_run_that_changes_its_device(configure: Configure, tmp_path: Path) -> None:
    """Begun on one device, gone on with on another and on the CPU, evaluated on a third."""
    options = ["data.limit=60", "batch_size=32", "eval.batch_size=400", "optimizer=adamw"]
    stayed = run(configure("device=cpu", "epochs=4", *options), tmp_path / "stayed")
    with pretended_cuda():
        moved = run(configure("device=cuda:1", "epochs=1", *options), tmp_path / "moved")
        go_on(moved, device="cuda:0", epochs=2)
    go_on(moved, device="cpu", epochs=3)
    with pretended_cuda():
        go_on(moved, device="cuda", epochs=4)
        evaluation = ["task=eval", f"checkpoint={moved.last}", "device=cuda:1"]
        evaluated = run(configure(*evaluation), tmp_path / "evaluated")
    assert_agree(moved, stayed)
    last = rows(stayed.evaluations)[-1]
    found = {row["split"]: row for row in rows(evaluated.evaluations)}[last["split"]]
    assert float(found["loss"]) == pytest.approx(float(last["loss"]), rel=1e-4)


@pytest.mark.usefixtures("_cuda")
def test_a_forgotten_to_is_caught(
    configure: Configure, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("node_cli.data.augment_images.sent", lambda x, _: x)
    folder = RunFolder(tmp_path)
    execute(configure("device=cuda:1", "data.limit=60", "data.augment=[crop]"), folder, [])
    assert "Expected all tensors to be on the same device" in folder.read_status()["reason"]


@pytest.mark.usefixtures("_cuda")
@pytest.mark.parametrize("options", WAITS)
def test_how_often_a_training_step_waits(configure: Configure, options: str) -> None:
    """Never for a copy to the device, and for so many from it."""
    step = training_step(configure("device=cuda:1", "data.limit=600", *options.split()))
    step()
    copies.clear()
    step()
    assert waits() == (0, WAITS[options]), copies


@pytest.mark.usefixtures("_cuda")
def test_waits_of_a_trajectory(configure: Configure) -> None:
    """One for each requested time: is the state finite there?"""
    step = training_step(configure("device=cuda:1", "experiment=spiral_linear"))
    step()
    copies.clear()
    step()
    intervals = sum(copy.line.startswith("ode/engines/eager/solve.py") for copy in copies)
    assert waits() == (0, intervals + 1)


@pytest.mark.usefixtures("_cuda")
def test_an_evaluation_waits_once_beside_its_solves(configure: Configure) -> None:
    config = configure(
        "device=cuda:1", "data.limit=200", "eval.batch_size=20", "solver=rk4", "solver.n_steps=2"
    )
    objective = Setup(config).objective
    copies.clear()
    metrics, _ = objective.evaluate(0)
    batches = sum(m.batches for m in metrics.values())
    assert batches > 5
    assert waits() == (0, batches + len(metrics))


@pytest.mark.usefixtures("_cuda")
def test_a_device_that_does_not_work(configure: Configure, monkeypatch: pytest.MonkeyPatch) -> None:
    """Full, in use by another process, or unknown to this torch: found before a run begins."""
    busy = "CUDA error: CUDA-capable device(s) is/are busy or unavailable\nFor debugging consider"

    def ones(*_: object, **__: object) -> None:
        raise RuntimeError(busy)

    monkeypatch.setattr(torch, "ones", ones)
    told = r"device=cuda:1: does not work \(CUDA error: .* unavailable\); choose another, or"
    with pytest.raises(UserError, match=told):
        device.choose(configure("device=cuda:1"))
    notices: list[str] = []
    assert device.choose(configure("device=auto"), notices.append).device == torch.device("cpu")
    assert notices[0].startswith("device=auto: cuda does not work (CUDA error:")
    assert notices[0].endswith("; going on without")


@pytest.mark.usefixtures("_cuda")
def test_tf32_needs_a_card_that_has_it(
    configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert device.choose(configure("precision=tf32")).device.type == "cuda"
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (7, 5))
    with pytest.raises(UserError, match="precision=tf32: pretended has none"):
        device.choose(configure("precision=tf32", "device=cuda"))


@pytest.mark.usefixtures("_cuda")
def test_the_chosen_device_is_the_current_one(configure: Configure) -> None:
    for chosen, number in (("cuda:1", 1), ("cuda", 0)):
        Setup(configure(f"device={chosen}", "data.limit=60"))
        assert torch.cuda.current_device() == number
