"""The one-line messages about a key and its value."""

import pytest

from node_cli.errors import UserError
from tests.commands import composed


def test_a_word_for_a_list_is_shown_as_one() -> None:
    with pytest.raises(UserError, match=r"^data\.augment=flip: must be a list, such as \[flip\]$"):
        composed("data.augment=flip")
