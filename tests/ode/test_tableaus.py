"""The tableaus: order conditions by rooted trees, and the numbers of torchdiffeq.

A method has order p where, for every rooted tree with at most p nodes, sum_i b_i phi_i(tree) is
1 / gamma(tree): Hairer, Norsett and Wanner, "Solving Ordinary Differential Equations I", 2nd ed.,
sec. II.2, theorem 2.13. A wrong digit anywhere in a, b or c breaks a condition.
"""

import math
from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from torchdiffeq._impl.odeint import SOLVERS

from node_cli.ode.solver import METHODS
from node_cli.ode.tableau import Tableau
from node_cli.ode.tableaus import DOPRI8, TABLEAUS

Tree = tuple["Tree", ...]  # the sorted subtrees of its root; a leaf is ()

EMBEDDED_ORDER = {
    "adaptive_heun": 1,
    "fehlberg2": 1,
    "bosh3": 2,
    "dopri5": 4,
    "tsit5": 4,
    "dopri8": 7,
}
# What the conditions are missed by: at most 2.1e-15, but 1.5e-14 for tsit5, which is published
# with 16 digits. Far less than a wrong digit would do.
ROUNDING = 5e-14


def grown(tree: Tree) -> Iterator[Tree]:
    """Every tree with one leaf more."""
    yield tuple(sorted((*tree, ())))
    for i, subtree in enumerate(tree):
        for larger in grown(subtree):
            yield tuple(sorted((*tree[:i], larger, *tree[i + 1 :])))


def trees_up_to(order: int) -> list[set[Tree]]:
    """The rooted trees with 1, 2, ... nodes."""
    trees: list[set[Tree]] = [{()}]
    while len(trees) < order:
        trees.append({larger for tree in trees[-1] for larger in grown(tree)})
    return trees


TREES = trees_up_to(9)


def size(tree: Tree) -> int:
    return 1 + sum(map(size, tree))


def density(tree: Tree) -> int:
    """gamma: the number of nodes times the densities of the subtrees."""
    return size(tree) * math.prod(map(density, tree))


def square(tableau: Tableau) -> np.ndarray:
    """a, with rows for the stages that only the dense output needs."""
    rows = [*tableau.a, *(weights for _, weights in tableau.extra)]
    return np.array([[*row, *[0.0] * (len(rows) - len(row))] for row in rows])


def elementary_weights(tree: Tree, a: np.ndarray) -> np.ndarray:
    """phi: one number per stage."""
    phi = np.ones(len(a))
    for subtree in tree:
        phi *= a @ elementary_weights(subtree, a)
    return phi


def defects(weights: np.ndarray, a: np.ndarray, order: int, theta: float = 1.0) -> list[float]:
    """By how much each condition of this order is missed, for y(t0 + theta dt).

    Stages beyond the weights have none.
    """
    weights = np.pad(weights, (0, len(a) - len(weights)))
    return [
        abs(weights @ elementary_weights(tree, a) - theta**order / density(tree))
        for tree in TREES[order - 1]
    ]


def order_of(tableau: Tableau, weights: tuple[float, ...] | np.ndarray, theta: float = 1.0) -> int:
    """Up to which order all conditions hold."""
    a, order = square(tableau), 0
    while max(defects(np.array(weights), a, order + 1, theta)) < ROUNDING:
        order += 1
    return order


def test_number_of_rooted_trees() -> None:
    """The published numbers, so that no condition is left out below."""
    assert [len(trees) for trees in TREES] == [1, 1, 2, 4, 9, 20, 48, 115, 286]


@pytest.mark.parametrize("name", TABLEAUS)
def test_order_conditions_hold_up_to_the_order_and_not_beyond(name: str) -> None:
    tableau = TABLEAUS[name]
    assert order_of(tableau, tableau.b) == tableau.order == METHODS[name].order
    # Missed by far, not by rounding: dopri8's nearest miss is 8e-6.
    assert max(defects(np.array(tableau.b), square(tableau), tableau.order + 1)) > 1e-6


@pytest.mark.parametrize("name", EMBEDDED_ORDER)
def test_the_embedded_weights_have_the_order_below(name: str) -> None:
    """Were the order the same, the difference would estimate no error of the lower one."""
    tableau = TABLEAUS[name]
    assert tableau.b_error is not None
    embedded = np.array(tableau.b) - np.array(tableau.b_error)
    assert order_of(tableau, embedded) == EMBEDDED_ORDER[name] == tableau.order - 1


def test_which_methods_are_adaptive() -> None:
    assert {name for name, t in TABLEAUS.items() if t.adaptive} == set(EMBEDDED_ORDER)


@pytest.mark.parametrize("name", ["dopri5", "tsit5"])
def test_the_middle_has_order_4(name: str) -> None:
    ((theta, weights),) = TABLEAUS[name].interior
    assert theta == 0.5
    assert order_of(TABLEAUS[name], weights, theta) == 4


def test_the_other_methods_have_no_values_within_a_step() -> None:
    inner = {name: t.fractions for name, t in TABLEAUS.items() if t.interior}
    assert inner == {
        "dopri5": (0.5,),
        "tsit5": (0.5,),
        "dopri8": (0.153, 0.375, 0.625, 0.847),
    }


def test_the_stages_that_dopri8_adds_have_order_5_and_6() -> None:
    """Each over the stages before it."""
    orders = []
    for i, (c, weights) in enumerate(DOPRI8.extra):
        before = replace(DOPRI8, extra=DOPRI8.extra[:i])
        orders.append(order_of(before, weights, c))
    assert orders == [5, 6, 6, 6]


@pytest.mark.parametrize(("theta", "weights"), DOPRI8.interior)
def test_values_within_a_step_of_dopri8_have_order_7(
    theta: float, weights: tuple[float, ...]
) -> None:
    """And miss those of order 8 by little."""
    assert order_of(DOPRI8, weights, theta) == 7
    assert max(defects(np.array(weights), square(DOPRI8), 8, theta)) < 3e-5


def test_the_degree_of_the_dense_output() -> None:
    """It errs by O(h^(degree + 1)) and the solution by O(h^order): no method loses its order."""
    for name, tableau in TABLEAUS.items():
        assert tableau.dense_order == {"dopri5": 4, "tsit5": 4, "dopri8": 7}.get(name, 3)
        assert tableau.dense_order + 1 >= tableau.order


@pytest.mark.parametrize("name", TABLEAUS)
def test_rows_of_a_sum_to_c(name: str) -> None:
    """That y of a stage is one of order 1 at least; not all of the conditions above need it."""
    tableau = TABLEAUS[name]
    nodes = [*tableau.c, *(c for c, _ in tableau.extra)]
    np.testing.assert_allclose(square(tableau).sum(1), nodes, rtol=0, atol=5e-15)


@pytest.mark.parametrize("name", TABLEAUS)
def test_stages_of_the_result(name: str) -> None:
    """The last stage is left out where no weight falls on it, and it is f(t1, y1) then."""
    tableau = TABLEAUS[name]
    assert tableau.b[tableau.stages_of_result - 1] != 0
    assert not any(tableau.b[tableau.stages_of_result :])
    assert tableau.first_same_as_last == (name in ("bosh3", "dopri5", "tsit5", "dopri8"))


@pytest.mark.parametrize("name", ["adaptive_heun", "fehlberg2", "bosh3", "dopri5", "dopri8"])
def test_the_same_numbers_as_torchdiffeq(name: str) -> None:
    """To the last bits, which differ by how a fraction is written; the error's sign means nothing.

    Its tsit5, on its main branch only, carries the embedded solution on: another method.
    """
    ours, theirs = TABLEAUS[name], SOLVERS[name].tableau
    assert ours.b_error is not None
    same = partial(np.testing.assert_allclose, rtol=4e-16, atol=1e-17)
    same(ours.c[1:], theirs.alpha)
    assert len(ours.a) == len(theirs.beta) + 1
    for row, beta in zip(ours.a[1:], theirs.beta, strict=True):
        same(row, beta)
    same(ours.b, theirs.c_sol)
    sign = -1 if name == "adaptive_heun" else 1
    same(sign * np.array(ours.b_error), theirs.c_error)
    assert ours.order == SOLVERS[name].order
