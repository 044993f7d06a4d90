"""What an explicit Runge-Kutta method is: its Butcher tableau."""

from dataclasses import dataclass


@dataclass(frozen=True, eq=False)  # each is one of its kind, and quick to look up
class Tableau:
    """An explicit Runge-Kutta method, or an embedded pair, with s stages.

    ``order``: that of the solution which is carried on. ``c``: the s nodes. ``a``: the strictly
    lower triangle, row i holding i weights. ``b``: the s weights of the solution. ``b_error``:
    b minus the embedded weights, so that ``dt * sum(b_error * k)`` estimates the local error; None
    for a method without error estimate. ``mid``: the s weights of y(t0 + dt/2), of order 4, for the
    dense output; None where cubic Hermite interpolation (order 3) has to do.
    """

    order: int
    c: tuple[float, ...]
    a: tuple[tuple[float, ...], ...]
    b: tuple[float, ...]
    b_error: tuple[float, ...] | None = None
    mid: tuple[float, ...] | None = None

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
    def dense_order(self) -> int:
        """Order of the dense output."""
        return 3 if self.mid is None else 4
