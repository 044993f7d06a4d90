"""What only a machine with CUDA can show: ``pytest -m gpu``."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from node_cli.config.schema import Config
from node_cli.records.run_folder import RunFolder
from node_cli.tasks.run import execute
from tests.folders import facts, rows, same_weights

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA"),
]
Configure = Callable[..., Config]


@pytest.fixture
def train(configure: Configure, tmp_path: Path) -> Callable[..., RunFolder]:
    def train(name: str, *overrides: str) -> RunFolder:
        folder = RunFolder(tmp_path / name)
        folder.path.mkdir(exist_ok=True)
        execute(configure("data.limit=300", "epochs=2", *overrides), folder, overrides)
        assert folder.read_status()["status"] == "done"
        return folder

    return train


@pytest.mark.parametrize(
    "model", ["dense", "conv", "conv_dense", "conv_bn", "odenet", "resnet", "mlp"]
)
def test_cuda_agrees_with_the_cpu(train: Callable[..., RunFolder], model: str) -> None:
    """Same images in the same order, same first loss, same NFE."""
    folders = [train(d, f"model={model}", f"device={d}") for d in ("cpu", "cuda")]
    cpu, cuda = (rows(folder.steps) for folder in folders)
    assert float(cuda[0]["loss"]) == pytest.approx(float(cpu[0]["loss"]), rel=1e-4)
    assert float(cuda[-1]["loss"]) == pytest.approx(float(cpu[-1]["loss"]), rel=5e-2)
    assert cuda[0]["nfe_forward"] == cpu[0]["nfe_forward"]
    assert float(rows(folders[1].epochs)[0]["peak_memory_mib"]) < 2000


def test_float32_is_true_float32_and_tf32_is_not(train: Callable[..., RunFolder]) -> None:
    losses = {
        precision: float(
            rows(train(precision, "model=conv", "device=cuda", f"precision={precision}").steps)[0][
                "loss"
            ]
        )
        for precision in ("float64", "float32", "tf32", "bf16")
    }
    errors = {p: abs(loss - losses["float64"]) for p, loss in losses.items() if p != "float64"}
    assert errors["float32"] < 1e-5
    assert errors["float32"] < errors["tf32"] < 1e-2
    assert errors["bf16"] < 5e-2


@pytest.mark.parametrize("sensitivity", ["discrete", "backsolve"])
def test_deterministic_runs_repeat_themselves(
    train: Callable[..., RunFolder], sensitivity: str
) -> None:
    options = ["model=conv", "device=cuda", "deterministic=true", f"sensitivity={sensitivity}"]
    first, again = train("first", *options), train("again", *options)
    assert facts(first.steps) == facts(again.steps)
    assert same_weights(first.last, again.last)
