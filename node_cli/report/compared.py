"""Runs that differ by their seed alone, and what else the others differ in, by configuration.

``over_seeds.py`` groups the jobs of one sweep by what was typed; here runs of several sweeps and of
older versions come together, which only their configurations compare.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import mean, stdev

from node_cli.report.found_runs import MISSING, FoundRun

# Quantiles of Student's t, 97.5 %, for 1, 2, ... 30 degrees of freedom; for more the last one is
# taken, which is larger than theirs.
T = (
    *(12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228),
    *(2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086),
    *(2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042),
)

NONE = "null"  # how one types that there is none

Numbers = Mapping[str, float]


@dataclass(frozen=True)
class Estimate:
    """The mean over seeds, their standard deviation, and half of the 95 % confidence interval of
    the mean; the last two are None for a single seed."""

    mean: float
    std: float | None
    half: float | None
    seeds: int


@dataclass(frozen=True)
class ComparedSetting:
    """Runs whose configurations differ by the seed alone.

    ``label``: what tells them from the others. ``numbers``: of each finished run.
    """

    label: str
    runs: Sequence[FoundRun]
    numbers: Sequence[tuple[FoundRun, Numbers]]

    @property
    def seeds(self) -> list[int]:
        """The seeds of its runs, each once."""
        return sorted({run.seed for run in self.runs})

    def by_seed(self, name: str) -> dict[int, float]:
        """A measured number of its finished runs; the mean of those that have the same seed."""
        found: dict[int, list[float]] = defaultdict(list)
        for run, numbers in self.numbers:
            if name in numbers:
                found[run.seed].append(numbers[name])
        return {seed: mean(values) for seed, values in sorted(found.items())}

    def estimate(self, name: str) -> Estimate | None:
        """A measured number over the seeds; None where no run has it."""
        values = [*self.by_seed(name).values()]
        if not values:
            return None
        if (n := len(values)) == 1:
            return Estimate(values[0], None, None, 1)
        std = stdev(values)
        return Estimate(mean(values), std, T[min(n - 1, len(T)) - 1] * std / n**0.5, n)


@dataclass(frozen=True)
class Comparison:
    """``keys``: typed choices that differ, and the fewest others that tell the settings apart.
    ``differing``: all keys that are not the same in all of them. ``settings``: in the order of
    their first runs."""

    keys: Sequence[str]
    differing: Sequence[str]
    settings: Sequence[ComparedSetting]


def compare_settings(
    runs: Sequence[FoundRun], numbers: Callable[[FoundRun], Numbers]
) -> Comparison:
    """Group runs that are legible. ``numbers``: what a run measured."""
    differing = _differing(runs)
    keys = _telling(runs, differing)
    groups: dict[tuple[str, ...], list[FoundRun]] = defaultdict(list)
    for run in runs:
        groups[tuple(run.value(key) for key in differing)].append(run)
    labels = _labels([alike[0] for alike in groups.values()], keys)
    settings = [
        ComparedSetting(
            label, alike, [(run, numbers(run)) for run in alike if run.status == "done"]
        )
        for label, alike in zip(labels, groups.values(), strict=True)
    ]
    return Comparison(keys, differing, settings)


def short_key(key: str) -> str:
    """A key as one types it: the name of a section is its choice."""
    return key.removesuffix(".name")


def _labels(runs: Sequence[FoundRun], keys: Sequence[str]) -> list[str]:
    """What tells the settings of runs apart; keys without a value only where they are needed."""
    if not keys:
        names = [run.value(key) for run in runs for key in ("model.name", "data.name")]
        return [" on ".join(name for name in names if name != MISSING) or "all runs"] * len(runs)
    for untold in ((MISSING, NONE), (MISSING,)):
        labels = [
            " ".join(
                f"{short_key(key)}={value}"
                for key in keys
                if (value := run.value(key)) not in untold
            )
            for run in runs
        ]
        if len({*labels}) == len(labels) and all(labels):
            break
    return labels


def _differing(runs: Sequence[FoundRun]) -> list[str]:
    """Keys with more than one value. One that some runs do not know, because their version is
    older or their choice has no such key, is compared between the others."""
    keys = dict.fromkeys(key for run in runs for key in run.config)
    values = {key: {run.value(key) for run in runs} - {MISSING} for key in keys}
    sections = {key.rpartition(".")[0] for key in keys}
    return [key for key in keys if len(values[key]) > 1 and key not in sections]


def _telling(runs: Sequence[FoundRun], differing: Sequence[str]) -> list[str]:
    """Of the keys that differ, the choices that were typed, and the others that are needed: typed
    ones first, then names. A choice is named though another key tells the same runs apart: runs on
    two sets of data are not to be taken for runs on one."""
    typed = dict.fromkeys(o.partition("=")[0] for run in runs for o in run.overrides)
    first = [key for t in typed for key in (t, f"{t}.name") if key in differing]
    names = [key for key in differing if key.endswith(".name")]
    choices = {*first} & {*names}
    taken: list[str] = []
    groups = 1
    for key in dict.fromkeys((*first, *names, *differing)):
        told = {tuple(run.value(k) for k in (*taken, key)) for run in runs}
        if key in choices or len(told) > groups:
            taken.append(key)
            groups = len(told)
    return taken
