"""Where a run cannot go on it is refused, and its folder left as it was."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from node_cli.cli.resume import rest_of, resumed
from node_cli.config.schema import Config
from node_cli.errors import UserError
from node_cli.records.run_folder import RunFolder
from tests.folders import rows
from tests.runs import go_on, run

Configure = Callable[..., Config]


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ({"seed": 3}, "seed: not with resume=.*choose from epochs, device, threads, data.root"),
        ({"model": "conv"}, "model: not with resume="),
        ({"epochs": 1}, "epochs=1: the run has already completed 2"),
        ({"epochs": 0}, "epochs=0: must be greater than 0"),
        ({"data.root": "x"}, "data.root=x: not used by data=digits"),
    ],
)
def test_what_may_be_overridden(
    configure: Configure, tmp_path: Path, typed: dict[str, object], message: str
) -> None:
    folder = run(configure("data.limit=100", "epochs=2"), tmp_path / "run")
    with pytest.raises(UserError, match=message):
        resumed(folder, typed)


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 4] ^= 1
    path.write_bytes(content)


def change_a_digit(path: Path) -> None:
    text = path.read_text()
    at = max(i for i, character in enumerate(text) if character.isdigit())
    path.write_text(text[:at] + str(9 - int(text[at])) + text[at + 1 :])


def change(path: Path, part: str, **values: object) -> None:
    checkpoint = torch.load(path, weights_only=True)
    checkpoint[part].update(values)
    torch.save(checkpoint, path)


DAMAGE: list[tuple[Callable[[RunFolder], object], str]] = [
    (lambda f: edit(f.config, "seed: 0", "seed: 1"), "seed=1, but the checkpoint was made with"),
    (lambda f: edit(f.config, "  lr: ", "  lr: 1"), "optimizer.lr=1"),
    (lambda f: edit(f.config, "epochs: 3", "epochs: -3"), "epochs=-3: must be greater than 0"),
    (lambda f: cut(f.last), "damaged, or not a checkpoint"),
    (lambda f: f.last.write_bytes(b""), "damaged, or not a checkpoint"),
    (lambda f: f.steps.write_text("\x00\n1,2\n"), "steps.csv: damaged"),
    (lambda f: f.steps.unlink(), "steps.csv: holds 0 of the 6 rows before the checkpoint"),
    (lambda f: cut(f.steps), "of the 6 rows before the checkpoint"),
    (lambda f: edit(f.evaluations, "step,", "stap,"), "evaluations.csv: damaged"),
    (lambda f: f.evaluations.write_text("x\n"), "evaluations.csv: holds none of the rows"),
    (lambda f: flip_a_bit(f.last), "damaged, or not a checkpoint"),
    (lambda f: flip_a_bit(f.best), "best.pt: damaged, or not a checkpoint"),
    (lambda f: change_a_digit(f.steps), "steps.csv: changed since the checkpoint was made"),
    (lambda f: change_a_digit(f.epochs), "epochs.csv: changed since the checkpoint was made"),
    (lambda f: change_a_digit(f.evaluations), "evaluations.csv: changed since the checkpoint"),
    (lambda f: change(f.last, "records", steps=5), "records.steps: no fingerprint"),
    (lambda f: change(f.last, "progress", step=7), r"last.pt: does not fit \(step 7"),
    (lambda f: change(f.last, "progress", step="x"), "not a checkpoint of node-train"),
    (lambda f: change(f.last, "optimizer", state=5), "last.pt: does not fit"),
    (lambda f: change(f.last, "config", seed=torch.tensor(0)), "configuration is not valid"),
    (lambda f: change(f.last, "model", **{"head.0.bias": torch.zeros(3)}), "does not fit"),
    (
        lambda f: (f.path / ".last.pt.1.tmp").touch() or f.steps.write_text("x"),
        "steps.csv: damaged",
    ),
]


@pytest.mark.parametrize(("damage", "message"), DAMAGE)
def test_a_refused_resume_leaves_the_folder_as_it_was(
    configure: Configure,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    damage: Callable[[RunFolder], object],
    message: str,
) -> None:
    def stop_at_step_6(self: object, progress: object, row: dict[str, int]) -> None:
        if row["step"] == 6:
            os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr("node_cli.tasks.terminal.Terminal.step", stop_at_step_6)
        with pytest.raises(KeyboardInterrupt):
            run(configure("data.limit=200", "batch_size=32", "epochs=3"), tmp_path)
    folder = RunFolder(tmp_path)
    damage(folder)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(UserError, match=message):
        go_on(folder)
    assert before == {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}


def test_what_was_typed_is_written_twice(configure: Configure, tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    config = configure("data.limit=100", "epochs=1", "seed=1")
    folder.write_config(config.model_dump(), ["seed=1", "epochs=1"])
    folder.write_status("interrupted", overrides=["seed=1", "epochs=2"])  # that one may change
    assert rest_of(folder, {}) is not None
    folder.write_status("interrupted", overrides=["seed=5", "epochs=1"])
    with pytest.raises(UserError, match=r"status.json: says that seed=5 .*config.yaml seed=1"):
        rest_of(folder, {})


def test_what_config_yaml_says_otherwise_is_noted(configure: Configure, tmp_path: Path) -> None:
    folder = run(configure("data.limit=100", "epochs=1", "solver.tol=1e-3"), tmp_path / "run")
    edit(folder.config, "  tol: 0.001", "  tol: 0.01")
    edit(folder.config, "epochs: 1", "epochs: 2")
    found = resumed(folder, {})
    assert found is not None
    assert [note.partition(": from ")[0] for note in found[1]] == ["epochs=2", "solver.tol=0.01"]
    found = resumed(folder, {"epochs": 2, "solver.tol": 0.01})
    assert found is not None and not [n for n in found[1] if "config.yaml" in n]


def test_records_without_their_checkpoint_are_not_begun_anew(
    configure: Configure, tmp_path: Path
) -> None:
    folder = run(configure("data.limit=100", "epochs=2"), tmp_path / "run")
    folder.last.unlink()
    with pytest.raises(UserError, match=r"last.pt: missing, though .*epochs.csv holds 2 epochs"):
        go_on(folder, epochs=3)
    assert len(rows(folder.epochs)) == 2


def test_no_run_to_resume(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    with pytest.raises(UserError, match="not a run folder"):
        resumed(folder, {})
    for content, message in (("a: [1,", "not readable"), ("[1, 2]", r"config.yaml")):
        folder.config.write_text(content)
        with pytest.raises(UserError, match=message):
            resumed(folder, {})
