"""What several tests share."""

import os
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from node_cli.cli.main import main
from node_cli.config.schema import Config
from node_cli.ode.engines.compiled import field, packages
from node_cli.ode.engines.compiled.function import JustInTime
from tests.commands import Result, composed
from tests.packages import Installer, forget

FULL_DATA = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs and sweeps of this process draw no plots, which take most of the time of short ones."""
    for drawn in ("node_cli.cli.jobs.plot_run", "node_cli.report.summary.plot_sweep"):
        monkeypatch.setattr(drawn, lambda *_: None)


@pytest.fixture(scope="session", autouse=True)
def _compiled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What this session compiles is kept for it alone, also by the processes that it starts."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(packages.VARIABLE, str(tmp_path_factory.mktemp("compiled")))
        yield


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Results do not depend on the machine's number of cores, nor time on who else uses them."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # of processes that are started
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def configure() -> Callable[..., Config]:
    """The checked configuration of a command line."""

    def configure(*overrides: str) -> Config:
        (job,) = composed(*overrides)
        return job.config

    return configure


@pytest.fixture
def node_train(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Callable[..., Result]:
    """Runs a command line in an empty folder, in this process."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CI", "true")

    def node_train(*arguments: str) -> Result:
        monkeypatch.setattr(sys, "argv", ["node-train", *arguments])
        code = main()
        return Result(code, *capfd.readouterr())

    return node_train


@pytest.fixture
def install(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Installer]:
    """Installs packages of parts for the test."""
    site = tmp_path_factory.mktemp("site")
    with monkeypatch.context() as patch:
        patch.syspath_prepend(site)
        installer = Installer(site)
        yield installer
        installer.close()
    forget()


@pytest.fixture
def full_data() -> Path:
    """The folder with the full MNIST and Fashion-MNIST; skips where it is not there."""
    folder = Path(os.environ.get("NODE_TRAIN_DATA", FULL_DATA))
    if not (folder / "MNIST" / "raw" / "train-images-idx3-ubyte").exists():
        pytest.skip(f"needs the full MNIST in {folder} (or in the folder NODE_TRAIN_DATA names)")
    return folder


@pytest.fixture
def _loops_write() -> None:
    """Skips where whole solves cannot be compiled."""
    from node_cli.machine.compiler import loops_write

    if not loops_write():
        pytest.skip("this torch does not compile loops that write into a buffer")
    torch.compiler.reset()


@pytest.fixture
def graphs(_loops_write: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[object]]:
    """Compiling means tracing forward and backward, by torch.compile; every graph that is made is
    listed."""
    made: list[object] = []

    def backend(graph: Any, inputs: Any, options: Any = None) -> Any:
        made.append(graph)
        return aot_eager(graph, inputs)

    aot_eager = torch._dynamo.lookup_backend("aot_eager")

    def traced(make: Any, device: object, parts: object, what: str) -> JustInTime:
        return JustInTime(make, what)

    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=backend))
    monkeypatch.setattr(field, "compiled", traced)
    yield made
    torch.compiler.reset()
