"""Every number that a run measures: its name, unit and meaning, how the batches of an epoch make
one number of it, and how it is printed.

The columns of the CSV files, the means in epochs.csv, the display, the reports and the
documentation of columns (``python -m node_cli.records.column_tables``) all read these tables.

To add a number that every step measures, add a row to ``STEPS`` and put its value into
``Outcome.more`` where it is measured; a row in ``EPOCHS`` that names it in its ``Total`` adds it up
over an epoch. New rows go to the end of a table: the order is that of the columns.

Nothing here imports torch, so that reports start at once.
"""

from operator import attrgetter
from typing import TYPE_CHECKING

from node_cli.config.published import PLACES
from node_cli.records import metric_measures
from node_cli.records.measure import Measure, Total, largest, mean, of_images
from node_cli.records.splits import evaluated
from node_cli.records.units import (
    FRACTION,
    LOSS,
    MIB,
    NUMBER,
    PARAMETERS,
    PER_SECOND,
    SECONDS,
    TEXT,
    TOLERANCES,
    Unit,
    Value,
)

if TYPE_CHECKING:
    from node_cli.ode.work import Work


STEP = Measure("step", NUMBER, "training steps made so far")
EPOCH = Measure("epoch", NUMBER, "the epoch, counted from 1")

WORK = (
    Measure(
        "nfe_forward",
        NUMBER,
        "evaluations of f in the forward solve, those of rejected steps and of the choice of the "
        "first step included",
        work="nfe_forward",
    ),
    Measure(
        "nfe_backward",
        NUMBER,
        "evaluations of f in the backward pass; 0 for `discrete`, which keeps the forward ones",
        work="nfe_backward",
    ),
    Measure(
        "vjps_backward",
        NUMBER,
        "vector-Jacobian products of f in the backward pass",
        "vjps_backward",
    ),
    Measure("accepted_forward", NUMBER, "accepted steps, forward solve", "forward.accepted"),
    Measure("rejected_forward", NUMBER, "rejected steps, forward solve", "forward.rejected"),
    Measure("accepted_backward", NUMBER, "accepted steps, backward solve", "backward.accepted"),
    Measure("rejected_backward", NUMBER, "rejected steps, backward solve", "backward.rejected"),
)

DRIFT = Measure(
    "drift_backward",
    TOLERANCES,
    "`backsolve`: how far y, solved again backwards, came from that of the forward solve, at most",
    work="drift_backward",
)

STEPS = (
    STEP,
    EPOCH,
    Measure(
        "loss",
        LOSS,
        "mean loss of the batch, before the update, with the labels as `train.label_smoothing` "
        "leaves them",
    ),
    Measure("accuracy", FRACTION, "images of the batch classified correctly, before the update"),
    Measure("lr", NUMBER, "learning rate"),
    Measure("grad_norm", NUMBER, "Euclidean norm of the whole gradient, before clipping"),
    *WORK,
    Measure("seconds", SECONDS, "time of the step"),
    DRIFT,
)

EPOCHS = (
    EPOCH,
    STEP,
    Measure("seconds", SECONDS, "training time of the epoch, without evaluation"),
    Measure("eval_seconds", SECONDS, "time spent on evaluation during the epoch"),
    Measure("images_per_s", PER_SECOND, "training images per second of training time"),
    Measure(
        "train_loss",
        LOSS,
        "mean training loss of the epoch, each batch before its update",
        total=of_images("loss"),
    ),
    Measure(
        "train_accuracy",
        FRACTION,
        "training accuracy over the epoch, each batch before its update",
        total=Total("correct", ("correct",), "sum", "image"),
    ),
    Measure(
        "train_eval_accuracy",
        FRACTION,
        "accuracy on training images after the epoch (`eval.train`)",
    ),
    Measure("holdout_loss", LOSS, "loss on the holdout after the epoch"),
    Measure("holdout_accuracy", FRACTION, "accuracy on the holdout after the epoch"),
    Measure("test_loss", LOSS, "loss on the test split after the epoch"),
    Measure("test_accuracy", FRACTION, "accuracy on the test split after the epoch"),
    Measure("nfe_forward_mean", NUMBER, "mean of `nfe_forward`", total=mean("nfe_forward")),
    Measure("nfe_forward_max", NUMBER, "largest `nfe_forward`", total=largest("nfe_forward")),
    Measure("nfe_backward_mean", NUMBER, "mean of `nfe_backward`", total=mean("nfe_backward")),
    Measure("nfe_backward_max", NUMBER, "largest `nfe_backward`", total=largest("nfe_backward")),
    Measure("vjps_backward_mean", NUMBER, "mean of `vjps_backward`", total=mean("vjps_backward")),
    Measure(
        "rejected_mean",
        NUMBER,
        "mean of the rejected steps, forward and backward together",
        total=mean("rejected_forward", "rejected_backward", key="rejected"),
    ),
    Measure("nfe_eval_mean", NUMBER, "evaluations of f per batch in the evaluation of the epoch"),
    Measure(
        "peak_memory_mib",
        MIB,
        "CUDA: most memory allocated during the epoch; else: most resident memory of the process",
    ),
    Measure(
        "drift_backward_max",
        TOLERANCES,
        "largest `drift_backward`",
        total=largest("drift_backward"),
    ),
)

# Further columns of a training with regularisers (``regularize=``), after all others; a column for
# each penalty, ``penalty_of``, comes after those of a step.
PENALTIES_OF_STEP = (
    Measure("penalty", LOSS, "sum of the penalties, each times its weight in this step"),
    Measure("objective", LOSS, "`loss` + `penalty`, which the gradient is of"),
    Measure(
        "nfe_penalty",
        NUMBER,
        "evaluations of f and of its derivatives for the penalties alone, forward and backward",
    ),
)

PENALTIES_OF_EPOCH = (
    Measure("train_penalty", LOSS, "mean penalty of the epoch", total=of_images("penalty")),
    Measure("train_objective", LOSS, "mean of `objective`", total=of_images("objective")),
    Measure("nfe_penalty_mean", NUMBER, "mean of `nfe_penalty`", total=mean("nfe_penalty")),
)


# Further columns of a training with an average of its weights (``train.ema``), after these.
AVERAGED_OF_EPOCH = (
    Measure("holdout_ema_loss", LOSS, "`holdout_loss` of the average of the weights"),
    Measure("holdout_ema_accuracy", FRACTION, "`holdout_accuracy` of the average"),
    Measure("test_ema_loss", LOSS, "`test_loss` of the average"),
    Measure("test_ema_accuracy", FRACTION, "`test_accuracy` of the average"),
    Measure("train_eval_ema_accuracy", FRACTION, "`train_eval_accuracy` of the average"),
)


def penalty_of(regulariser: str) -> str:
    """Return the column of steps.csv for what a regulariser measures, before its weight."""
    return f"penalty_{regulariser}"


# Counts of a step that also have a column for each ODE block, where there are several.
OF_BLOCKS = ("nfe_forward", "nfe_backward")


def of_block(name: str, block: int) -> str:
    """Return the column of steps.csv for a count of one ODE block, counted from 1."""
    return f"{name}_block_{block}"


EVALUATIONS = (
    STEP,
    Measure("epoch", NUMBER, "the epoch, counted from 1; 0 before the first step"),
    Measure(
        "split",
        TEXT,
        "`holdout`, `test`, or `train` for training images; `_ema`: the average of the weights",
    ),
    Measure("images", NUMBER, "images evaluated; points of a trajectory"),
    Measure("loss", LOSS, "mean loss"),
    Measure("accuracy", FRACTION, "images classified correctly"),
    Measure("nfe_mean", NUMBER, "evaluations of f per batch"),
    Measure(
        "unsolved",
        NUMBER,
        "images whose solve failed, counted as wrong (`train.on_solver_failure=skip`)",
    ),
)

# Columns that files of older versions lack; there they are empty.
ADDED = (
    *("unsolved", "drift_backward", "drift_backward_max"),
    *metric_measures.NAMES,
    *(measure.name for measure in metric_measures.of_epochs()),
)

GRADIENTS = (
    Measure("sensitivity", TEXT, "the method; also `reference` and `finite_differences`"),
    Measure("norm", TEXT, "the norm of its backward solve"),
    Measure(
        "relative_error",
        NUMBER,
        "difference from the reference relative to it, in the Euclidean norm; of the reference "
        "itself, an estimate",
    ),
    Measure("relative_error_f", NUMBER, "the same for the parameters of f alone"),
    Measure("cosine", NUMBER, "cosine of the angle between the gradient and the reference"),
    *WORK,
    Measure("extra_memory_mib", MIB, "peak memory of one forward and backward pass"),
    Measure("seconds", SECONDS, "time of one forward and backward pass, median"),
    Measure("note", TEXT, "why there are no numbers, or what the row is"),
    DRIFT,
)

# Numbers of a finished run that no file has as a column.
OF_A_RUN = (
    Measure("test_error", FRACTION, "1 - `test_accuracy`"),
    Measure("parameters", PARAMETERS, "number of trained parameters"),
    Measure("nfe_forward_run", NUMBER, "mean of `nfe_forward` over every step of the run"),
    Measure("nfe_backward_run", NUMBER, "mean of `nfe_backward` over every step of the run"),
)

# Numbers of a step that are only added up, and have no column.
UNRECORDED = ("correct",)

TOTALS = tuple(measure.total for measure in EPOCHS if measure.total)
PENALTY_TOTALS = tuple(measure.total for measure in PENALTIES_OF_EPOCH if measure.total)

STEP_NAMES = frozenset([*UNRECORDED, *(measure.name for measure in STEPS)])

_WORK = {measure.name: attrgetter(measure.work) for measure in (*WORK, DRIFT)}


def work_cells(work: "Work | None") -> dict[str, Value]:
    """Return the columns that count work; None in each where there is no ODE."""
    return {name: read(work) if work else None for name, read in _WORK.items()}


def block_cells(work: "Work | None") -> dict[str, Value]:
    """Return the columns that count work block by block; none where there are not several."""
    return {
        of_block(name, block): _WORK[name](part)
        for block, part in enumerate(work.of_blocks if work else (), 1)
        for name in OF_BLOCKS
    }


# What evaluations.csv has of a split.
OF_SPLITS = ("loss", "accuracy", *metric_measures.NAMES)

_EVALUATED = {
    "test_error",
    *(evaluated(s, m) for s in metric_measures.SPLITS for m in OF_SPLITS),
}


def publishable(place: str | None) -> set[str]:
    """Return the names that a published table may have: ``place`` is epoch, step, or None for the
    end of a run."""
    names = {measure.name for measure in _recorded(place)} | _EVALUATED
    return (names | {"parameters"} if place is None else names) - {*PLACES}


def _recorded(place: str | None) -> tuple[Measure, ...]:
    if place == "step":
        return (*STEPS, *PENALTIES_OF_STEP)
    further = metric_measures.of_epochs()
    return (*EPOCHS, *PENALTIES_OF_EPOCH, *AVERAGED_OF_EPOCH, *further)


_UNITS = {m.name: m.unit for m in (*_recorded("step"), *_recorded(None), *OF_A_RUN)}
_UNITS |= {m.name: m.unit for m in metric_measures.OF_EVALUATIONS}
_UNITS["train_eval_loss"] = LOSS


def unit(name: str) -> Unit:
    """Return the unit of a number by its name; a plain number where the name is unknown."""
    return _UNITS.get(name, NUMBER)
