"""Parts of installed packages: chosen by name, options typed by their signature, and nothing that
a package does wrong costs more than its own use."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from node_cli.cli.help import help_text
from node_cli.cli.parts_info import parts_text
from node_cli.config.check import checked
from node_cli.config.schema import Config
from node_cli.errors import UserError
from node_cli.records.run_folder import RunFolder
from tests.commands import NodeTrain, composed
from tests.packages import ENTRIES, FIELD, OWN, Installer

pytestmark = pytest.mark.usefixtures("undrawn")

Configure = Callable[..., Config]

OURS = ["data=blobs", "model.field=damped", "epochs=1", "batch_size=20"]


def problems(*overrides: str) -> list[str]:
    with pytest.raises(UserError) as caught:
        composed(*overrides)
    return [*caught.value.problems]


def test_options_have_the_types_and_defaults_of_the_signature(
    install: Installer, configure: Configure
) -> None:
    install()
    config = configure("model.field=damped", "model.field_options.width=4", "data=blobs")
    assert config.model.field_options == {"width": 4, "act": "tanh", "rate": 1.0}
    assert config.data.model_dump()["options"] == {"noise": 0.1, "count": 120}
    assert config.packages == {"own-parts": "0.1.0"}
    assert checked(config.model_dump()) == (config, [])
    assert configure().packages == {}


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (
            ["model.field=damped", "model.field_options.widht=4"],
            "model.field_options.widht=4: not used by model.field=damped (did you mean width?); "
            "it takes width, act, rate",
        ),
        (
            ["model.field=damped", "model.field_options.width=wide"],
            "model.field_options.width=wide: must be a valid integer, not text",
        ),
        (
            ["model.field=damped", "model.field_options.act=rel"],
            "model.field_options.act=rel: choose from tanh, relu (did you mean relu?)",
        ),
        (
            ["model.field=linear", "model.field_options.width=4"],
            "model.field_options.width=4: not used by model.field=linear, which has no options",
        ),
        (
            ["model.core=none", "model.field_options.width=4"],
            "model.field_options.width=4: not used, model.core=none has no field f",
        ),
        (
            ["model.field=damped", "model.core=none"],
            "model.field=damped: not used, model.core=none has no field f",
        ),
        (
            ["data=blobs", "data.options.nois=1"],
            "data.options.nois=1: not used by data=blobs (did you mean noise?); "
            "it takes noise, count",
        ),
        (["data.options.noise=1"], "data.options.noise=1: not used by data=digits"),
        (["model.field=dampd"], "model.field=dampd: choose from dense, dense_relu, dense_time"),
        (["model.field=damped", "packages={own-parts: 3}"], "packages={...}: no such key"),
    ],
)
def test_mistakes_are_one_line(install: Installer, overrides: list[str], line: str) -> None:
    install()
    (found,) = problems(*overrides)
    assert found.startswith(line)
    if "dampd" in line:
        assert found.endswith("(did you mean damped?)")


def test_of_another_field_than_the_file_has_its_options_are_not_asked_for(
    install: Installer, tmp_path: Path
) -> None:
    install()
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "mine.yaml").write_text(
        "defaults: [_model, _self_]\nname: mine\nstem: dense\nfield: damped\nhead: linear\n"
        "field_options:\n  width: 3\n"
    )
    (job,) = composed("model=mine", config_dir=tmp_path)
    assert job.config.model.field_options["width"] == 3
    (job,) = composed("model=mine", "model.field=dense", config_dir=tmp_path)
    assert job.config.model.field_options == {}
    (job,) = composed("model=mine", "model.core=plain", config_dir=tmp_path)
    assert job.config.model.field_options["width"] == 3
    (job,) = composed("model=mine", "model.core=none", config_dir=tmp_path)
    assert job.config.model.field_options == job.config.packages == {}


def test_options_of_an_experiment_whose_parts_were_typed_otherwise(
    install: Installer, tmp_path: Path
) -> None:
    """They were written for its own model and data; what a file of the user's own has is not."""
    install()
    (tmp_path / "experiment").mkdir()
    (tmp_path / "model").mkdir()
    experiment = (
        "# @package _global_\ndefaults:\n  - override /data: blobs\n  - override /model: dense\n"
        "data:\n  options: {noise: 0.3}\nmodel:\n  field_options: {width: 7}\n"
    )
    (tmp_path / "experiment" / "mine.yaml").write_text(experiment)
    model = "defaults: [_model, _self_]\nname: mine\nstem: dense\nfield: linear\nhead: linear\n"
    (tmp_path / "model" / "mine.yaml").write_text(model)
    (job,) = composed("experiment=mine", config_dir=tmp_path)
    assert job.config.model.field_options["width"] == 7
    chosen = ["experiment=mine", "data=digits", "model=linear_field", "model.stem=dense"]
    (job,) = composed(*chosen, "model.head=linear", config_dir=tmp_path)
    assert job.config.model.field_options == {}
    with pytest.raises(UserError, match=r"field_options.width=7: not used by model.field=linear"):
        composed("experiment=mine", "model=mine", config_dir=tmp_path)
    with pytest.raises(UserError, match=r"noise=0.2: not used by data=digits, which has no"):
        composed("experiment=mine", "data=digits", "data.options.noise=0.2", config_dir=tmp_path)


def test_a_run_its_records_and_what_is_said_where_the_package_is_missing(
    install: Installer, node_train: NodeTrain, tmp_path: Path
) -> None:
    install()
    assert node_train(*OURS, "model.field_options.width=4", "hydra.run.dir=run").code == 0
    folder = RunFolder(tmp_path / "run")
    assert folder.read_config()["packages"] == {"own-parts": "0.1.0"}
    packages = json.loads(folder.result.read_text())["environment"]["packages"]
    assert packages["own-parts"] == "0.1.0"
    weights = torch.load(folder.last, weights_only=True)["model"]
    assert weights["core.field.layers.0.weight"].shape == (4, 20)
    evaluate = ["task=eval", "checkpoint=run"]
    result = node_train(*evaluate, "hydra.run.dir=eval")
    assert result.code == 0, result.err
    assert node_train("resume=run", "epochs=2").code == 0

    install(version="0.2.0")
    note = "own-parts: version 0.2.0 is installed, made with 0.1.0"
    result = node_train(*evaluate, "hydra.run.dir=newer")
    assert result.code == 0
    assert note in result.out
    result = node_train("resume=run", "epochs=3")
    assert result.code == 0, result.err
    assert note in result.out

    install.remove("own-parts")
    for arguments in (evaluate, ["resume=run", "epochs=4"]):
        result = node_train(*arguments)
        assert result.code == 2
        assert "made with own-parts 0.2.0, which is not installed" in result.err
        assert "Traceback" not in result.err


def test_a_package_that_is_not_chosen_is_not_imported(
    install: Installer, configure: Configure
) -> None:
    install(files={**OWN, "__init__.py": "raise SystemExit('imported')"})
    configure()
    help_text()
    assert "own_parts" not in sys.modules


BROKEN = {
    "import": ("import nothing_of_this_name", "ModuleNotFoundError, No module named"),
    "exit": ("raise SystemExit(3)", "SystemExit, 3"),
    "syntax": ("def f(:", "SyntaxError, invalid syntax"),
    "name": ("", "AttributeError, module 'own_parts.field' has no attribute 'Damped'"),
    "no call": ("Damped = 3", "names nothing that can be called"),
    "no type": (FIELD.replace("rate: float = 1.0", "rate"), "its option rate has no type"),
    "wrong default": (
        FIELD.replace("rate: float = 1.0", "rate: float = 'x'"),
        "the default of its option rate, 'x', is not of its type",
    ),
    "a type": (FIELD.replace("width: int = 8", "width: nn.Module = 8"), "has a type that"),
    "unknown type": (FIELD.replace("width: int", "width: 'Int'"), "name 'Int' is not defined"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_package_costs_its_own_use_alone(install: Installer, name: str) -> None:
    text, line = BROKEN[name]
    install(files={**OWN, "field.py": text})
    (found,) = problems("model.field=damped")
    assert found.startswith(("model.field=damped: ", "model.field=damped: own-parts 0.1.0"))
    assert "own-parts 0.1.0" in found and line in found and "\n" not in found
    composed("model.field=dense")
    assert "damped" in help_text()
    assert line in parts_text()


def test_what_cannot_be_made_is_one_line(install: Installer, node_train: NodeTrain) -> None:
    install()
    result = node_train("model=conv", "model.field=damped")
    assert result.code == 2
    assert result.err.startswith(
        "error: model.field=damped: own-parts 0.1.0 cannot make one for [64, 6, 6]: ValueError, too"
    )
    install(files={**OWN, "field.py": "def Damped(state, *, width: int = 8): return width"})
    result = node_train("model.field=damped")
    assert result.err == "error: model.field=damped: own-parts 0.1.0 makes a int, no module\n"
    install(files={**OWN, "field.py": FIELD.replace("return self", "y.mul_(2); return self")})
    result = node_train("model.field=damped", "data.limit=60", "epochs=1")
    assert (result.code, result.err[:35]) == (1, "failed: f changes y in place, and w")
    assert len(result.err.splitlines()) == 1


def test_names_that_are_taken(install: Installer) -> None:
    named = {"fields": {"dense": "own_parts.field:Damped", "damped": "own_parts.field:Damped"}}
    install(entries=named)
    install("other-parts", "2.0", entries={"fields": {"damped": "other_parts.field:Damped"}})
    (job,) = composed()
    assert job.notes == ["model.field=dense: node-train's own, not that of own-parts 0.1.0"]
    (found,) = problems("model.field=damped")
    assert found.startswith("model.field=damped: registered more than once, by ")
    assert "own-parts 0.1.0" in found and "other-parts 2.0" in found
    text = parts_text()
    assert "field dense of own-parts 0.1.0: node-train has a field of this name itself" in text


def test_names_that_cannot_be_typed_and_metadata_that_cannot_be_read(install: Installer) -> None:
    install(entries={"fields": {"two words": "own_parts.field:Damped", "null": "own_parts:x"}})
    install("torn-parts", entries={})
    info = install.site / "torn_parts-0.1.0.dist-info"
    (info / "entry_points.txt").write_text("[node_train.fields]\nno value\n")
    install.remove("nothing")  # looks anew
    composed("model.field=dense")
    text = parts_text()
    assert text.count("a name has letters, digits, _ and - alone") == 2
    assert "entry points not readable" in text


def test_help_and_info_name_them(install: Installer) -> None:
    install()
    words = help_text().split()
    assert words.count("damped") == words.count("blobs") == 1
    text = parts_text()
    assert "own-parts 0.1.0, own_parts.field:Damped; options width=8, act=tanh, rate=1.0" in text


def test_a_data_set_that_makes_something_else(install: Installer, node_train: NodeTrain) -> None:
    for body, line in (
        ("return 3", "makes a int, must be a dict of arrays"),
        ("raise OSError('gone')", "could not make them: OSError, gone"),
        (
            "return {'train_images': 3}",
            "has no train_labels, test_images, test_labels; it has train_images",
        ),
    ):
        install(files={"data.py": f"def blobs():\n    {body}\n"})
        result = node_train("data=blobs")
        assert result.code == 2
        assert result.err.startswith("error: data=blobs: own-parts 0.1.0")
        assert result.err.endswith(f"{line}\n")


def test_entry_points_of_other_groups_are_no_parts(install: Installer) -> None:
    install(entries={**ENTRIES, "nonsense": {"x": "own_parts:x"}})
    assert "nonsense" not in parts_text()
