"""The command line as a user meets it."""

import errno
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from node_cli.cli import main
from node_cli.compose import CONF, Composer
from node_cli.config.schema import keys
from node_cli.run.records import RunFolder
from tests.run.folders import assert_same_run, facts, rows
from tests.run.runs import Killed

REPOSITORY = Path(__file__).parents[1]
QUICK = ["data.limit=150", "epochs=1"]


@dataclass
class Result:
    code: int
    out: str
    err: str


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


NodeTrain = Callable[..., Result]


def in_new_process(*arguments: str, cwd: Path, **environment: str) -> Result:
    done = subprocess.run(
        [sys.executable, "-m", "node_cli", *arguments],
        cwd=cwd,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    return Result(done.returncode, done.stdout, done.stderr)


def only_run(cwd: Path) -> RunFolder:
    (status,) = cwd.glob("outputs/*/*/status.json")
    return RunFolder(status.parent)


def test_the_first_command_in_a_new_process(tmp_path: Path) -> None:
    """No argument: offline, without torchvision, well above chance; all the records are there."""
    code = "\n".join(
        [
            "import sys, socket",
            "socket.socket.connect = None  # no network",
            "sys.argv = ['node-train']",
            "from node_cli.cli import main",
            "code = main()",
            "assert 'torchvision' not in sys.modules",
            "sys.exit(code)",
        ]
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr
    assert "16,450 parameters" in done.stdout
    assert re.search(
        r"^\[30/30\]  Time [\d.]+s  Training Accuracy: [\d.]+%  .*Test Accuracy: [\d.]+%  NFE 14",
        done.stdout,
        re.MULTILINE,
    )
    folder = only_run(tmp_path)
    assert float(rows(folder.epochs)[-1]["test_accuracy"]) >= 0.94
    assert {path.name for path in folder.plots.iterdir()} == {"loss.png", "accuracy.png", "nfe.png"}
    assert {path.name for path in folder.path.iterdir()} == {
        *("config.yaml", "status.json", "result.json", "steps.csv", "epochs.csv"),
        *("evaluations.csv", "checkpoints", "plots"),
    }


@pytest.mark.slow
def test_accuracy_of_the_first_command_over_seeds(node_train: NodeTrain, tmp_path: Path) -> None:
    assert node_train("-m", "seed=0,1,2,3,4", "hydra.sweep.dir=sweep").code == 0
    accuracies = [float(row["test_accuracy"]) for row in rows(tmp_path / "sweep/summary.csv")]
    assert min(accuracies) >= 0.94
    assert sum(accuracies) / 5 >= 0.96


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        (["--help"], ["Usage: node-train", "solver ", "tsit5", "Examples", "node-train resume="]),
        (["--version"], ["node-train 0.1"]),
        (["--cfg", "job"], ["epochs: 30", "name: dopri5"]),
        (["--cfg", "job", "solver=rk4"], ["step_size: 0.1"]),
        (["--cfg", "job", "--package", "solver"], ["# @package solver", "tol: 0.001"]),
        (["--info", "defaults"], ["solver/dopri5"]),
        (["-sc", "install=bash"], ["complete "]),
    ],
)
def test_what_answers_without_torch(tmp_path: Path, arguments: list[str], shown: list[str]) -> None:
    code = "\n".join(
        [
            "import sys",
            f"sys.argv = ['node-train', *{arguments!r}]",
            "from node_cli.cli import main",
            "code = main()",
            "assert not {'torch', 'sklearn', 'matplotlib', 'scipy'} & set(sys.modules)",
            "sys.exit(code)",
        ]
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    for words in shown:
        assert words in done.stdout
    assert not list(tmp_path.iterdir()), "nothing is written"


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("model=", {"model=conv", "model=dense"}),
        ("solver=do", {"solver=dopri5", "solver=dopri8"}),
        ("optimizer.l", {"optimizer.lr="}),
    ],
)
def test_tab_completion(tmp_path: Path, typed: str, offered: set[str]) -> None:
    done = in_new_process("-sc", "query=bash", cwd=tmp_path, COMP_LINE=f"node-train {typed}")
    assert offered <= set(done.out.split())


def test_help_names_every_choice_every_key_and_ten_examples_that_compose(
    node_train: NodeTrain,
) -> None:
    text = node_train("--help").out
    words = [word.partition("=")[0] for word in text.split()]
    assert {*keys(), "resume", "hydra.run.dir", "hydra.sweep.dir"} <= {*words}
    for path in CONF.glob("*/*.yaml"):
        assert path.stem.startswith("_") or re.search(rf"\b{path.stem}\b", text)
    examples = re.findall(r"^  node-train(?: (\S.*?))?  .*$", text, re.MULTILINE)
    assert len(examples) == 10
    for example in examples:
        check_command(example.split())


def check_command(arguments: list[str]) -> None:
    """Compose and check a command from the documentation; RUN stands for a run folder."""
    if any("RUN" in argument or argument.startswith("resume=") for argument in arguments):
        return
    flags = [a for a in arguments if a.startswith("-")]
    overrides = [a for a in arguments if not a.startswith(("-", "device=cuda"))]
    with Composer() as composer:
        composer.command(overrides, multirun="-m" in flags)


def test_every_command_in_the_readme_composes() -> None:
    text = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    commands = re.findall(r"^\s*(?:\$ )?node-train( .*|)$", text, re.MULTILINE)
    assert len(commands) > 5
    for command in commands:
        arguments = command.split("#")[0].split()
        if not any("outputs/" in argument for argument in arguments):
            check_command(arguments)


def test_a_mistake_ends_with_2_and_writes_nothing(node_train: NodeTrain, tmp_path: Path) -> None:
    result = node_train("model=convv", "epocs=3")
    assert result.code == 2
    assert result.out == ""
    assert result.err.splitlines() == [
        "error: model=convv: choose from conv, dense, mlp, odenet, resnet (did you mean conv?)",
        "error: epocs=3: no such key (did you mean epochs?); there are task, checkpoint, seed, "
        "device, precision, deterministic, epochs, batch_size, resume",
    ]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--epochs", "3"], "unrecognized arguments: --epochs"),
        (["--cfg", "job", "-m"], "--cfg, --info, --multirun: give one of them"),
        (["--experimental-rerun", "x.pickle"], "unrecognized arguments: --experimental-rerun"),
        (["--config-dir", "nowhere"], "--config-dir nowhere: no such folder"),
        (["model.field=conv"], "model.field=conv: needs an image [C, H, W], but the stem gives"),
        (["precision=tf32", "device=cpu"], "precision=tf32: cpu has none; choose from float32"),
        (["resume=nowhere"], "nowhere: not a run folder"),
        (["task=eval", "checkpoint=nowhere"], "/nowhere: no such file"),
        (["hydra.run.dir=file/below"], "folder file/below: not writable (Not a directory)"),
        (["hydra.run.dir=full"], "folder full: not empty; choose another (resume="),
        (["-m", "seed=1,-1"], "seed=-1: must be greater than or equal to 0"),
        (["-m", "seed=0,1", "hydra.run.dir=x"], "hydra.run.dir: not used with -m"),
        (["hydra.sweep.dir=x"], "hydra.sweep.dir: not used without -m"),
        (["-m", "resume=a,b"], "resume"),
        (["resume=full", "-m"], "resume=full: takes no flags"),
        (["resume="], "resume=: must be a path"),
        (["task=eval", "checkpoint="], "checkpoint=: must be a path"),
        (["hydra.run.dir="], "hydra.run.dir=: must be a folder"),
        (["hydra.launcher.x=1"], "hydra.launcher.x: not used without -m"),
        (["hydra.run.dirr=x"], "hydra.run.dirr=x: not to be set; of Hydra's there are"),
        (["experiment=x"], "experiment=x: there are no such files; --config-dir DIR adds"),
        (["epochs=1\nseed=2"], r"epochs=1\nseed=2: not of the form key=value"),
    ],
)
def test_mistakes_at_the_door(
    node_train: NodeTrain, tmp_path: Path, arguments: list[str], message: str
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "precious").touch()
    result = node_train(*arguments)
    assert result.code == 2
    assert message in result.err
    assert "Traceback" not in result.err
    assert result.err.count("\n") == 1
    assert not (tmp_path / "outputs").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")
def test_cuda_without_cuda(node_train: NodeTrain) -> None:
    result = node_train("device=cuda")
    assert (result.code, result.err) == (
        2,
        "error: device=cuda: not on this machine, which has cpu\n",
    )


def test_missing_data_names_the_folder_and_the_alternative(
    node_train: NodeTrain, tmp_path: Path
) -> None:
    result = node_train("data=mnist", "data.root=empty", "data.download=false")
    assert result.code == 2
    assert f"data.root={tmp_path / 'empty'}: MNIST is missing" in result.err
    assert "data=digits" in result.err
    assert not (tmp_path / "outputs").exists(), "found out before the run begins"


def test_a_folder_with_spaces_and_quotes(node_train: NodeTrain, tmp_path: Path) -> None:
    assert node_train(*QUICK, "hydra.run.dir='a b/it\\'s'").code == 0
    assert (tmp_path / "a b" / "it's" / "result.json").exists()


def test_a_sweep_ends_in_a_table_and_a_failing_job_costs_its_own_row(
    node_train: NodeTrain, tmp_path: Path
) -> None:
    result = node_train(
        "-m", *QUICK, "solver.tol=1e-2,1e-9", "seed=0,1", "solver.max_steps=5", "hydra.sweep.dir=s"
    )
    assert result.code == 1
    table = rows(tmp_path / "s" / "summary.csv")
    assert [(row["solver.tol"], row["seed"], row["status"]) for row in table] == [
        ("0.01", "0", "done"),
        ("0.01", "1", "done"),
        ("1e-09", "0", "failed"),
        ("1e-09", "1", "failed"),
    ]
    assert all(row["test_accuracy"] and row["seconds"] for row in table[:2])
    assert not table[2]["test_accuracy"]
    markdown = (tmp_path / "s" / "summary.md").read_text()
    assert markdown.split("\n\n", 1)[1] in result.out
    assert "±" in markdown
    assert {p.name for p in (tmp_path / "s" / "plots").iterdir()} == {"accuracy.png", "nfe.png"}
    assert "5 steps were not enough" in result.err


def test_the_summary_is_rewritten_after_every_job(
    node_train: NodeTrain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from node_cli.report import summary

    lengths = []
    write = summary.write_text

    def spy(path: Path, text: str) -> None:
        write(path, text)
        if path.suffix == ".csv":
            lengths.append(len(rows(path)))

    monkeypatch.setattr(summary, "write_text", spy)
    assert node_train("-m", *QUICK, "model.core=ode,none", "hydra.sweep.dir=s").code == 0
    assert lengths == [1, 2, 2]


def test_evaluate_under_other_solvers(node_train: NodeTrain, tmp_path: Path) -> None:
    assert node_train("epochs=5", "hydra.run.dir=run").code == 0
    trained = json.loads((tmp_path / "run" / "result.json").read_text())["metrics"]
    same = node_train("task=eval", "checkpoint=run/checkpoints/last.pt", "hydra.run.dir=same")
    assert same.code == 0
    evaluated = json.loads((tmp_path / "same" / "result.json").read_text())["metrics"]
    assert evaluated["test_accuracy"] == trained["test_accuracy"]
    assert evaluated["test_loss"] == trained["test_loss"]
    assert f"Accuracy: {trained['test_accuracy']:.2%}" in same.out

    result = node_train(
        *("-m", "task=eval", "checkpoint=run", "solver=euler,dopri5", "eval.train=all"),
        *("hydra.sweep.dir=sweep",),
    )
    assert result.code == 0
    euler, dopri5 = rows(tmp_path / "sweep" / "summary.csv")
    assert float(euler["nfe_eval_mean"]) == 10
    assert float(dopri5["nfe_eval_mean"]) == 14
    recorded = rows(tmp_path / "sweep" / "0" / "evaluations.csv")
    assert [row["split"] for row in recorded] == ["holdout", "test", "train"]
    assert RunFolder(tmp_path / "sweep" / "0").read_config()["solver"]["name"] == "euler"


def test_an_evaluation_keeps_the_holdout_of_the_training(
    node_train: NodeTrain, tmp_path: Path
) -> None:
    """Cut anew, it would have images that were trained on."""
    assert node_train(*QUICK, "data.holdout=0.2", "hydra.run.dir=run").code == 0
    for typed in ([], ["data=digits"], ["data.normalize=true"]):
        shutil.rmtree(tmp_path / "e", ignore_errors=True)
        assert node_train("task=eval", "checkpoint=run", *typed, "hydra.run.dir=e").code == 0
        result = RunFolder(tmp_path / "e").read_result()
        assert result["images"] == {"train": 120, "holdout": 30, "test": 359}
        trained = RunFolder(tmp_path / "run").read_result()["metrics"]
        assert result["metrics"]["holdout_accuracy"] == trained["holdout_accuracy"]
    refused = node_train("task=eval", "checkpoint=run", "data.holdout=0.9")
    assert refused.err == "error: data.holdout=0.9: not used by task=eval\n"


def test_results_of_evaluations_have_the_words_of_the_records(
    node_train: NodeTrain, tmp_path: Path
) -> None:
    """Of training images: evaluated after training, where train_accuracy is the running one."""
    assert node_train(*QUICK, "eval.train=all", "hydra.run.dir=run").code == 0
    sweep = ["-m", "task=eval", "checkpoint=run", "eval.train=all", "solver.tol=1e-3,1e-4"]
    assert node_train(*sweep, "hydra.sweep.dir=s").code == 0
    trained = RunFolder(tmp_path / "run").read_result()["metrics"]
    row = rows(tmp_path / "s" / "summary.csv")[0]
    assert float(row["train_eval_accuracy"]) == trained["train_eval_accuracy"]
    assert (row["train_accuracy"], row["seconds"]) == ("", "")
    assert float(row["eval_seconds"]) > 0


@pytest.mark.parametrize("sensitivity", ["discrete", "backsolve"])
def test_evaluate_under_every_solver(
    node_train: NodeTrain, tmp_path: Path, sensitivity: str
) -> None:
    """No gradient is computed: how the checkpoint was trained is of no concern."""
    train = [*QUICK, f"sensitivity={sensitivity}", "solver.rtol=1e-2", "solver.atol=1e-4"]
    assert node_train(*train, "hydra.run.dir=run").code == 0
    solvers = [path.stem for path in CONF.glob("solver/[!_]*.yaml")]
    sweep = ["task=eval", "checkpoint=run", f"solver={','.join(solvers)}"]
    assert node_train("-m", *sweep, "hydra.sweep.dir=sweep").code == 0
    table = rows(tmp_path / "sweep" / "summary.csv")
    assert len(table) == len(solvers) == 15
    assert all(float(row["nfe_eval_mean"]) > 0 for row in table)
    accuracies = [float(row["test_accuracy"]) for row in table]
    assert max(accuracies) - min(accuracies) < 0.02
    assert RunFolder(tmp_path / "sweep" / "0").read_config()["sensitivity"] is None


def test_a_tolerance_typed_for_an_evaluation_wins(node_train: NodeTrain, tmp_path: Path) -> None:
    assert node_train(*QUICK, "solver.rtol=1e-2", "solver.atol=1e-2", "hydra.run.dir=run").code == 0
    assert node_train("task=eval", "checkpoint=run", "solver.tol=1e-6", "hydra.run.dir=e").code == 0
    assert "rtol=1e-06 atol=1e-06" in RunFolder(tmp_path / "e").read_result()["solver"]


def test_an_option_of_the_checkpoints_own_solver(node_train: NodeTrain, tmp_path: Path) -> None:
    """Not of the default one, which the command line alone would compose."""
    assert node_train(*QUICK, "solver=rk4", "hydra.run.dir=run").code == 0
    result = node_train("task=eval", "checkpoint=run", "solver.n_steps=2", "hydra.run.dir=e")
    assert result.code == 0
    assert RunFolder(tmp_path / "e").read_result()["solver"] == "rk4 n_steps=2"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["model=mlp"], "checkpoints/best.pt: does not fit the model ("),
        (["seed=1"], "seed=1: not used by task=eval"),
        (["epochs=3"], "epochs=3: not used by task=eval"),
        (["optimizer=sgd"], "optimizer=sgd: not used by task=eval"),
        (["solver=rk4", "solver.tol=1"], "solver.tol=1: not used by solver=rk4"),
        (["checkpoint=torn"], "/torn: damaged, or not a checkpoint"),
        (["checkpoint=other"], "/other: not a checkpoint of node-train"),
        (["checkpoint=evil"], "/evil: damaged, or not a checkpoint"),
    ],
)
def test_mistakes_in_an_evaluation(
    node_train: NodeTrain, tmp_path: Path, arguments: list[str], message: str
) -> None:
    assert node_train(*QUICK, "hydra.run.dir=run").code == 0
    content = RunFolder(tmp_path / "run").last.read_bytes()
    (tmp_path / "torn").write_bytes(content[: len(content) // 2])
    torch.save({"model": {}}, tmp_path / "other")
    torch.save({"model": print, "config": {}}, tmp_path / "evil")
    result = node_train("task=eval", "checkpoint=run", *arguments)
    assert result.code == 2
    assert message in result.err
    assert "Traceback" not in result.err
    assert result.err.count("\n") == 1


def test_resume_on_the_command_line(node_train: NodeTrain, tmp_path: Path) -> None:
    assert node_train(*QUICK, "hydra.run.dir=run").code == 0
    finished = node_train("resume=run")
    assert finished.code == 0
    assert "run: this run is finished" in finished.out
    assert node_train("resume=run", "epochs=2").code == 0
    assert len(rows(tmp_path / "run" / "epochs.csv")) == 2
    refused = node_train("resume=run", "seed=1", "model=conv")
    assert refused.code == 2
    assert len(refused.err.splitlines()) == 2
    assert not (tmp_path / "outputs").exists()


def test_a_resumed_job_is_brought_up_to_date_in_its_sweep(
    node_train: NodeTrain, tmp_path: Path
) -> None:
    assert node_train("-m", *QUICK, "seed=0,1", "hydra.sweep.dir=s").code == 0
    before = rows(tmp_path / "s" / "summary.csv")
    assert node_train("resume=s/1", "epochs=3").code == 0
    after = rows(tmp_path / "s" / "summary.csv")
    assert before[0] == after[0]
    assert before[1]["train_accuracy"] != after[1]["train_accuracy"]
    assert (before[1]["epochs"], after[1]["epochs"]) == ("1", "3")


def test_the_result_of_fewer_epochs_does_not_outlive_them(
    node_train: NodeTrain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert node_train("-m", *QUICK, "seed=0,1", "hydra.sweep.dir=s").code == 0
    before = rows(tmp_path / "s" / "summary.csv")[1]

    def stop(_: object, row: dict[str, int]) -> None:
        if row["epoch"] == 3:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr("node_cli.run.display.TrainingDisplay.epoch", stop)
    assert node_train("resume=s/1", "epochs=9").code == 130
    assert node_train("resume=s/0").code == 0  # a finished one; the summary is rewritten
    after = rows(tmp_path / "s" / "summary.csv")[1]
    assert after["status"] == "interrupted"
    last = rows(tmp_path / "s" / "1" / "epochs.csv")[-1]
    assert float(after["train_accuracy"]) == float(last["train_accuracy"])
    assert after["train_accuracy"] != before["train_accuracy"]


def test_what_a_sweeper_chose_is_not_known_to_a_resume(
    node_train: NodeTrain, tmp_path: Path
) -> None:
    sweep = ["-m", *QUICK, "hydra/sweeper=basic", "seed=0,1", "hydra.sweep.dir=s"]
    assert node_train(*sweep).code == 0
    refused = node_train("resume=s")
    assert refused.code == 2
    assert "resume its runs one by one" in refused.err
    assert node_train("resume=s/1").code == 0


def test_a_sweep_is_not_run_twice_at_a_time(node_train: NodeTrain, tmp_path: Path) -> None:
    assert node_train("-m", *QUICK, "seed=0,1", "hydra.sweep.dir=s").code == 0
    with RunFolder(tmp_path / "s").locked():
        result = in_new_process("resume=s", cwd=tmp_path)
    assert (result.code, result.err) == (2, "error: s: another process is running in this folder\n")


def test_an_interrupted_sweep_goes_on_where_it_was(
    node_train: NodeTrain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One job done, one in the middle, one not begun: the summary equals that of a whole sweep."""
    sweep = ["-m", "data.limit=150", "epochs=3", "seed=0,1,2"]
    assert node_train(*sweep, "hydra.sweep.dir=whole").code == 0
    epochs = 0

    def stop_in_the_second_job(*_: object) -> None:
        nonlocal epochs
        epochs += 1
        if epochs == 5:
            os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr("node_cli.run.display.TrainingDisplay.epoch", stop_in_the_second_job)
        interrupted = node_train(*sweep, "hydra.sweep.dir=part")
    assert interrupted.code == 130
    assert "go on with the sweep: node-train resume=part" in interrupted.err
    assert [row["status"] for row in rows(tmp_path / "part/summary.csv")] == ["done", "interrupted"]

    refused = node_train("resume=part", "epochs=4")
    assert (refused.code, refused.err) == (2, "error: epochs: not with the resume= of a sweep\n")
    resumed = node_train("resume=part")
    assert resumed.code == 0
    assert "part/0: this run is finished" in resumed.out
    for n in range(3):
        assert_same_run(RunFolder(tmp_path / f"whole/{n}"), RunFolder(tmp_path / f"part/{n}"))
    summaries = [facts(tmp_path / name / "summary.csv") for name in ("whole", "part")]
    assert summaries[0] == summaries[1]
    assert not (tmp_path / "outputs").exists()


def test_a_damaged_job_costs_its_own_row_when_a_sweep_goes_on(
    node_train: NodeTrain, tmp_path: Path
) -> None:
    assert node_train("-m", *QUICK, "seed=0,1,2", "hydra.sweep.dir=s").code == 0
    for n in (0, 2):
        status = tmp_path / f"s/{n}/status.json"
        status.write_text(status.read_text().replace("done", "interrupted"))
    (tmp_path / "s/0/config.yaml").write_text("a: [")
    (tmp_path / "s/1/result.json").write_text('{"metrics": {"test_accuracy": "x"}}')
    resumed = node_train("resume=s")
    assert resumed.code == 1
    assert resumed.err.startswith("error: s/0/config.yaml: not readable")
    assert resumed.err.count("\n") == 1
    statuses = [row["status"] for row in rows(tmp_path / "s/summary.csv")]
    assert statuses == ["interrupted", "damaged", "done"]


def test_folders_are_recorded_so_that_they_hold_anywhere(
    node_train: NodeTrain, tmp_path: Path
) -> None:
    assert node_train(*QUICK, "hydra.run.dir=run").code == 0
    assert node_train("task=eval", "checkpoint=run", "hydra.run.dir=e").code == 0
    checkpoint = RunFolder(tmp_path / "e").read_config()["checkpoint"]
    assert checkpoint == str(tmp_path / "run")
    shown = node_train("--cfg", "job", "data=mnist", "data.root=images").out
    assert f"root: {tmp_path / 'images'}\n" in shown


def test_a_full_disk_is_one_line(
    node_train: NodeTrain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, _: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    monkeypatch.setattr("node_cli.run.checkpoints.save", full)
    result = node_train(*QUICK, "hydra.run.dir=run")
    assert result.code == 1
    assert result.err == "failed: run/checkpoints/best.pt: No space left on device\n"
    assert RunFolder(tmp_path / "run").read_status()["status"] == "failed"


def test_a_resume_that_cannot_write_does_not_pass_for_the_run_before(
    node_train: NodeTrain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_new_process(*QUICK, "hydra.run.dir=run", cwd=tmp_path)
    before = RunFolder(tmp_path / "run").status.read_text()

    def full(path: Path, _: str) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    monkeypatch.setattr("node_cli.run.records.write_text", full)
    result = node_train("resume=run", "epochs=2")
    assert result.code == 1
    assert "No space left on device" in result.err
    assert RunFolder(tmp_path / "run").status.read_text() == before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_before_training_is_an_interruption_too(
    node_train: NodeTrain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(
            "node_cli.run.setup.load", lambda *_: signal.raise_signal(number), raising=True
        )
        result = node_train(*QUICK, "hydra.run.dir=run")
    assert result.code == 130
    assert "interrupted: stopped at once; go on with: node-train resume=run" in result.err
    assert "Traceback" not in result.err
    assert node_train("resume=run").code == 0
    assert RunFolder(tmp_path / "run").read_status()["status"] == "done"


def test_a_run_is_done_once_its_plots_are(
    node_train: NodeTrain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(_: object) -> None:
        raise Killed

    def stop(_: object) -> None:
        signal.raise_signal(signal.SIGTERM)

    folder = RunFolder(tmp_path / "run")
    with monkeypatch.context() as patch:
        patch.setattr("node_cli.launch.plot_run", die)
        with pytest.raises(Killed):
            node_train(*QUICK, "hydra.run.dir=run")
        assert folder.read_status()["status"] == "running"
        patch.setattr("node_cli.launch.plot_run", stop)
        assert node_train("resume=run").code == 130
    assert folder.read_status()["status"] == "interrupted"
    assert node_train("resume=run").code == 0
    assert folder.read_status()["status"] == "done"
    assert (folder.plots / "loss.png").exists()


def test_a_reader_that_leaves_does_not_end_the_run(tmp_path: Path) -> None:
    arguments = "-m data.limit=150 epochs=2 seed=0,1 hydra.sweep.dir=s"
    command = f"{sys.executable} -m node_cli {arguments} | head -n 1"
    done = subprocess.run(command, shell=True, cwd=tmp_path, capture_output=True, check=False)
    assert done.stderr == b""
    assert [row["status"] for row in rows(tmp_path / "s/summary.csv")] == ["done", "done"]


def test_python_m_is_the_same_door(tmp_path: Path) -> None:
    result = in_new_process("model=convv", cwd=tmp_path)
    assert result.code == 2
    assert result.err.startswith("error: model=convv: choose from")


@pytest.mark.slow
def test_the_wheel_runs_from_an_empty_folder(tmp_path: Path) -> None:
    """Built, unpacked, run: the configuration is inside."""
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", tmp_path, REPOSITORY],
        check=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    target, empty = tmp_path / "site", tmp_path / "empty"
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", target, wheel],
        check=True,
    )
    empty.mkdir()
    code = f"import sys; sys.path.insert(0, {str(target)!r}); import node_cli.cli as cli; "
    code += f"assert cli.__file__.startswith({str(target)!r}); sys.argv[1:] = {QUICK!r}; "
    code += "sys.exit(cli.main())"
    subprocess.run([sys.executable, "-c", code], cwd=empty, check=True)
    assert only_run(empty).read_status()["status"] == "done"
