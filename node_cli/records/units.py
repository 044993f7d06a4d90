"""Units of measured numbers, and how a value of each is printed."""

from dataclasses import dataclass

Value = float | int | None
"""A measured value; None where a run has no such number."""


@dataclass(frozen=True)
class Unit:
    """A unit.

    ``report``, ``terminal``: format specifications of a value. ``difference``: that of a difference
    of two values, after multiplication by ``scale``. ``comparable``: whether values from two
    machines may be compared.
    """

    words: str = ""
    report: str = ".4g"
    terminal: str = ".4g"
    difference: str = "+.3g"
    scale: int = 1
    comparable: bool = True

    def in_report(self, value: Value) -> str:
        """Return a value as reports print it; empty for None."""
        return "" if value is None else format(value, self.report)

    def spread_in_report(self, value: float) -> str:
        """Return a standard deviation as reports print it: of a plain number two digits."""
        return format(value, self.report if self.scale != 1 else ".2g")

    def on_terminal(self, value: float) -> str:
        """Return a value as the terminal shows it."""
        return format(value, self.terminal)

    def difference_in_report(self, value: float) -> str:
        """Return a difference of two values as reports print it, with its sign."""
        if self.scale != 1:
            value = round(self.scale * value, 2) + 0.0  # without the minus sign of -0.0
        return format(value, self.difference)


NUMBER = Unit()
FRACTION = Unit("fraction", ".2%", ".2%", "+.2f", scale=100)  # differences in percentage points
LOSS = Unit("nats; squared error for a trajectory", ".5g")
SECONDS = Unit("s", terminal=".2f", comparable=False)
PER_SECOND = Unit("1/s")
MIB = Unit("MiB")
TOLERANCES = Unit("tolerances", ".3g", ".3g")
PARAMETERS = Unit("", ",.0f", ",.0f", "+,.0f")
TEXT = Unit("text")
