"""How several processes divide their work."""

import pytest

from node_cli.machine.ranks import Ranks


@pytest.mark.parametrize(("images", "size"), [(10, 3), (3, 3), (2, 3), (1, 4), (7, 1)])
def test_parts_are_as_equal_as_they_can_be(images: int, size: int) -> None:
    found = []
    for rank in range(size):
        ranks = Ranks()
        ranks.rank, ranks.size = rank, size
        mine, count = ranks.part(images)
        found += [*range(images)][mine][:count]
        assert count in (images // size, -(-images // size))
    assert found == [*range(images)]
