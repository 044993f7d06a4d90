"""What only a machine with CUDA can show: ``pytest -m gpu``, two minutes on an H100."""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from node_cli.config.schema import Config
from node_cli.errors import UserError
from node_cli.machine import device
from node_cli.machine.compiler import loops_write
from node_cli.records.run_folder import RunFolder
from node_cli.tasks.run import execute
from tests.folders import facts, rows, same_weights
from tests.runs import go_on
from tests.training_steps import METHODS, WAITS, training_step

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA"),
]
Configure = Callable[..., Config]
Train = Callable[..., RunFolder]


@pytest.fixture
def train(configure: Configure, tmp_path: Path) -> Train:
    def train(name: str, *overrides: str) -> RunFolder:
        folder = RunFolder(tmp_path / name)
        folder.path.mkdir(exist_ok=True)
        options = {"data.limit": "300", "epochs": "2"}
        if {"task=check_gradients", "task=profile"} & {*overrides}:
            del options["epochs"]
        if {"task=eval", "task=solver_swap"} & {*overrides}:
            options = {}
        options |= dict(override.split("=", 1) for override in overrides)
        overrides = tuple("=".join(option) for option in options.items())
        execute(configure(*overrides), folder, overrides)
        assert folder.read_status()["status"] == "done"
        return folder

    return train


@pytest.fixture
def little_memory() -> Iterator[Callable[[], None]]:
    """Called, it leaves 256 MiB of the device to this process."""
    whole = torch.cuda.get_device_properties(0).total_memory

    def limit() -> None:
        torch.cuda.empty_cache()
        torch.cuda.set_per_process_memory_fraction(2**28 / whole)

    yield limit
    torch.cuda.set_per_process_memory_fraction(1.0)


@contextmanager
def waits() -> Iterator[list[str]]:
    """Where the host waits for the device, as torch tells of it."""
    lines: list[str] = []
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            yield lines
        finally:
            torch.cuda.set_sync_debug_mode("default")
    lines += [
        f"{w.filename}:{w.lineno}"
        for w in found
        if "synchronizing CUDA operation" in str(w.message)
    ]


@pytest.mark.parametrize(
    "model", ["dense", "conv", "conv_dense", "conv_bn", "odenet", "resnet", "mlp"]
)
def test_cuda_agrees_with_the_cpu(train: Train, model: str) -> None:
    """Same images in the same order, same first loss, same NFE."""
    folders = [train(d, f"model={model}", f"device={d}", "epochs=1") for d in ("cpu", "cuda")]
    cpu, cuda = (rows(folder.steps) for folder in folders)
    assert float(cuda[0]["loss"]) == pytest.approx(float(cpu[0]["loss"]), rel=1e-4)
    assert float(cuda[-1]["loss"]) == pytest.approx(float(cpu[-1]["loss"]), rel=5e-2)
    assert cuda[0]["nfe_forward"] == cpu[0]["nfe_forward"]
    assert float(rows(folders[1].epochs)[0]["peak_memory_mib"]) < 2000


@pytest.mark.parametrize("method", METHODS)
def test_every_gradient_method_agrees_with_the_cpu(train: Train, method: str) -> None:
    options = [f"sensitivity={method}", "optimizer.grad_clip=1"]
    folders = [train(d.replace(":", "_"), f"device={d}", *options) for d in ("cpu", "cuda:0")]
    assert folders[1].read_result()["environment"]["device"] == "cuda:0"
    for cpu, cuda in zip(*(rows(folder.steps) for folder in folders), strict=True):
        for name in ("loss", "grad_norm", "nfe_forward", "nfe_backward", "vjps_backward"):
            assert float(cuda[name]) == pytest.approx(float(cpu[name]), rel=1e-3), name


def test_every_gradient_method_in_one_check(train: Train) -> None:
    folder = train("check", "task=check_gradients", "device=cuda", "precision=float64")
    found = rows(folder.path / "gradients.csv")
    assert {row["sensitivity"] for row in found} >= set(METHODS)


@pytest.mark.parametrize("options", WAITS)
def test_how_often_a_training_step_waits(configure: Configure, options: str) -> None:
    """As on the pretended device: never for a copy to the device, and for so many from it."""
    step = training_step(configure("device=cuda", "data.limit=600", *options.split()))
    step()
    step()
    with waits() as found:
        step()
    assert len(found) == WAITS[options], found


def test_float32_is_true_float32_and_tf32_is_not(train: Train) -> None:
    losses = {
        precision: float(
            rows(
                train(
                    precision, "model=conv", "epochs=1", "device=cuda", f"precision={precision}"
                ).steps
            )[0]["loss"]
        )
        for precision in ("float64", "float32", "tf32", "bf16")
    }
    errors = {p: abs(loss - losses["float64"]) for p, loss in losses.items() if p != "float64"}
    assert errors["float32"] < 1e-5
    assert errors["float32"] < errors["tf32"] < 1e-2
    assert errors["bf16"] < 5e-2


@pytest.mark.parametrize("sensitivity", METHODS)
def test_bf16_with_every_method(train: Train, sensitivity: str) -> None:
    """Whose backward passes run in a thread of their own, which knows of no autocast."""
    options = ["device=cuda", "solver.tol=1e-2", f"sensitivity={sensitivity}"]
    found, right = (
        rows(train(p, f"precision={p}", *options).steps)[0] for p in ("bf16", "float32")
    )
    assert float(found["loss"]) == pytest.approx(float(right["loss"]), rel=2e-2)
    assert float(found["grad_norm"]) == pytest.approx(float(right["grad_norm"]), rel=1e-1)


@pytest.mark.parametrize("sensitivity", ["discrete", "backsolve"])
def test_deterministic_runs_repeat_themselves(train: Train, sensitivity: str) -> None:
    options = ["model=conv", "device=cuda", "deterministic=true", f"sensitivity={sensitivity}"]
    first, again = train("first", *options), train("again", *options)
    assert facts(first.steps) == facts(again.steps)
    assert same_weights(first.last, again.last)


@pytest.mark.parametrize("options", [[], ["optimizer=adamw", "solver.first_step=warm"]])
def test_a_run_that_changes_its_device(train: Train, options: list[str]) -> None:
    """Begun on the CPU, gone on with on the GPU, and ended on the CPU."""
    moved = train("moved", "device=cpu", "epochs=1", *options)
    go_on(moved, device="cuda", epochs=2)
    assert moved.read_result()["environment"]["device"] == "cuda"
    go_on(moved, device="cpu", epochs=3)
    assert moved.read_status()["status"] == "done"
    stayed = train("stayed", "device=cpu", "epochs=3", *options)
    assert len(rows(moved.steps)) == len(rows(stayed.steps))
    for a, b in zip(rows(moved.steps), rows(stayed.steps), strict=True):
        assert float(a["loss"]) == pytest.approx(float(b["loss"]), rel=1e-3)


def test_an_evaluation_elsewhere(train: Train) -> None:
    trained = train("trained", "device=cuda")
    losses = []
    for name in ("cuda", "cpu"):
        folder = train(name, "task=eval", f"checkpoint={trained.path}", f"device={name}")
        losses.append(float(rows(folder.evaluations)[0]["loss"]))
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def assert_out_of_memory(folder: RunFolder, printed: str) -> None:
    status = folder.read_status()
    assert (status["status"], status["exit_code"]) == ("failed", 1)
    assert status["reason"].startswith("out of memory (tried to allocate")
    assert "sensitivity=checkpointed or backsolve" in status["reason"]
    assert printed.count("out of memory") == 1
    assert "Traceback" not in printed


def test_out_of_memory(
    train: Train,
    configure: Configure,
    tmp_path: Path,
    little_memory: Callable[[], None],
    capfd: pytest.CaptureFixture[str],
) -> None:
    """In a training step, as the run goes on, and in an evaluation; a smaller run then fits."""
    big = ["device=cuda", "model=conv", "batch_size=1200"]
    folder = RunFolder(tmp_path / "step")
    folder.path.mkdir()
    little_memory()
    capfd.readouterr()
    execute(configure("epochs=1", *big), folder, big)
    assert_out_of_memory(folder, capfd.readouterr().err)

    torch.cuda.set_per_process_memory_fraction(1.0)
    begun = train("begun", *big, "data.limit=1400", "epochs=1")
    little_memory()
    capfd.readouterr()
    go_on(begun, epochs=2)
    assert_out_of_memory(begun, capfd.readouterr().err)

    folder = RunFolder(tmp_path / "evaluation")
    folder.path.mkdir()
    evaluation = ["task=eval", "device=cuda", "eval.batch_size=100000", "eval.train=all"]
    execute(configure("model=conv", f"checkpoint={begun.path}", *evaluation), folder, evaluation)
    assert_out_of_memory(folder, capfd.readouterr().err)

    train("small", "device=cuda", "batch_size=16", "epochs=1")


def test_jobs_leave_no_memory_behind(train: Train) -> None:
    used = []
    for number in range(3):
        train(str(number), "device=cuda", "model=conv", "epochs=1")
        train(f"{number} small", "device=cuda", "epochs=1")
        used.append((torch.cuda.memory_allocated(), torch.cuda.memory_reserved()))
    assert used[2] == used[1]
    assert used[2][1] < 2**28


def test_what_is_recorded_of_the_device(train: Train) -> None:
    environment = train("run", "device=cuda:0", "epochs=1").read_result()["environment"]
    assert environment["device_name"] == torch.cuda.get_device_name(0)
    assert environment["cuda"] == torch.version.cuda
    assert environment["cudnn"] == torch.backends.cudnn.version()


def test_a_device_that_is_not_there(configure: Configure) -> None:
    with pytest.raises(UserError, match="device=cuda:99: not on this machine"):
        device.choose(configure("device=cuda:99"))


# Triton imports what torch 2.11 has deprecated; Dynamo looks at the gradients of whatever it meets.
@pytest.mark.filterwarnings("ignore:.torch.jit.script_method. is deprecated:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")
@pytest.mark.parametrize(
    "options", ["sensitivity=discrete precision=tf32", "sensitivity=backsolve"]
)
def test_compiled_steps_agree(
    train: Train, options: str, capfd: pytest.CaptureFixture[str]
) -> None:
    compiled = train("compiled", "device=cuda", "compile=true", *options.split())
    assert ("no whole solves" in capfd.readouterr().err) != loops_write(torch.device("cuda"))
    eager = train("eager", "device=cuda", *options.split())
    for a, b in zip(rows(compiled.steps), rows(eager.steps), strict=True):
        assert float(a["loss"]) == pytest.approx(float(b["loss"]), rel=1e-2)


def test_the_parts_of_a_step(train: Train) -> None:
    """By events of the device; together they are the step."""
    profile = train("profile", "task=profile", "device=cuda").read_result()
    *parts, added, step = profile["parts"]
    assert added["seconds"] == pytest.approx(step["seconds"], rel=0.5)
    assert all(part["seconds"] >= 0 for part in parts)
    assert added["peak_memory_mib"] > 0
    assert profile["solves"]["overhead"] > 0.5


def test_the_solver_swapped(train: Train, tmp_path: Path) -> None:
    train("run", "device=cuda")
    swap = train("swap", "task=solver_swap", "device=cuda", f"checkpoint={tmp_path / 'run'}")
    assert swap.read_result()["verdict"] == "ode"
