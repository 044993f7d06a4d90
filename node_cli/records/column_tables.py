"""The columns of all records as tables in Markdown, for the page of records:
``python -m node_cli.records.column_tables``."""

from node_cli.records import measures, metric_measures, summary_measures
from node_cli.records.columns import PENALTIES, RECORDS, Record
from node_cli.records.measure import Measure
from node_cli.records.measures import of_block, penalty_of


def markdown(records: tuple[Record, ...] = RECORDS) -> str:
    """Return a heading and a table of columns for each record.

    Of an epoch's columns the table also says how they follow from the steps.
    """
    parts = []
    for record in records:
        measured = record.measures + PENALTIES.get(record, ())
        lines = ["| column | unit | meaning |", "|---|---|---|"]
        lines += [f"| `{m.name}` | {m.unit.words} | {_meaning(m)} |" for m in measured]
        parts.append(f"### {record.file}\n\nEach row is {record.row}.\n\n" + "\n".join(lines))
    parts.append(
        "### Columns of regularisers\n\n"
        f"{', '.join(f'`{m.name}`' for ms in PENALTIES.values() for m in ms)} are there where a "
        "training has regularisers (`regularize=`). steps.csv then also has a column for each that "
        f"adds a penalty, `{penalty_of('NAME')}`: what it measures, before its weight."
    )
    lines = [f"| `{m.name}` | {m.unit.words} | {_meaning(m)} |" for m in measures.AVERAGED_OF_EPOCH]
    parts.append(
        "### Columns of an average of the weights\n\nThere in epochs.csv with `train.ema`; "
        "evaluations.csv then has rows of the splits `holdout_ema`, `test_ema` and `train_ema`.\n\n"
        + "\n".join(["| column | unit | meaning |", "|---|---|---|", *lines])
    )
    further = metric_measures.OF_EVALUATIONS
    lines = [f"| `{m.name}` | {m.unit.words} | {_meaning(m)} |" for m in further]
    parts.append(
        "### Columns of metrics\n\nThere in evaluations.csv where `eval.metrics` names them; "
        "epochs.csv has them of each split, as `test_top_k` (of training images "
        "`train_eval_top_k`, of an average of the weights `test_ema_top_k`).\n\n"
        + "\n".join(["| column | unit | meaning |", "|---|---|---|", *lines])
    )
    counts = " and ".join(f"`{of_block(name, 1)}`" for name in measures.OF_BLOCKS)
    parts.append(
        "### Columns of several ODE blocks\n\n"
        f"A model of several ODE blocks (`model.stages`) also has {counts} in steps.csv, and those "
        "of every other block, in the order in which they are solved."
    )
    summary = ", ".join(
        f"`{name}`" for name in (*summary_measures.SUMMARY, *summary_measures.SUMMARY_SECONDS)
    )
    counts = " and ".join(f"`{name}`" for name in summary_measures.SUMMARY_COUNTS)
    parts.append(
        "### summary.csv\n\nEach row is one job of a sweep: `job`, a column for each key that was "
        f"typed, then {summary} of its last epoch (times: of the whole run), `status`, `reason`, "
        f"and {counts}: means over all steps of the run. Where a job has them, the accuracies of "
        "an average of the weights and the metrics of `eval.metrics` come last. summary.md shows "
        "mean ± standard deviation over the seeds."
    )
    return "\n\n".join(parts) + "\n"


def _meaning(measure: Measure) -> str:
    ways = {
        ("sum", "batch"): "mean over the batches",
        ("sum", "image"): "over all images",
        ("image sum", "image"): "weighted by images",
        ("largest", None): "over the batches",
    }
    if measure.total is None:
        return measure.meaning
    return f"{measure.meaning} ({ways[measure.total.how, measure.total.per]})"


if __name__ == "__main__":
    print(markdown(), end="")
