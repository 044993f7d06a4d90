"""task=export: the file answers as the model; what cannot be exported is refused with a way out."""

import json
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from node_cli import load
from node_cli.records import safetensors
from node_cli.records.run_folder import RunFolder
from node_cli.trained import formats
from node_cli.trained.formats import FORMATS
from tests.commands import NodeTrain, composed
from tests.folders import weights
from tests.runs import run

pytestmark = pytest.mark.usefixtures("undrawn")

QUICK = ("data.limit=150", "epochs=1", "eval.test=end")

needs_onnx = pytest.mark.skipif(
    bool(FORMATS["onnx"].missing), reason="needs pip install 'node-train[export]'"
)


@pytest.fixture(scope="module")
def adaptive(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    (job,) = composed(*QUICK)
    return run(job.config, tmp_path_factory.mktemp("trained") / "run")


def export(node_train: NodeTrain, *typed: str) -> RunFolder:
    found = node_train("task=export", *typed, "hydra.run.dir=exported")
    assert found.code == 0, found.err
    assert "differ from the model's by at most" in found.out
    return RunFolder(Path("exported").resolve())


def test_safetensors(node_train: NodeTrain, adaptive: RunFolder) -> None:
    """The weights of the checkpoint, with any solver; no package is needed."""
    folder = export(node_train, f"checkpoint={adaptive.last}", "format=safetensors")
    result = folder.read_result()
    assert (result["largest_difference"], result["file"]) == (0.0, "model.safetensors")
    content = (folder.path / "model.safetensors").read_bytes()
    assert len(content) == result["bytes"]
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    told = json.loads(header.pop("__metadata__")["node_train"])
    assert told["inputs"]["names"] == [*"0123456789"]
    assert told["config"]["model"]["name"] == "dense"
    found, expected = safetensors.load(folder.path / result["file"], ""), weights(adaptive.last)
    assert header.keys() == found.keys() == expected.keys()
    assert all(torch.equal(x, expected[name]) for name, x in found.items())


def test_an_adaptive_solver_is_refused_with_a_way_out(
    node_train: NodeTrain, adaptive: RunFolder
) -> None:
    typed = (f"checkpoint={adaptive.path}", "format=torch_export")
    found = node_train("task=export", *typed)
    assert found.code == 2
    (line,) = found.err.splitlines()
    assert "solver=dopri5 chooses its steps by the images, which a graph cannot" in line
    assert "instead take solver=rk4 solver.n_steps=1: its probabilities differ by at most" in line
    assert "e-0" in line, "measured"
    assert "on 256 test images" in line


def test_what_cannot_be_a_graph(node_train: NodeTrain, adaptive: RunFolder) -> None:
    given = ("task=export", f"checkpoint={adaptive.path}", "format=torch_export")
    for typed, words in (
        (["solver=rk4", "solver.jump_t=[0.5]"], "solver.jump_t cuts the solve"),
        (["solver=explicit_adams"], "solver=explicit_adams is torchdiffeq's"),
        (["format=tflite"], "choose from safetensors, torch_export, onnx"),
        (["device=cpu"], "device=cpu: not used by task=export, which writes on the CPU"),
    ):
        found = node_train(*given[: 2 if "format" in typed[0] else 3], *typed)
        assert (found.code, words in found.err) == (2, True), found.err
    found = node_train(*given[:2])
    assert "task=export: needs format=<safetensors, torch_export or onnx>" in found.err


def test_a_package_that_is_absent(
    node_train: NodeTrain, adaptive: RunFolder, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(formats, "find_spec", lambda n: None if n == "onnx" else find_spec("json"))
    found = node_train("task=export", f"checkpoint={adaptive.path}", "format=onnx")
    assert found.code == 2
    assert found.err == (
        "error: format=onnx: needs onnx: pip install 'node-train[export]'; without them: "
        "safetensors, torch_export\n"
    )
    assert not [*tmp_path.rglob("result.json")]


def test_a_file_that_answers_otherwise_is_not_kept(
    node_train: NodeTrain, adaptive: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(model: torch.nn.Module, path: Path) -> object:
        path.write_text("wrong")
        return lambda images: model(images) + 1e-4

    monkeypatch.setattr("node_cli.trained.writers.safetensors", wrong)
    typed = (f"checkpoint={adaptive.path}", "format=safetensors", "hydra.run.dir=exported")
    found = node_train("task=export", *typed)
    assert found.code == 2
    assert "the file answers otherwise than the model, by 1.0e-04, more than 1e-05" in found.err
    assert not Path("exported/model.safetensors").exists()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["torch_export", pytest.param("onnx", marks=needs_onnx)])
@pytest.mark.parametrize(
    "typed", [[], ["model=conv", "solver.n_steps=1"], ["model.weights_in_t=2", "model.augment=2"]]
)
def test_graphs(node_train: NodeTrain, name: str, typed: list[str]) -> None:
    """Of batches of any size; without a word of ours where they are run."""
    assert (
        node_train(*QUICK, "solver=rk4", "solver.n_steps=2", *typed, "hydra.run.dir=run").code == 0
    )
    folder = export(node_train, "checkpoint=run", f"format={name}")
    assert folder.read_result()["largest_difference"] < 1e-5
    images = torch.rand(7, 1, 28, 28)
    path = folder.path / FORMATS[name].file
    if name == "torch_export":
        found = torch.export.load(path).module()(images)
    else:
        import onnxruntime

        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        (array,) = session.run(None, {"images": images.numpy()})
        found = torch.from_numpy(array)
    torch.testing.assert_close(found, load("run")(images), rtol=0, atol=1e-5)


@needs_onnx
def test_onnx(node_train: NodeTrain) -> None:
    assert node_train(*QUICK, "solver=euler", "solver.n_steps=1", "hydra.run.dir=run").code == 0
    folder = export(node_train, "checkpoint=run", "format=onnx")
    assert folder.read_result()["largest_difference"] < 1e-5
