"""Imports run one way: cli -> tasks -> learn -> models -> ode, and report -> records."""

import ast
from pathlib import Path

import pytest

from node_cli.config.schema import several

PACKAGE = Path(__file__).parents[1] / "node_cli"

TORCH_FREE_RECORDS = (
    "units",
    "measure",
    "measures",
    "splits",
    "summary_measures",
    "columns",
    "column_tables",
    "files",
    "run_folder",
    "sweep_folder",
    "damage",
)

BASE = {"errors", "display", "stopping", "parts", "config", "ode"}

# What each part of the package may import of ours, beside itself.
MAY_IMPORT = {
    "errors": set(),
    "display": set(),
    "outputs": set(),
    "stopping": set(),
    "ode": set(),
    "parts": {"errors"},
    "regularisers": {"errors", "parts", "config", "ode"},
    "config": {
        *("errors", "parts"),
        "trained.formats",
        *("ode.solver", "ode.tableaus", "ode.sensitivity.methods", "data.catalog"),
        "data.augmentations",
        *(f"regularisers.{name}" for name in ("options", "table", "installed")),
    },
    "data": {"errors", "parts", "config", "ode"},
    "models": {"errors", "parts", "config", "ode"},
    "machine": {"errors", "config", "ode", "models"},
    "records": {"errors", "config", "ode.work"},
    "learn": {*BASE, "data", "models", "machine", "records", "regularisers"},
    "trained": {"errors", "config", "ode", "data", "models", "machine", "records", "learn"},
    "tasks": {*BASE, "data", "models", "machine", "records", "learn", "trained", "regularisers"},
    "report": {"errors", "config.published", *(f"records.{name}" for name in TORCH_FREE_RECORDS)},
    "cli": {
        *BASE - {"ode"},
        "outputs",
        *("machine.garbage", "machine.git", "machine.own_folder", "machine.cards", "machine.ranks"),
        "records",
        "tasks",
        "report",
        *("parts", "regularisers.table", "data.augmentations"),
    },
    "__main__": {"cli"},
}


# What is used as a library: their names are imported when they are asked for.
DOORS = (PACKAGE / "__init__.py", PACKAGE / "ode" / "__init__.py")


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def imports(path: Path) -> set[str]:
    """Every module that a file imports, absolute."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            assert node.module is not None
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_run_one_way(path: Path) -> None:
    part = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    if part == "__init__":
        return
    for name in imports(path):
        if not name.startswith("node_cli."):
            continue
        inside = name.removeprefix("node_cli.")
        allowed = {part, "__version__"} | MAY_IMPORT[part]
        assert any(f"{inside}.".startswith(f"{a}.") for a in allowed), f"{path}: {name}"


def test_torchdiffeq_is_imported_in_one_file() -> None:
    importers = [p.name for p in modules() if any("torchdiffeq" in name for name in imports(p))]
    assert importers == ["solvers.py"]


def test_gradient_methods_know_engines_by_their_protocol_alone() -> None:
    for path in (PACKAGE / "ode" / "sensitivity").glob("*.py"):
        for name in imports(path):
            if name.startswith("node_cli.ode.engines"):
                assert name.startswith("node_cli.ode.engines.engine."), f"{path}: {name}"


def test_engines_do_not_know_gradient_methods() -> None:
    for path in (PACKAGE / "ode" / "engines").rglob("*.py"):
        assert not any(name.startswith("node_cli.ode.sensitivity") for name in imports(path)), path


@pytest.mark.parametrize(
    "part",
    [
        *("config", "report", *(f"records/{name}.py" for name in TORCH_FREE_RECORDS)),
        *(
            f"cli/{name}.py"
            for name in ("main", "compose", "overrides", "hydra_app", "over_checkpoint", "help")
        ),
        *(
            "data/augmentations.py",
            "data/catalog.py",
            "data/names.py",
            "trained/formats.py",
            "parts",
            "ode/sensitivity/methods.py",
        ),
        *("regularisers/options.py", "regularisers/table.py"),
    ],
)
def test_what_answers_at_once_does_not_import_torch(part: str) -> None:
    """At the top of the file, that is: the door imports it once there is something to run."""
    folder = PACKAGE / part
    for path in [folder] if folder.is_file() else folder.glob("*.py"):
        names = {
            alias.name if isinstance(node, ast.Import) else str(node.module)
            for node in ast.parse(path.read_text(encoding="utf-8")).body
            if isinstance(node, ast.Import | ast.ImportFrom)
            for alias in node.names
        }
        assert not any(name.split(".")[0] in ("torch", "torchvision") for name in names)


def test_a_section_of_several_choices_is_known_by_its_row_alone() -> None:
    """What handles sections asks ``config.schema.several``, and names none of them."""
    general = ["check", "defaults", "parts", "rules", "several_choices", "tree"]
    files = [PACKAGE / "config" / f"{name}.py" for name in general]
    files += (PACKAGE / "cli").glob("*.py")
    for path in files:
        text = path.read_text(encoding="utf-8")
        assert not any(f'"{section}{end}' in text for section in several() for end in '".'), path


def test_files_stay_short() -> None:
    for path in modules():
        assert len(path.read_text(encoding="utf-8").splitlines()) <= 300, path
        assert "utils" not in path.name
        if path.name == "__init__.py":
            lines = path.read_text(encoding="utf-8").splitlines()
            assert len(lines) <= (30 if path in DOORS else 5), path


def test_no_target_in_any_configuration_file() -> None:
    for path in (PACKAGE.parent / "conf").rglob("*.yaml"):
        assert "_target_" not in path.read_text(encoding="utf-8")
