"""Tables: files that list the jobs of a sweep row by row, where a grid would run too many."""

import shlex
from collections.abc import Sequence
from pathlib import Path

from omegaconf import OmegaConf
from pydantic import Field, ValidationError, model_validator

from node_cli.config.limits import check_yaml
from node_cli.config.messages import not_among
from node_cli.config.section import Section
from node_cli.errors import UserError, one_line
from node_cli.records.summary_measures import SUMMARY, SUMMARY_FURTHER, SUMMARY_SECONDS


class Table(Section):
    """A file of the folder ``table``.

    ``rows``: the overrides of each row, separated by blanks as on a command line; a comma makes
    several jobs of a row. ``tables``: further tables, of which this one is made. ``note``: what a
    reader of the results has to know. ``plots``: what RESULTS.md shows, file and caption.
    ``relative``: numbers of summary.csv, separated by blanks, that it also shows relative to the
    first row.
    """

    title: str = ""
    rows: list[str] = Field(default_factory=list)
    tables: list[str] = Field(default_factory=list)
    note: str = ""
    plots: dict[str, str] = Field(default_factory=dict)
    relative: str = ""

    @model_validator(mode="after")
    def _not_empty(self) -> "Table":
        if not self.rows and not self.tables:
            raise ValueError("needs rows, or tables")
        for row in self.rows:
            try:
                overrides = shlex.split(row)
            except ValueError as error:
                raise ValueError(f"rows: {row}: {error}") from error
            if any(o.startswith("table=") for o in overrides):
                raise ValueError(f"rows: {row}: a table of tables names them in tables")
        known = (*SUMMARY, *SUMMARY_SECONDS, *SUMMARY_FURTHER)
        if unknown := [name for name in self.relative.split() if name not in known]:
            raise ValueError(f"relative: {unknown[0]}: choose from {', '.join(known)}")
        return self

    def overrides(self) -> list[list[str]]:
        return [shlex.split(row) for row in self.rows]


def find(
    folders: Sequence[Path], names: Sequence[str], within: Sequence[str] = ()
) -> dict[str, Table]:
    """The tables of those names, one after the other, those that they are made of in their place.

    ``folders``: each may have a folder ``table``; the first one that has a file is taken.
    ``within``: the tables that these are part of. Raises ``UserError`` where a name has no file, or
    the file is no table, or part of itself.
    """
    found: dict[str, Table] = {}
    for name in names:
        if name in within:
            raise UserError(f"table={name}: is part of itself")
        table = _read(folders, name)
        found |= {name: table} if table.rows else {}
        found |= find(folders, table.tables, [*within, name])
    return found


def _read(folders: Sequence[Path], name: str) -> Table:
    files = {path.stem: path for f in reversed(folders) for path in (f / "table").glob("*.yaml")}
    if name not in files:
        raise UserError(not_among("table", name, sorted(files)))
    check_yaml(files[name])
    try:
        content = OmegaConf.to_container(OmegaConf.load(files[name]))
        return Table.model_validate(content)
    except ValidationError as error:
        problem = error.errors()[0]
        key = ".".join(map(str, problem["loc"]))
        where = f"{files[name]}: {key}" if key else f"{files[name]}"
        raise UserError(f"{where}: {problem['msg'].removeprefix('Value error, ')}") from error
    except Exception as error:  # whatever YAML makes of the file
        raise UserError(f"{files[name]}: not readable ({one_line(error)})") from error
