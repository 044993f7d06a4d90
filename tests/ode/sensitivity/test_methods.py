"""The table of gradient methods says the truth about their classes."""

import subprocess
import sys
from dataclasses import fields, is_dataclass

import pytest

from node_cli.ode.sensitivity.methods import SENSITIVITIES, Traits
from node_cli.ode.solver import METHODS, Solver


def test_reading_the_table_does_not_import_torch() -> None:
    code = "import sys, node_cli.ode.sensitivity.methods; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("name", SENSITIVITIES)
def test_a_class_has_the_options_of_its_row(name: str) -> None:
    traits = SENSITIVITIES[name]
    method = traits.build()
    assert is_dataclass(method)
    options = traits.options - {"rtol", "atol"}  # those of the backward solver
    assert {field.name for field in fields(method)} == options
    if traits.norms:
        assert traits.norm in traits.norms
        assert getattr(method, "norm") == traits.norm  # noqa: B009
    if traits.solves_backwards:
        solver = Solver("dopri5", rtol=1e-3, atol=1e-3)
        assert traits.build(solver=solver).solver is solver


def test_options_depend_on_the_backward_solver() -> None:
    assert SENSITIVITIES["discrete"].options_with(METHODS["dopri5"]) == set()
    backsolve, gauss = SENSITIVITIES["backsolve"], SENSITIVITIES["gauss"]
    assert backsolve.options_with(METHODS["dopri5"]) == {"norm", "solver", "rtol", "atol"}
    assert backsolve.options_with(METHODS["rk4"]) == {"solver"}
    assert backsolve.options_with(METHODS["implicit_adams"]) == {"solver", "rtol", "atol"}
    assert gauss.options_with(METHODS["dopri5"]) == {"solver", "rtol", "atol"}


def test_an_option_that_a_method_does_not_have_is_refused() -> None:
    with pytest.raises(TypeError):
        SENSITIVITIES["gauss"].build(norm="full")


@pytest.mark.parametrize("traits", SENSITIVITIES.values(), ids=SENSITIVITIES)
def test_words_are_there(traits: Traits) -> None:
    for words in (traits.meaning, traits.memory, traits.cost, traits.large_error):
        assert words and not words.endswith(".")
