"""Files of a configuration folder, which may be a stranger's, run no code and no program."""

from pathlib import Path

import pytest

from tests.commands import NodeTrain

BASIC = "hydra._internal.core_plugins.basic_launcher.BasicLauncher"
PROCESS = "hydra.test_utils.test_utils.run_process"
CODE = "a configuration may not name code to run"


@pytest.mark.parametrize(
    ("group", "text", "message"),
    [
        ("experiment", "hydra: {job: {env_set: {PATH: bin}}}", "hydra.job.env_set: not to be set"),
        ("experiment", "hydra: {job: {env_copy: [PATH]}}", "hydra.job.env_copy: not to be set"),
        ("hydra/launcher", f"_target_: {PROCESS}", "choose from hydra._internal"),
        ("hydra/launcher", f"_target_: {BASIC}\nx: {{_target_: {PROCESS}}}", CODE),
        ("hydra/launcher", f"_target_: {BASIC}\nx: [[{{_target_: {PROCESS}}}]]", CODE),
        ("hydra/launcher", f"_target_: {BASIC}\nx: '${{oc.create:{{_target_: a.b}}}}'", CODE),
        ("hydra/launcher", f"_target_: {BASIC}\nx: ${{published.0.setting}}", "hydra.launcher"),
        ("hydra/launcher", f"_target_: {BASIC}\nsetup: [touch x]", f"hydra.launcher.setup: {CODE}"),
        ("hydra/sweeper", "_target_: hydra.core.plugins.Plugins", CODE),
        ("hydra/sweeper", "_target_: optuna.samplers.TPESampler", CODE),
    ],
)
def test_code_in_a_file_is_refused(
    node_train: NodeTrain, tmp_path: Path, group: str, text: str, message: str
) -> None:
    (tmp_path / "cd" / group).mkdir(parents=True)
    head = "# @package _global_\n" if group == "experiment" else ""
    (tmp_path / "cd" / group / "mine.yaml").write_text(head + text)
    flags = [] if group == "experiment" else ["-m", "seed=0,1"]
    result = node_train("--config-dir", "cd", *flags, f"{group}=mine")
    assert result.code == 2
    assert message in result.err
    assert "Traceback" not in result.err
    assert not (tmp_path / "outputs").exists()


@pytest.mark.parametrize("folder", ["pkg://os", "structured://x"])
def test_a_search_path_is_a_folder(node_train: NodeTrain, tmp_path: Path, folder: str) -> None:
    result = node_train(f"hydra.searchpath=['{folder}']")
    assert result.code == 2
    assert "hydra.searchpath" in result.err


def test_launcher_options_that_are_typed_are_the_users_own(
    node_train: NodeTrain, tmp_path: Path
) -> None:
    """Modules to load on a cluster, say; Hydra's own launcher has no such option."""
    result = node_train("-m", "seed=0", "+hydra.launcher.setup=[module load x]", "epochs=1")
    assert "may not name code" not in result.err
