"""The one-line messages about a key and its value."""

import pytest

from node_cli.errors import UserError
from tests.commands import composed


def test_a_word_for_a_list_is_shown_as_one() -> None:
    with pytest.raises(UserError, match=r"^data\.augment=flip: must be a list, such as \[flip\]$"):
        composed("data.augment=flip")


@pytest.mark.parametrize(
    ("mistake", "line"),
    [
        ("batch_size=0", "batch_size=0: must be greater than 0"),  # eval.batch_size follows
        ("batch_size=x task=predict", "batch_size=x: not used by task=predict"),
        ("images=1", "images=1: not used by task=train"),
        ("optimizer.momentum=x task=check_gradients", "optimizer.momentum=x: not used by task"),
        ("train.target=2 data=spiral_linear model=linear_field", "train.target=2: must be less"),
        ("solver.tol=null sensitivity=backsolve", "solver=dopri5: needs solver.tol"),
    ],
)
def test_one_mistake_is_told_in_one_line(mistake: str, line: str) -> None:
    with pytest.raises(UserError) as error:
        composed(*mistake.split())
    problems = [x for x in error.value.problems if "task=predict: needs" not in x]
    assert [x[: len(line)] for x in problems] == [line]


def test_two_mistakes_are_told_in_two() -> None:
    with pytest.raises(UserError) as error:
        composed("batch_size=0", "eval.batch_size=0")
    assert len(error.value.problems) == 2
