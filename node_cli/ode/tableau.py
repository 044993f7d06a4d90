"""What an explicit Runge-Kutta method is: its Butcher tableau."""

from dataclasses import dataclass

Weighted = tuple[float, tuple[float, ...]]
"""A fraction of a step, and weights of the slopes that lead there from y0."""


@dataclass(frozen=True, eq=False)  # each is one of its kind, and quick to look up
class Tableau:
    """An explicit Runge-Kutta method, or an embedded pair, with s stages.

    ``order``: that of the solution which is carried on. ``c``: the s nodes. ``a``: the strictly
    lower triangle, row i holding i weights. ``b``: the s weights of the solution. ``b_error``:
    b minus the embedded weights, so that ``dt * sum(b_error * k)`` estimates the local error; None
    for a method without error estimate.

    For the dense output: ``interior``: fractions theta of a step with the weights of
    y(t0 + theta dt), through which the polynomial goes beside y and f at the ends of the step; none
    where cubic Hermite interpolation has to do. ``extra``: further stages, which only the dense
    output needs, as their nodes with a row of weights over all stages before. ``interior`` has
    weights for the s stages and for these.
    """

    order: int
    c: tuple[float, ...]
    a: tuple[tuple[float, ...], ...]
    b: tuple[float, ...]
    b_error: tuple[float, ...] | None = None
    extra: tuple[Weighted, ...] = ()
    interior: tuple[Weighted, ...] = ()

    @property
    def adaptive(self) -> bool:
        return self.b_error is not None

    @property
    def stages(self) -> int:
        return len(self.c)

    @property
    def first_same_as_last(self) -> bool:
        """Whether the last stage is f(t1, y1), the first stage of the next step."""
        return self.b[-1] == 0 and self.a[-1] == self.b[:-1]

    @property
    def stages_of_result(self) -> int:
        """How many stages y1 depends on."""
        return self.stages - 1 if self.first_same_as_last else self.stages

    @property
    def stages_at_one_time(self) -> tuple[int, int] | None:
        """The last two stages where f is evaluated at the same time, None where there are none."""
        pairs = ((i, j) for j in reversed(range(self.stages)) for i in reversed(range(j)))
        return next((pair for pair in pairs if self.c[pair[0]] == self.c[pair[1]]), None)

    @property
    def fractions(self) -> tuple[float, ...]:
        """Where within a step the polynomial of the dense output meets y."""
        return tuple(theta for theta, _ in self.interior)

    @property
    def dense_order(self) -> int:
        """Degree of the polynomials of the dense output, which are of this order."""
        return 3 + len(self.interior)
