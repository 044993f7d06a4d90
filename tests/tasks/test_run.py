"""Tasks: a row of the table for each, which schema and runner read."""

from node_cli.config.schema import Config, keys, sections
from node_cli.config.section import OneOf
from node_cli.config.tasks import TASKS
from node_cli.tasks.run import task_class
from node_cli.tasks.task import Task


def test_every_task_has_a_row_and_a_class() -> None:
    (names,) = (m for m in Config.model_fields["task"].metadata if isinstance(m, OneOf))
    assert {*names.choices} == {*TASKS}
    for name in TASKS:
        kind: type[Task] = task_class(name)
        assert callable(kind.run)


def test_the_table_names_keys_that_there_are() -> None:
    for traits in TASKS.values():
        named = traits.unread | traits.unread_with_checkpoint | traits.instead.keys()
        assert named <= {*keys(), *sections(), "regularize"}
        assert traits.unread_choices <= {*sections()}
        assert traits.meaning
