"""Files of a few lines that would cost minutes or all memory are refused at once."""

import time
from pathlib import Path

import pytest

from node_cli.config.files import CONF
from node_cli.config.limits import MOST_BYTES, check_interpolations, check_yaml
from node_cli.errors import UserError
from node_cli.records.run_folder import RunFolder
from tests.commands import NodeTrain

BOMB = "a: &a [x,x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{chr(98 + i)}: &{chr(98 + i)} [{','.join([f'*{chr(97 + i)}'] * 10)}]\n" for i in range(8)
)
DOUBLING = "a0: xxxxxxxxxx\n" + "".join(f"a{i + 1}: ${{a{i}}}${{a{i}}}\n" for i in range(40))


def test_aliases_that_multiply(node_train: NodeTrain, tmp_path: Path) -> None:
    for folder in ("cd/experiment", "cd/table", "r"):
        (tmp_path / folder).mkdir(parents=True)
    for name in ("cd/experiment/m.yaml", "cd/table/m.yaml", "r/config.yaml"):
        (tmp_path / name).write_text(f"# @package _global_\n{BOMB}")
    begin = time.monotonic()
    for arguments in (
        ["--config-dir", "cd", "experiment=m"],
        ["--config-dir", "cd", "table=m"],
        ["resume=r"],
    ):
        result = node_train(*arguments)
        assert result.code == 2
        assert "more than 100,000 values, with its aliases written out" in result.err
        assert result.err.count("\n") == 1
    assert time.monotonic() - begin < 20
    with pytest.raises(UserError):
        RunFolder(tmp_path / "r").read_config()


def test_interpolations_that_double(node_train: NodeTrain, tmp_path: Path) -> None:
    (tmp_path / "cd" / "experiment").mkdir(parents=True)
    (tmp_path / "cd/experiment/m.yaml").write_text(f"# @package _global_\n{DOUBLING}")
    result = node_train("--config-dir", "cd", "experiment=m")
    assert result.code == 2
    assert "more than 1,000,000 characters when written out" in result.err


@pytest.mark.parametrize(
    "tree",
    [
        {"a": "${b}", "b": "${a}"},
        {"a": {"x": "${b}", "y": ["${oc.env:HOME}", 3, None]}, "b": "${c.d}", "c": {"d": 1}},
    ],
)
def test_interpolations_that_are_left_to_omegaconf(tree: dict[str, object]) -> None:
    check_interpolations(tree)


def test_a_huge_file(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_bytes(b"#" * (MOST_BYTES + 1))
    with pytest.raises(UserError, match="bytes, at most"):
        check_yaml(tmp_path / "x.yaml")


@pytest.mark.parametrize("text", ["", "a: [", "\x00", "a: &a [*a]", "[" * 5000])
def test_what_is_left_to_the_reader(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.yaml").write_text(text)
    check_yaml(tmp_path / "x.yaml")
    check_yaml(tmp_path / "missing.yaml")


def test_the_shipped_files_are_small() -> None:
    for path in CONF.rglob("*.yaml"):
        check_yaml(path)
