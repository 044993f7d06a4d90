"""Compiled functions as files: the same numbers from a file, and no trust in a damaged one."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from node_cli.ode.engines.compiled import function, packages
from node_cli.ode.engines.compiled.captured import CapturedField
from node_cli.ode.engines.compiled.field import CompiledField
from node_cli.ode.field import Autocast
from node_cli.ode.sensitivity.discrete import Discrete
from node_cli.ode.solver import Solver
from node_cli.ode.work import Work
from tests.ode.problems import times


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder of packages, which are not loaded but read."""
    monkeypatch.setenv(packages.VARIABLE, str(tmp_path / "packages"))
    monkeypatch.setattr(packages, "load", lambda path: path.read_bytes())
    (tmp_path / "library").write_bytes(b"code" * 1000)
    packages.keep("a", tmp_path / "library")
    return tmp_path / "packages"


def test_a_package_that_is_not_whole_is_none(folder: Path) -> None:
    path = folder / "a.so"
    whole = path.read_bytes()
    assert packages.find("a") == whole
    assert packages.find("b") is None
    for damaged in (b"", whole[:-1], whole[:100], b"\0" + whole[1:], b"something else"):
        path.write_bytes(damaged)
        assert packages.find("a") is None
    packages.keep("a", folder.parent / "library")
    assert packages.find("a") == whole


def test_those_not_used_for_longest_go(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "MOST", 2)
    clock = iter(range(1, 100))
    utime = packages.os.utime
    monkeypatch.setattr(packages.os, "utime", lambda path: utime(path, (10**9 + next(clock),) * 2))
    for name in "abcd":
        packages.keep(name, folder.parent / "library")
        packages.find(name)
    assert sorted(path.stem for path in folder.iterdir()) == ["c", "d"]


def test_a_folder_that_cannot_be_used_is_none(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(packages.VARIABLE, str(folder / "a.so"))
    packages.keep("a", folder.parent / "library")
    packages.keep_answer("b", found=True)
    assert packages.find("a") is None
    assert packages.answer("b") is None


def test_answers_are_kept(folder: Path) -> None:
    for found in (True, False):
        packages.keep_answer("b", found)
        assert packages.answer("b") is found
    (folder / "b.txt").write_text("perhaps")
    assert packages.answer("b") is None


def test_the_name_is_that_of_all_that_code_depends_on(monkeypatch: pytest.MonkeyPatch) -> None:
    names = [packages.name_of("a"), packages.name_of("a", ""), packages.name_of("b")]
    torch.set_num_threads(2)
    names.append(packages.name_of("a"))
    torch.set_num_threads(1)
    monkeypatch.setenv("TORCHINDUCTOR_MAX_AUTOTUNE", "1")
    names.append(packages.name_of("a"))
    monkeypatch.setattr(packages, "_code", lambda: "other")
    names.append(packages.name_of("a"))
    monkeypatch.setattr(packages, "_machine", lambda: ("other",))
    names.append(packages.name_of("a"))
    assert len(set(names)) == len(names)


class Scaled(nn.Module):
    """A field with a number and a tensor that are no parameters."""

    def __init__(self, number: float, entry: float) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.linear = nn.Linear(3, 3)
        self.number = number
        self.entry = entry

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        dy: Tensor = self.linear(y).tanh() * self.number + torch.tensor([0.0, self.entry, 0.0])
        return dy


def test_the_text_of_a_field_is_that_of_all_it_computes() -> None:
    def text(field: nn.Module) -> str:
        return CapturedField(field, Autocast("cpu"), torch.zeros(()), torch.zeros(2, 3)).text

    frozen = Scaled(0.5, 1.0)
    frozen.linear.bias.requires_grad_(False)
    texts = [text(Scaled(*values)) for values in ((0.5, 1.0), (0.25, 1.0), (0.5, 2.0))]
    assert len({*texts, text(frozen)}) == 4
    assert text(Scaled(0.5, 1.0)) == texts[0]


@pytest.mark.slow
@pytest.mark.usefixtures("_loops_write")
def test_a_function_from_a_file_is_the_one_that_was_compiled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To the last bit; and so is the one that is compiled where the file is damaged."""
    monkeypatch.setenv(packages.VARIABLE, str(tmp_path))
    compile_anew, compilations = function.library_of, []

    def counted(*arguments: object) -> Path:
        compilations.append(arguments)
        return compile_anew(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(function, "library_of", counted)

    def gradients() -> list[Tensor]:
        field = Scaled(0.5, 1.0)
        y0 = torch.linspace(-1, 1, 6).reshape(2, 3).requires_grad_()
        solver = Solver("bosh3", rtol=1e-4, atol=1e-4)
        y = Discrete()(CompiledField(field), y0, times(0.0, 1.0), solver, Work())
        return [y.detach(), *torch.autograd.grad((y[1] ** 2).sum(), [y0, *field.parameters()])]

    first = gradients()
    assert len(compilations) == 2
    again = gradients()
    assert len(compilations) == 2
    for path in tmp_path.iterdir():
        content = path.read_bytes()
        path.unlink()  # it is in the memory of this process
        path.write_bytes(content[:-1000])
    compiled_again = gradients()
    assert len(compilations) == 4
    for others in (again, compiled_again):
        assert all(map(torch.equal, first, others))


@torch.library.custom_op("node_train_tests::doubled", mutates_args=())
def doubled(x: Tensor) -> Tensor:
    return 2 * x


@doubled.register_fake
def _(x: Tensor) -> Tensor:
    return torch.empty_like(x)


@pytest.mark.slow
@pytest.mark.usefixtures("_loops_write")
def test_a_function_that_cannot_be_a_file_is_compiled_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(packages.VARIABLE, str(tmp_path))
    packaged = function.compiled(
        lambda: lambda x: (doubled(x) + 1,), torch.device("cpu"), ["x"], "a test"
    )
    for _ in range(2):
        (found,) = packaged(torch.ones(3))
        assert found.tolist() == [3.0, 3.0, 3.0]
    assert isinstance(packaged, function.Packaged)
    assert packaged.instead or [*tmp_path.glob("*.so")]
