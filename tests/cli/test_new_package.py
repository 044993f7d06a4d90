"""``node-train new``: what it writes works as it is."""

import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from tests.commands import NodeTrain
from tests.packages import Installer

pytestmark = pytest.mark.usefixtures("undrawn")


def test_the_written_package_works(
    node_train: NodeTrain, install: Installer, tmp_path: Path
) -> None:
    result = node_train("new", "my_parts")
    assert result.code == 0
    assert 'pip install -e "my_parts[test]"' in result.out
    install.register(tmp_path / "my_parts")
    tests = runpy.run_path(str(tmp_path / "my_parts" / "tests" / "test_parts.py"))
    tests["test_the_field_keeps_the_shape_and_has_its_option"]()
    tests["test_the_data_set_has_every_class_in_both_parts"]()
    tests["test_the_penalty_is_a_power_of_the_speed"]()
    run = ["--config-dir", "my_parts/conf", "experiment=my_parts", "hydra.run.dir=run", "epochs=2"]
    result = node_train(*run)
    assert result.code == 0, result.err
    assert "penalty_my_parts_speed" in (tmp_path / "run" / "steps.csv").read_text()
    lines = (tmp_path / "run" / "log.txt").read_text().splitlines()
    assert [line.partition(":")[0] for line in lines] == ["epoch 1", "epoch 2"]


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ([], "new: needs the name of a package, for example node-train new my_parts"),
        (["a", "b"], "new: needs the name of a package"),
        (["../up"], "new ../up: a name has small letters, digits and _, as in my_parts"),
        (["class"], "new class: a name has small letters"),
        (["here"], "is there already"),
        (["torch"], "new torch: Python has a module of this name already; choose another"),
        (["node_cli"], "new node_cli: Python has a module of this name already"),
    ],
)
def test_mistakes_write_nothing(
    node_train: NodeTrain, tmp_path: Path, arguments: list[str], line: str
) -> None:
    (tmp_path / "here").mkdir()
    result = node_train("new", *arguments)
    assert result.code == 2
    assert line in result.err and result.err.count("\n") == 1
    assert [path.name for path in tmp_path.rglob("*")] == ["here"]


@pytest.mark.slow
def test_its_own_tests_pass_once_it_is_installed(node_train: NodeTrain, tmp_path: Path) -> None:
    node_train("new", "my_parts")
    site = tmp_path / "site"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(site)]
    subprocess.run([*pip, "./my_parts"], cwd=tmp_path, check=True)
    here = str(Path(__file__).parents[2])
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "my_parts/tests"],
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": f"{site}:{here}", "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "4 passed" in done.stdout
