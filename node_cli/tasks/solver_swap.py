"""The task solver_swap: a trained network under other solvers than that of its training."""

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import torch

from node_cli.config.schema import Config
from node_cli.data.streams import stream
from node_cli.display import Display
from node_cli.errors import one_line
from node_cli.learn.answers import Answers, answers
from node_cli.learn.classification import Classification
from node_cli.learn.evaluation import Diverged
from node_cli.learn.observer import Seen
from node_cli.ode.failures import SolveFailed
from node_cli.ode.solver import Solver
from node_cli.records.columns import SWAPS
from node_cli.records.files import write_csv
from node_cli.records.run_folder import RunFolder
from node_cli.tasks.live import counted
from node_cli.tasks.setup import Setup, load_for_evaluation
from node_cli.tasks.swap_solvers import in_words, others, references
from node_cli.tasks.swap_verdict import LARGEST_FALL, Tried, Verdict, rms, verdict
from node_cli.tasks.task import End

MOST_IMAGES = 2000  # of the test split, drawn at random

# The columns on the terminal, and their widths.
SHOWN = {
    "": 28,
    "NFE": 6,
    "accuracy": 9,
    "points": 7,
    "changed": 8,
    "mean": 8,
    "max": 8,
    "error": 8,
}
LEGEND = """\
points: of accuracy, against the solver of the training; changed: predictions that are others. mean,
max: change of the logits. error: RMS difference of the logits from those of the reference."""

Row = dict[str, Any]
"""A row of solver_swap.csv."""


class SolverSwap:
    """Answers the same images under many solvers, and says what the network is the solution of.

    Nothing is trained; there is no score. Cost: about 30 passes over at most ``MOST_IMAGES``
    images.
    """

    def __init__(self, config: Config, folder: RunFolder) -> None:
        assert config.checkpoint is not None
        self.config = config
        self.folder = folder
        self.setup = Setup(config)
        self.path, self.progress = load_for_evaluation(config.checkpoint, self.setup.model)
        objective = self.setup.objective
        assert isinstance(objective, Classification), "refused where the configuration is checked"
        self.objective = objective
        test = objective.images["test"]
        drawn = torch.randperm(len(test), generator=stream(config.seed, "swap"))[:MOST_IMAGES]
        self.images = test[drawn.sort().values.to(test.labels.device)]
        self.rows: list[Row] = []

    def run(self, display: Display) -> End:
        """Try every solver; show and record a row for each, and the verdict.

        Raises ``SolveFailed`` and ``Diverged`` where the solver of the training fails.
        """
        setup, folder = self.setup, self.folder
        setup.show_header(display, folder)
        of = f"{len(self.images):,} of {setup.objective.splits['test']:,} test images"
        display.line(f"{self.path}, after {self.progress.step:,} steps; {of}\n")
        display.line(_line({name: name for name in SHOWN}))
        with counted(display, "trying") as seen:
            found_out = self._try_all(display, seen)
        write_csv(folder.swaps, SWAPS.columns, self.rows)
        display.line(f"\n{LEGEND}")
        display.line(f"\nverdict: {found_out.sentence}")
        if found_out.of == "ode" and (cheapest := _cheapest(self.rows)):
            display.line(cheapest)
        folder.write_result(
            {
                "task": "solver_swap",
                **setup.facts(),
                "checkpoint": str(self.path),
                "images_compared": len(self.images),
                "verdict": found_out.of,
                "sentence": found_out.sentence,
                "largest_fall": LARGEST_FALL,
                "solvers": self.rows,
            }
        )
        return End(None)

    def _try_all(self, display: Display, seen: Seen) -> Verdict:
        """Add a row for each solver."""
        solver = self.config.forward_solver()
        before = self._answers(solver, seen)
        reference = self._reference(solver, seen)
        limit = reference[1] if reference else None
        self._add(display, solver, "training", before, before, limit)
        trained = self._tried(solver, before, limit)
        tried = []
        for other, role in self._others(solver, reference):
            try:
                found = reference[1] if reference and role else self._answers(other, seen)
            except (SolveFailed, Diverged) as error:
                self._add_failure(display, other, error)
                continue
            self._add(display, other, role, found, before, limit)
            tried.append(self._tried(other, found, limit))
        return _unknown() if limit is None else verdict(trained, tried)

    def _answers(self, solver: Solver, seen: Seen) -> Answers:
        """What the network answers under a solver. Raises ``SolveFailed``, and ``Diverged`` where
        a logit is not finite."""
        objective = self.objective
        for block in objective.model.ode_blocks:
            block.solver = solver
        found = answers(
            self.config,
            objective.model,
            self.images,
            objective.images["train"],
            objective.preprocess,
            self.setup.backend,
            seen=partial(seen, in_words(solver)),
        )
        if not bool(found.logits.isfinite().all()):
            raise Diverged("the class scores are not finite")
        return found

    def _reference(self, solver: Solver, seen: Seen) -> tuple[Solver, Answers] | None:
        """The finest solver that comes to an end; None where none does."""
        for chosen in references(self.config.precision, solver.jump_t):
            try:
                return chosen, self._answers(chosen, seen)
            except (SolveFailed, Diverged):
                continue
        return None

    def _others(
        self, solver: Solver, reference: tuple[Solver, Answers] | None
    ) -> Iterator[tuple[Solver, str | None]]:
        for other in others(solver, self.config.precision):
            yield other, None
        if reference:
            yield reference[0], "reference"

    @staticmethod
    def _tried(solver: Solver, found: Answers, limit: Answers | None) -> Tried:
        error = 0.0 if limit is None else rms(found.logits - limit.logits)
        return Tried(in_words(solver), found, error)

    def _add(
        self,
        display: Display,
        solver: Solver,
        role: str | None,
        found: Answers,
        before: Answers,
        limit: Answers | None,
    ) -> None:
        """Record and show a row."""
        change = (found.logits - before.logits).abs()
        row = _empty(solver, role) | {
            "nfe_mean": found.nfe_mean,
            "accuracy": found.accuracy,
            "accuracy_change": found.accuracy - before.accuracy,
            "changed": float((found.predictions != before.predictions).double().mean()),
            "logit_change_mean": float(change.mean()),
            "logit_change_max": float(change.max()),
            "error": None if limit is None else rms(found.logits - limit.logits),
        }
        self.rows.append(row)
        display.line(_line(_cells(row)))

    def _add_failure(self, display: Display, solver: Solver, error: RuntimeError) -> None:
        self.rows.append(_empty(solver, None) | {"note": one_line(error)})
        reason = error.reason if isinstance(error, SolveFailed) else one_line(error)
        display.line(f"{in_words(solver):<{SHOWN['']}} {reason}")


def _empty(solver: Solver, role: str | None) -> Row:
    words = in_words(solver)
    return dict.fromkeys(SWAPS.columns) | {
        "solver": solver.name,
        "options": words.partition(" ")[2],
        "role": role,
    }


def _unknown() -> Verdict:
    return Verdict("unknown", "not known, since the ODE itself could not be solved")


def _cheapest(rows: list[Row]) -> str:
    """The solver with the fewest evaluations that keeps the accuracy; empty where it is that of the
    training."""
    able = [r for r in rows if r["accuracy"] is not None and r["accuracy_change"] >= -LARGEST_FALL]
    row = min(able, key=lambda r: r["nfe_mean"])
    if row["role"] == "training":
        return ""
    return (
        f"fewest evaluations of f within {LARGEST_FALL:.0%} of that accuracy: "
        f"{row['solver']} {row['options']}, {row['nfe_mean']:g} a batch"
    )


def _cells(row: Row) -> dict[str, str]:
    """The cells of a row on the terminal."""
    role = f" ({row['role']})" if row["role"] else ""
    error = row["error"]
    return {
        "": f"{row['solver']} {row['options']}{role}",
        "NFE": f"{row['nfe_mean']:.4g}",
        "accuracy": f"{row['accuracy']:.2%}",
        "points": f"{100 * row['accuracy_change'] + 0.0:+.2f}",
        "changed": f"{row['changed']:.2%}",
        "mean": f"{row['logit_change_mean']:.1e}",
        "max": f"{row['logit_change_max']:.1e}",
        "error": "" if error is None else f"{error:.1e}",
    }


def _line(cells: Mapping[str, str]) -> str:
    return " ".join(
        f"{cells[name]:{'>' if name else '<'}{width}}" for name, width in SHOWN.items()
    ).rstrip()
