"""Numbers in messages are those that were typed."""

import pytest

from node_cli.errors import UserError
from tests.commands import composed


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        (["solver=rk4", "solver.n_steps=4", "solver.tol=1e-4"], "solver.tol=1e-4: "),
        (["optimizer.lr=-1e-3"], "optimizer.lr=-1e-3: "),
        (["epochs=1e3"], "epochs=1e3: "),
        (["data.holdout=1.50"], "data.holdout=1.50: "),
    ],
)
def test_as_typed(typed: list[str], message: str) -> None:
    with pytest.raises(UserError) as caught:
        composed(*typed)
    assert any(line.startswith(message) for line in caught.value.problems), caught.value.problems
