"""The names of parts as help knows them are those of the tables."""

from node_cli.models.fields import FIELDS
from node_cli.models.heads import HEADS
from node_cli.models.names import names
from node_cli.models.stems import STEMS


def test_every_row_is_found_with_a_line_about_it() -> None:
    for kind, table in (("stem", STEMS), ("field", FIELDS), ("head", HEADS)):
        assert [*names()[kind]] == [*table]
        for name, part in table.items():
            line = names()[kind][name]
            assert line and "\n" not in line
            assert " ".join((part.make.__doc__ or "").split()).startswith(line)
