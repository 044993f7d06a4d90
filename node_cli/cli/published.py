"""The published numbers that belong to runs: checked before, shown beside theirs afterwards."""

from collections.abc import Sequence
from pathlib import Path

from node_cli.config.schema import Config, keys, sections, several
from node_cli.display import Display
from node_cli.errors import UserError, complain, one_line
from node_cli.records.run_folder import RunFolder
from node_cli.report import comparison
from node_cli.report.comparison_text import texts


def check_published(config: Config) -> None:
    """Raise ``UserError`` where a published table names what a run does not have."""
    known = {*keys(), *(f"{name}.name" for name in sections()), *several()}
    for i, table in enumerate(config.published or []):
        if wrong := table.setting.keys() - known:
            raise UserError(f"published.{i}.setting: {', '.join(sorted(wrong))}: no such key")
        if unknown := comparison.unknown_columns(table.columns):
            raise UserError(
                f"published.{i}.columns: {', '.join(unknown)}: not in the records of a run"
            )


def show_published(path: Path, folders: Sequence[RunFolder]) -> None:
    """Print the published numbers that belong to runs beside theirs; write published.csv."""
    try:
        if comparisons := comparison.compare(folders):
            comparison.write(path / "published.csv", comparisons)
    except Exception as error:  # a damaged run, a full disk
        complain(f"{path}: no comparison with published numbers ({one_line(error)})")
        return
    display = Display()
    for text in texts(comparisons):
        display.report(f"\n{text.title}\n{text.body(display.width)}".rstrip())
