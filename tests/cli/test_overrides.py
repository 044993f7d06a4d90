"""Command lines that Hydra's grammar, or Hydra, would refuse, misread or choke on."""

import os
import shlex
import sys
from pathlib import Path

import pytest

from node_cli.cli.overrides import CommandLine, Parser, key_of
from node_cli.config.messages import quoted, shell_override
from tests.commands import QUICK, NodeTrain, composed

pytestmark = pytest.mark.usefixtures("undrawn")

NAMES = ["läufe", "daten/größe", "中文", "a+b", "d(en)", "R&D", "it's", "a;b", "a~b", "a=b", "a#b"]
ODD = [*NAMES, "1e5", "true", "null", "a\\b", "q\\1", "a\\", "a\\'b", "a\\\\'", "10", "a b", "x,y"]


@pytest.mark.parametrize("name", NAMES)
def test_a_path_is_taken_as_it_stands(name: str) -> None:
    for key in ("hydra.run.dir", "data.root", "checkpoint", "resume"):
        line = Parser().command_line([f"{key}={name}"])
        assert not line.problems
        assert line.overrides[0].value == name
        assert Parser().command_line([line.overrides[0].text]).overrides[0].value == name
    assert Parser().command_line([f"model={name}"]).problems or name == "a+b"


@pytest.mark.parametrize("name", ["1e5", "true", "1_000", "0x10"])
def test_a_path_that_looks_like_a_number_is_a_path(name: str) -> None:
    assert Parser().command_line([f"resume={name}"]).overrides[0].value == name


@pytest.mark.parametrize("name", ODD)
def test_what_is_printed_can_be_pasted(name: str) -> None:
    """Through a shell and Hydra's grammar to the same text."""
    (word,) = shlex.split(shell_override("resume", name))
    assert Parser().command_line([word]).overrides[0].value == name
    assert Parser().command_line([quoted("model", name)]).overrides[0].value == name


def test_a_run_in_an_odd_folder(node_train: NodeTrain, tmp_path: Path) -> None:
    """A backslash, too: one folder, not two."""
    name = "q\\1 läufe"
    result = node_train(*QUICK, f"hydra.run.dir={name}")
    assert result.code == 0
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name / "result.json").exists()
    (word,) = shlex.split(shell_override("resume", name))
    assert node_train(word).code == 0


def test_the_home_folder(
    node_train: NodeTrain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    for number, typed in enumerate(("hydra.run.dir=~/0", "hydra.run.dir='~/1'")):
        assert node_train(*QUICK, typed).code == 0
        assert (tmp_path / "home" / str(number) / "result.json").exists()
    assert not (tmp_path / "~").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-m", "seed=range(0,1,0)"], "seed=range(0,1,0): "),
        (["-m", "seed=choice(1,2),3"], "seed=choice(1,2),3: "),
        (["-m", "seed=shuffle(1,2),3"], "seed=shuffle(1,2),3: "),
        (["hydra.searchpath=x"], "hydra.searchpath: no such folder x"),
        (["-m", "seed=range(0,1000000000)"], "1,000,000,000 jobs; a sweep has at most 10,000"),
        (["-m", "seed=range(0,1000)", "epochs=range(1,1000)"], "999,000 jobs; a sweep has at most"),
        (["-m", "seed=0,1", "seed=2,3"], "seed=2,3: seed is given twice; give all values at once"),
        (["-m", "seed=0,1", "seed=2"], "seed=2: seed is given twice"),
        ([f"resume={'x' * 300}"], "File name too long"),
        ([f"report={'x' * 300}"], "File name too long"),
        ([f"hydra.run.dir={'x' * 300}"], "File name too long"),
        (["task=eval", f"checkpoint={'x' * 300}"], "x"),
        (["+experiment=lux_mnist"], "+experiment=lux_mnist: leave out the +"),
        (["hydra.run.dir=a,b"], "one folder of this name is 'hydra.run.dir='"),
        (["data=mnist", "data.root=a,b"], "one folder of this name is 'data.root='"),
    ],
)
def test_one_line_for_each(
    node_train: NodeTrain, tmp_path: Path, arguments: list[str], message: str
) -> None:
    result = node_train(*arguments)
    assert result.code == 2
    assert message in result.err
    assert "Traceback" not in result.err
    assert result.err.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(os.name != "posix" or os.getuid() == 0, reason="root may do everything")
def test_a_folder_without_permission(node_train: NodeTrain, tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0)
    for typed in ("resume=closed/x", "report=closed", "hydra.run.dir=closed/x"):
        result = node_train(typed)
        assert result.code == 2
        assert "Permission denied" in result.err


def test_experiments_in_folders_and_with_another_ending(tmp_path: Path) -> None:
    folder = tmp_path / "experiment" / "sub"
    folder.mkdir(parents=True)
    (folder / "nested.yaml").write_text("# @package _global_\nepochs: 7\n")
    (tmp_path / "experiment" / "mine.yml").write_text("# @package _global_\nepochs: 7\n")
    (job,) = composed("experiment=sub/nested", config_dir=tmp_path)
    assert job.config.epochs == 7
    with pytest.raises(ValueError, match=r"mine.yml must be named mine.yaml"):
        composed("experiment=mine", config_dir=tmp_path)
    with pytest.raises(ValueError, match="experiment=sub/x: choose from"):
        composed("experiment=sub/x", config_dir=tmp_path)


def test_a_folder_named_after_the_overrides(
    node_train: NodeTrain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the pluses that our own calls of Hydra need."""
    typed = ["epochs=1", "data.limit=60", "hydra.run.dir=ov/${hydra.job.override_dirname}"]
    assert node_train(*typed).code == 0
    assert [path.name for path in (tmp_path / "ov").iterdir()] == ["data.limit=60,epochs=1"]
    assert sys.argv[0] == "node-train"


parser = Parser()


def jobs(*texts: str, multirun: bool = True) -> tuple[list[list[str]], list[str]]:
    problems: list[str] = []
    found = parser.command_line(texts).jobs(parser, multirun=multirun, problems=problems)
    return [[override.text for override in job] for job in found], problems


def test_keys_and_values() -> None:
    typed = parser.command_line(["+epochs=3", "model=conv", "a.b=[1,x]", "c='x y'", "d=null"])
    assert [(o.key, o.value) for o in typed.overrides] == [
        ("epochs", 3),
        ("model", "conv"),
        ("a.b", [1, "x"]),
        ("c", "x y"),
        ("d", None),
    ]
    assert typed.problems == []
    found = typed.find("model")
    assert found is not None and found.value == "conv"
    assert typed.find("modell") is None


def test_several_values_are_several_jobs() -> None:
    assert jobs("seed=1,2", "model=conv", "epochs=1,2") == (
        [
            ["seed=1", "model=conv", "epochs=1"],
            ["seed=1", "model=conv", "epochs=2"],
            ["seed=2", "model=conv", "epochs=1"],
            ["seed=2", "model=conv", "epochs=2"],
        ],
        [],
    )
    assert jobs("seed=1,2", "epochs=3", multirun=False) == (
        [["epochs=3"]],
        ["seed=1,2: several values need -m (or brackets, for a list)"],
    )
    search = ["hydra/sweeper=optuna", "seed=1,2,3", "x=interval(0,1)", "y=range(5)", "z=3"]
    found, problems = jobs(*search)
    assert problems == []
    assert [job[1:] for job in found] == [
        ["seed=1", "x=0.0", "y=0", "z=3"],
        ["seed=2", "x=0.0", "y=0", "z=3"],
        ["seed=3", "x=0.0", "y=0", "z=3"],
        ["seed=1", "x=1.0", "y=0", "z=3"],
        ["seed=1", "x=0.0", "y=4", "z=3"],
    ], "those by which the values are checked"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("epochs", "not of the form key=value"),
        ("a=b=[", "not of the form key=value"),
        ("~model", "nothing can be left out"),
    ],
)
def test_what_is_no_override(text: str, problem: str) -> None:
    typed = parser.command_line([text, "seed=1"])
    assert isinstance(typed, CommandLine)
    (line,) = typed.problems
    assert line.startswith(f"{text}: {problem}")
    assert [o.key for o in typed.overrides] == ["seed"], "the others are still looked at"


def test_the_key_of_a_recorded_override() -> None:
    assert [key_of(text) for text in ("a.b=c=d", "+x=1", "++y=2", "z")] == ["a.b", "x", "y", "z"]
