"""When Python looks for garbage."""

import gc
from typing import Any

import pytest

from node_cli.learn.loop import Trainer
from node_cli.machine.garbage import collection
from tests.commands import NodeTrain


def test_while_a_run_trains_and_not_while_it_is_prepared_and_drawn(
    node_train: NodeTrain, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A field that makes cycles must not fill the memory."""
    found: dict[str, bool] = {}

    def watched(name: str, function: Any) -> Any:
        def watching(*args: Any, **kwargs: Any) -> Any:
            found[name] = gc.isenabled()
            return function(*args, **kwargs)

        return watching

    made, step = Trainer.__init__, Trainer.step
    monkeypatch.setattr(Trainer, "__init__", watched("made", made))
    monkeypatch.setattr(Trainer, "step", watched("step", step))
    monkeypatch.setattr("node_cli.cli.jobs.plot_run", watched("drawn", lambda _: None))
    assert node_train("data.limit=60", "epochs=1").code == 0
    assert found == {"made": False, "step": True, "drawn": False}
    assert gc.isenabled()


def test_it_is_as_before_afterwards() -> None:
    with collection(on=False):
        with pytest.raises(ZeroDivisionError), collection(on=True):
            1 / 0  # noqa: B018
        assert not gc.isenabled()
    assert gc.isenabled()
