"""What was measured of the contenders of ``training_step.py``, and the figures made of it."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field

from speed.contenders import FLOORS, REFERENCE, Contender

LOSS_STEPS = 10


@dataclass
class Result:
    """One contender on one model with one number of threads.

    ``evaluations``: forward, backward and VJPs of single training steps. ``blocks``: seconds a step
    in each round. ``first_step``: seconds, ``first_step_again``: with a filled cache of compiled
    code. ``losses``: of every step. ``error``: why there is nothing, or nothing more.
    """

    contender: Contender
    model: str
    threads: int
    evaluations: list[tuple[int, int, int | None]] = field(default_factory=list)
    blocks: dict[int, float] = field(default_factory=dict)
    first_step: float | None = None
    first_step_again: float | None = None
    losses: list[float] = field(default_factory=list)
    error: str | None = None

    @property
    def seconds(self) -> float:
        return statistics.median(self.blocks.values())


@dataclass(frozen=True)
class Spread:
    """Median and range over the rounds."""

    median: float
    low: float
    high: float

    def show(self, digits: int) -> str:
        return f"{self.median:.{digits}f} ({self.low:.{digits}f}-{self.high:.{digits}f})"


@dataclass(frozen=True)
class Row:
    """A line of the table; None where there is nothing to say."""

    result: Result
    forward: float | None = None
    backward: float | None = None
    vjps: float | None = None
    ms: Spread | None = None
    to_reference: Spread | None = None
    to_floor: Spread | None = None
    loss_first: float | None = None
    loss_warm: float | None = None
    loss_end: float | None = None


def grouped(results: Sequence[Result]) -> dict[tuple[str, int], list[Result]]:
    """By model and number of threads."""
    groups: dict[tuple[str, int], list[Result]] = {}
    for result in results:
        groups.setdefault((result.model, result.threads), []).append(result)
    return groups


def floor(group: Sequence[Result]) -> Result | None:
    """The faster of the two floors."""
    timed = [r for r in group if r.contender.name in FLOORS and r.blocks]
    return min(timed, key=lambda r: r.seconds, default=None)


def rows(group: Sequence[Result], warmup: int) -> list[Row]:
    """The table of one model with one number of threads."""
    reference = next((r for r in group if r.contender.name == REFERENCE), None)
    bottom = floor(group)
    end = min((len(r.losses) for r in group if r.losses), default=0)
    table = []
    for result in group:
        if not result.blocks:
            table.append(Row(result))
            continue
        forward, backward, vjps = zip(*result.evaluations, strict=True)
        losses = result.losses
        table.append(
            Row(
                result,
                statistics.mean(forward),
                statistics.mean(backward),
                _mean([n for n in vjps if n is not None]),
                _spread([1e3 * seconds for seconds in result.blocks.values()]),
                _ratios(result, reference),
                _ratios(result, bottom),
                losses[0] if losses else None,
                _mean(losses[max(0, warmup - LOSS_STEPS) : warmup]),
                _mean(losses[max(0, end - LOSS_STEPS) : end]),
            )
        )
    return table


def _ratios(result: Result, other: Result | None) -> Spread | None:
    """Round by round, over the rounds that both have."""
    blocks = other.blocks if other else {}
    return _spread([s / blocks[i] for i, s in result.blocks.items() if i in blocks])


def _spread(values: Sequence[float]) -> Spread | None:
    return Spread(statistics.median(values), min(values), max(values)) if values else None


def _mean(values: Sequence[float]) -> float | None:
    return statistics.mean(values) if values else None
