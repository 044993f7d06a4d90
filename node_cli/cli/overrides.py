"""What was typed: ``key=value`` and ``group=choice``, parsed once, in Hydra's grammar."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from math import prod
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, RangeSweep
from hydra.core.override_parser.types import Override as HydraOverride
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from node_cli.config.messages import quoted, shell_override
from node_cli.errors import one_line

# Keys whose value is a path: what the grammar refuses of one, or reads as a number, is meant as it
# stands.
PATH_KEYS = (
    "hydra.run.dir",
    "hydra.sweep.dir",
    "data.root",
    "checkpoint",
    "init_from",
    "resume",
    "report",
    "report.out",
)

MOST_JOBS = 10_000
AT_MOST = f"a sweep has at most {MOST_JOBS:,}"


def key_of(text: str) -> str:
    """The key or group of an override that has been composed before, in the text of it."""
    return text.lstrip("+").partition("=")[0]


@dataclass(frozen=True)
class Override:
    """One override. ``key``: a dotted key, or a group. ``text``: to be parsed again. ``several``:
    whether it stands for several values, one for each job."""

    key: str
    text: str
    several: bool
    parsed: HydraOverride

    @property
    def value(self) -> Any:
        """The value; of several, the list of them."""
        return list(self.parsed.sweep_string_iterator()) if self.several else self.parsed.value()

    def count(self) -> int:
        """For how many values it stands, told without listing them."""
        value = self.parsed.value()
        if not isinstance(value, RangeSweep) or value.start is None or value.stop is None:
            return 1
        step = value.step or math.inf  # of 0, which Hydra refuses
        return max(0, math.ceil((value.stop - value.start) / step))

    def problem_with_several(self, *, multirun: bool) -> str | None:
        """The line where it stands for several values and must not."""
        if not self.several:
            return None
        typed = self.text.partition("=")[2]
        hint = f"; one folder of this name is {shell_override(self.key, typed)}"
        if self.key.startswith("hydra"):
            return f"{self.text}: takes one value (quote special characters){hint}"
        if not multirun:
            of_path = hint if self.key in PATH_KEYS else ""
            return f"{self.text}: several values need -m (or brackets, for a list){of_path}"
        return None


@dataclass(frozen=True)
class CommandLine:
    """The overrides of a command line, or of a row of a table; a line for each that is none."""

    overrides: Sequence[Override]
    problems: Sequence[str]

    def find(self, key: str) -> Override | None:
        """The override of a key or group; the last one wins."""
        return next((o for o in reversed(self.overrides) if o.key == key), None)

    @property
    def lasting(self) -> list[Override]:
        """Of each key the last override, in the place of the first."""
        return [*{o.key: o for o in self.overrides}.values()]

    def jobs(
        self, parser: "Parser", *, multirun: bool, problems: list[str]
    ) -> list[list[Override]]:
        """The overrides of each job, every combination of the values that they stand for.

        ``multirun``: whether one may stand for several. A line is added to ``problems`` for each
        that must not, or that has no values. Where another sweeper than Hydra's own chooses, the
        jobs are those by which its values are checked: each of them in turn, those of other keys
        the first ones; of an interval and of a range the ends.
        """
        sweeper = self.find("hydra/sweeper")
        has_sweeper = sweeper is not None and sweeper.value != "basic"
        # The last of the same key counts, in the place of the first.
        by_key: dict[str, list[Override]] = {}
        for override in self.overrides:
            key = override.parsed.get_key_element().lstrip("+")
            if problem := override.problem_with_several(multirun=multirun):
                problems.append(problem)
            elif key in by_key and (override.several or len(by_key[key]) > 1):
                problems.append(f"{override.text}: {key} is given twice; give all values at once")
            elif (count := override.count()) > MOST_JOBS:
                problems.append(
                    f"{override.text}: {count:,} jobs; a sweep has at most {MOST_JOBS:,}"
                )
            else:
                try:
                    chosen = has_sweeper and override.several
                    values = parser.ends if chosen else parser.singles
                    by_key[key] = list(values(override))
                except OmegaConfBaseException:  # of choice() and the like inside a list
                    problems.append(f"{override.text}: write the values out, {key}=A,B")
                except Exception as error:  # whatever its arguments lead Hydra to
                    problems.append(f"{override.text}: {one_line(error)}")
                else:
                    if not by_key[key]:
                        problems.append(f"{override.text}: no values to run with")
        count = prod(map(len, by_key.values()))
        if count > MOST_JOBS:
            problems.append(f"{count:,} jobs; {AT_MOST}")
            return []
        if has_sweeper:
            firsts = {key: values[0] for key, values in by_key.items() if values}
            others = ((k, value) for k, values in by_key.items() for value in values[1:])
            return [
                list((firsts | change).values()) for change in ({}, *({k: v} for k, v in others))
            ]
        return [list(job) for job in product(*by_key.values())]


class Parser:
    """Parses overrides. ``loader``: knows the files of a group, which ``glob(*)`` asks for."""

    def __init__(self, loader: ConfigLoader | None = None) -> None:
        self.parser = OverridesParser.create(config_loader=loader)

    def command_line(self, texts: Iterable[str]) -> CommandLine:
        """The overrides that ``texts`` are, each by itself, so that all mistakes are found."""
        overrides, problems = [], []
        for text in texts:
            try:
                override = self._parsed(text)
            except (HydraException, ValueError):
                override = None
            if override is None or not override.key:
                problems.append(
                    f"{text}: not of the form key=value (quote special characters); see --help"
                )
                continue
            if override.parsed.is_delete():
                problems.append(f"{text}: nothing can be left out; an optional key takes null")
            else:
                overrides.append(override)
        return CommandLine(overrides, problems)

    def keys(self, texts: Iterable[str]) -> set[str]:
        """The keys and groups that were typed, of overrides that are sound."""
        return {self._parsed(text).key for text in texts}

    def singles(self, override: Override) -> Iterator[Override]:
        """The override once per value, its value written as Hydra writes it.

        Raises HydraException where Hydra's own sweeper cannot tell the values.
        """
        for (text,) in BasicSweeper.split_arguments([override.parsed], None)[0]:
            if override.several:
                yield self._parsed(text)
            else:
                yield Override(override.key, text, False, override.parsed)

    def ends(self, override: Override) -> Iterator[Override]:
        """The override once per value, of an interval or a range once per end."""
        match override.parsed.value():
            case IntervalSweep(start=start, end=end):
                yield from (self._parsed(f"{override.key}={end}") for end in (start, end))
            case RangeSweep():
                values = override.value
                yield from (self._parsed(f"{override.key}={v}") for v in (values[0], values[-1]))
            case _:
                yield from self.singles(override)

    def _parsed(self, text: str) -> Override:
        key, is_set, value = text.partition("=")
        as_it_stands = quoted(key, value) if key in PATH_KEYS and is_set else None
        try:
            (parsed,) = self.parser.parse_overrides([text])
        except HydraException:
            if as_it_stands is None or not value.isprintable():
                raise
            text = as_it_stands
            (parsed,) = self.parser.parse_overrides([text])
        if as_it_stands is not None and isinstance(parsed.value(), int | float):
            text = as_it_stands
            (parsed,) = self.parser.parse_overrides([text])
        return Override(parsed.key_or_group, text, parsed.is_sweep_override(), parsed)
