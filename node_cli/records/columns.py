"""The CSV files of a run and their columns."""

from collections.abc import Sequence
from dataclasses import dataclass

from node_cli.records import measures, metric_measures
from node_cli.records.measure import Measure
from node_cli.records.measures import of_block, penalty_of
from node_cli.records.units import FRACTION, MIB, NUMBER, SECONDS, TEXT


@dataclass(frozen=True)
class Record:
    """A CSV file: its name, what a row of it is, and its columns in order."""

    file: str
    row: str
    measures: tuple[Measure, ...]

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the columns."""
        return tuple(measure.name for measure in self.measures)


STEPS = Record("steps.csv", "one training step", measures.STEPS)
EPOCHS = Record("epochs.csv", "one epoch", measures.EPOCHS)
PENALTIES = {STEPS: measures.PENALTIES_OF_STEP, EPOCHS: measures.PENALTIES_OF_EPOCH}
EVALUATIONS = Record("evaluations.csv", "one evaluation of one split", measures.EVALUATIONS)
GRADIENTS = Record(
    "gradients.csv", "one gradient method (`task=check_gradients`)", measures.GRADIENTS
)
PATHS = Record(
    "paths.csv",
    "one point of the path of a coordinate inside an ODE block, for the first test image of a "
    "class",
    (
        Measure("coordinate", NUMBER, "index of the coordinate in the flattened state"),
        Measure("label", NUMBER, "class of the image"),
        Measure("t", NUMBER, "time"),
        Measure("y", NUMBER, "value of the coordinate"),
        Measure("block", NUMBER, "the ODE block, counted from 1"),
    ),
)
PROFILE = Record(
    "profile.csv",
    "one part of a training step (`task=profile`)",
    (
        Measure(
            "part",
            TEXT,
            "the part; `sum`: all of them; `step`: a step as it is, without looking at its parts",
        ),
        Measure("seconds", SECONDS, "time of the part, forward and backward pass together"),
        Measure("seconds_forward", SECONDS, "of that the forward pass"),
        Measure("seconds_backward", SECONDS, "of that the backward pass"),
        Measure("share", FRACTION, "of the sum"),
        Measure(
            "peak_memory_mib",
            MIB,
            "most memory held while in the part, beyond what was held before the step",
        ),
        Measure("flops", NUMBER, "floating-point operations of convolutions and matrix products"),
        Measure("calls", NUMBER, "how often the step came to the part; `f`, `VJPs`: their number"),
    ),
)
SWAPS = Record(
    "solver_swap.csv",
    "one solver (`task=solver_swap`)",
    (
        Measure("solver", TEXT, "the method"),
        Measure("options", TEXT, "its tolerances or steps"),
        Measure(
            "role",
            TEXT,
            "`training`: the solver of the training; `reference`: the finest; else empty",
        ),
        Measure("nfe_mean", NUMBER, "evaluations of f per batch"),
        Measure("accuracy", FRACTION, "images classified correctly"),
        Measure("accuracy_change", FRACTION, "that less the accuracy of the row `training`"),
        Measure("changed", FRACTION, "predictions that differ from those of the row `training`"),
        Measure("logit_change_mean", NUMBER, "mean change of a logit against that row"),
        Measure("logit_change_max", NUMBER, "largest change of a logit against that row"),
        Measure("error", NUMBER, "RMS difference of the logits from those of the row `reference`"),
        Measure("note", TEXT, "why there are no numbers"),
    ),
)
FLOW = Record(
    "flow.csv",
    "the state of one test image inside the first ODE block, at one time, in two coordinates: "
    "those of the state where it has two, else its first two principal components over all rows",
    (
        Measure("image", NUMBER, "number of the image, counted from 0"),
        Measure("label", NUMBER, "class of the image"),
        Measure("t", NUMBER, "time"),
        Measure("y0", NUMBER, "first coordinate"),
        Measure("y1", NUMBER, "second coordinate"),
    ),
)
CLASSES = Record(
    "classes.csv",
    "one class of the test images, solved as a batch of its own",
    (
        Measure("label", NUMBER, "the class"),
        Measure("images", NUMBER, "how many images of it, the first ones"),
        Measure("accuracy", FRACTION, "those that are classified correctly"),
        Measure("nfe_forward", NUMBER, "evaluations of f for the batch"),
    ),
)
VECTOR_FIELD = Record(
    "vector_field.csv",
    "f at one point of a grid and one time, where the state has two dimensions",
    (
        Measure("t", NUMBER, "time"),
        Measure("y0", NUMBER, "first coordinate of y"),
        Measure("y1", NUMBER, "second coordinate of y"),
        Measure("dy0", NUMBER, "first coordinate of f(t, y)"),
        Measure("dy1", NUMBER, "second coordinate of f(t, y)"),
    ),
)
BOUNDARY = Record(
    "boundary.csv",
    "the answer of the model at one point of a grid, where the data are points in the plane",
    (
        Measure("x0", NUMBER, "first coordinate of the point"),
        Measure("x1", NUMBER, "second coordinate of the point"),
        Measure("probability", NUMBER, "of class 1"),
    ),
)
POINTS = Record(
    "points.csv",
    "one of the first test points, where the data are points in the plane",
    (
        Measure("x0", NUMBER, "first coordinate"),
        Measure("x1", NUMBER, "second coordinate"),
        Measure("label", NUMBER, "class of the point"),
    ),
)
TRAJECTORIES = Record(
    "trajectories.csv",
    "one point of the learned trajectory, at one evaluation",
    (
        measures.STEP,
        Measure("t", NUMBER, "time"),
        Measure("y0", NUMBER, "first coordinate"),
        Measure("y1", NUMBER, "second coordinate"),
    ),
)
OBSERVED = Record(
    "observed.csv",
    "one noisy point that is learned from",
    (
        Measure("t", NUMBER, "time"),
        Measure("y0", NUMBER, "first coordinate"),
        Measure("y1", NUMBER, "second coordinate"),
    ),
)
PUBLISHED = Record(
    "published.csv",
    "one published number beside ours",
    (
        Measure("title", TEXT, "the published table"),
        Measure("source", TEXT, "where it was published"),
        Measure("runs", TEXT, "what was typed for our runs"),
        Measure("at", TEXT, "the epoch or step of the number, or `end`"),
        Measure("name", TEXT, "the measured number, a column of epochs.csv or steps.csv"),
        Measure("published", NUMBER, "the published number"),
        Measure("seeds", NUMBER, "our runs that have got there, one per seed"),
        Measure("mean", NUMBER, "mean of ours"),
        Measure("std", NUMBER, "standard deviation of ours"),
        Measure("min", NUMBER, "smallest of ours"),
        Measure("max", NUMBER, "largest of ours"),
        Measure("difference", NUMBER, "our mean less the published number; none for times"),
        Measure(
            "inside",
            TEXT,
            "whether the published number lies within mean ± standard deviation of ours; none for "
            "one seed",
        ),
    ),
)

CHANGES = Record(
    "changes.csv",
    "one setting that was changed when the run went on",
    (
        Measure("step", NUMBER, "training steps made with the value before"),
        Measure("key", TEXT, "the setting"),
        Measure("before", TEXT, "its value up to that step"),
        Measure("after", TEXT, "its value from then on"),
    ),
)

PREDICTIONS = Record(
    "predictions.csv",
    "one image (`task=predict`); further columns, `p_NAME`, have the probability of each class",
    (
        Measure("file", TEXT, "the image, its path below `images`"),
        Measure("class", TEXT, "the most probable class"),
        Measure("probability", FRACTION, "its probability"),
        Measure("note", TEXT, "why there is no prediction, where the file is no readable image"),
    ),
)

PER_CLASS = Record("per_class.csv", "one class of the test split", metric_measures.PER_CLASS)
CONFUSION = Record("confusion.csv", "a pair of classes", metric_measures.CONFUSION)

RECORDS = (
    *(STEPS, EPOCHS, EVALUATIONS, CHANGES, GRADIENTS, SWAPS, PROFILE),
    *(PATHS, FLOW, CLASSES, VECTOR_FIELD, BOUNDARY, POINTS),
    *(PER_CLASS, CONFUSION),
    *(TRAJECTORIES, OBSERVED, PUBLISHED, PREDICTIONS),
)


def columns_of_training(
    record: Record,
    *,
    penalties: Sequence[str] | None,
    blocks: int,
    averaged: bool,
    metrics: Sequence[str],
) -> tuple[str, ...]:
    """Return the columns of a record of a training.

    ``penalties``: the regularisers that add one to the loss; None where nothing is regularised.
    ``blocks``: the number of ODE blocks. ``averaged``: whether there is an average of the weights.
    ``metrics``: those of ``eval.metrics``.
    """
    columns = [*record.columns]
    if penalties is not None and record in PENALTIES:
        columns += [measure.name for measure in PENALTIES[record]]
        columns += map(penalty_of, penalties) if record is STEPS else ()
    if blocks > 1 and record is STEPS:
        columns += [of_block(name, i + 1) for i in range(blocks) for name in measures.OF_BLOCKS]
    if averaged and record is EPOCHS:
        columns += [measure.name for measure in measures.AVERAGED_OF_EPOCH]
    if record is EPOCHS:
        columns += [m.name for m in metric_measures.of_epochs(metrics, averaged=averaged)]
    if record is EVALUATIONS:
        columns += [name for name in metric_measures.NAMES if name in metrics]
    return tuple(columns)
