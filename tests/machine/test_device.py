"""torch's global switches: set by every run for itself, since the jobs of a sweep share them."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from node_cli.config.schema import Config, Precision
from node_cli.machine.device import Backend, activate
from tests.runs import run, watched_models

Configure = Callable[..., Config]
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _switches_restored() -> Iterator[None]:
    deterministic = torch.are_deterministic_algorithms_enabled()
    benchmark = torch.backends.cudnn.benchmark
    precisions = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    yield
    torch.use_deterministic_algorithms(deterministic)
    torch.backends.cudnn.benchmark = benchmark
    torch.backends.cuda.matmul.allow_tf32 = precisions[0]
    torch.backends.cudnn.allow_tf32 = precisions[1]


def test_deterministic_algorithms_are_those_of_the_run_itself(
    configure: Configure, tmp_path: Path
) -> None:
    for number, deterministic in enumerate((True, False, True)):
        seen = set()
        with watched_models(lambda *_: seen.add(torch.are_deterministic_algorithms_enabled())):  # noqa: B023
            option = f"deterministic={str(deterministic).lower()}"
            run(configure("data.limit=100", "epochs=1", option), tmp_path / str(number))
        assert seen == {deterministic}


def test_each_activation_undoes_the_one_before() -> None:
    def switches() -> tuple[object, ...]:
        return (
            torch.are_deterministic_algorithms_enabled(),
            torch.backends.cudnn.benchmark,
            torch.backends.cuda.matmul.allow_tf32,
            torch.backends.cudnn.allow_tf32,
        )

    activate(Backend(CPU, "tf32", torch.float32), deterministic=True)
    assert switches() == (True, False, True, True)
    activate(Backend(CPU, "float32", torch.float32), deterministic=False)
    assert switches() == (False, True, False, False)


@pytest.mark.parametrize("precision", ["float32", "tf32", "float64", "bf16"])
def test_precision_is_set_so_that_others_can_read_it(precision: Precision) -> None:
    """torch's two sets of flags contradict each other where both are used, and reading raises."""
    for each in ("float32", precision):
        activate(Backend(CPU, each, torch.float32), deterministic=False)
    fast = precision == "tf32"
    assert torch.backends.cuda.matmul.allow_tf32 == torch.backends.cudnn.allow_tf32 == fast
    assert torch.get_float32_matmul_precision() == ("high" if fast else "highest")
    assert (torch.backends.cuda.matmul.fp32_precision == "tf32") == fast
    assert (torch.backends.cudnn.conv.fp32_precision == "tf32") == fast
