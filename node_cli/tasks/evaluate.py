"""The task eval."""

import time

from node_cli.config.schema import Config
from node_cli.display import Display
from node_cli.errors import UserError
from node_cli.learn.average import Average, evaluate_both, trained
from node_cli.learn.evaluation import Metrics, evaluation_rows, split_numbers
from node_cli.learn.recorded import recorded
from node_cli.records import checkpoints
from node_cli.records.checkpoint_schema import DoesNotFit, check_model
from node_cli.records.columns import EVALUATIONS
from node_cli.records.files import write_csv
from node_cli.records.measures import unit
from node_cli.records.run_folder import RunFolder
from node_cli.records.splits import trained_split
from node_cli.tasks.live import counted
from node_cli.tasks.setup import Setup, load_for_evaluation
from node_cli.tasks.task import End


class Evaluation:
    """Evaluates a checkpoint. The score is the holdout accuracy."""

    def __init__(self, config: Config, folder: RunFolder) -> None:
        assert config.checkpoint is not None
        self.config = config
        self.folder = folder
        self.setup = Setup(config)
        self.path, self.progress = load_for_evaluation(config.checkpoint, self.setup.model)
        self.average = self._average()

    def _average(self) -> Average | None:
        """That of the checkpoint, the model then having the weights themselves; None where the
        training made none."""
        decay, model = self.config.train.ema, self.setup.model
        if decay is None:
            return None
        checkpoint, average = checkpoints.load(self.path), Average(model, decay)
        try:
            check_model(checkpoint, average.weights, same_dtype=False)
        except DoesNotFit as error:
            raise UserError(f"checkpoint={self.path}: does not fit the model ({error})") from error
        model.load_state_dict(checkpoint["model"])
        average.load_state_dict(checkpoint["ema"])
        return average

    def run(self, display: Display) -> End:
        """Evaluate, record and show every split. Raises ``SolveFailed`` and ``Diverged``."""
        setup, folder, step = self.setup, self.folder, self.progress.step
        setup.show_header(display, folder)
        display.line(f"{self.path}, after {step:,} steps")
        records = (EVALUATIONS, *setup.objective.further)
        for record in records:  # there even where the evaluation fails
            write_csv(folder.path / record.file, recorded(self.config, record), [])
        start = time.perf_counter()
        with counted(display, "evaluating") as seen:
            metrics, further = evaluate_both(setup.objective, self.average, step, seen)
        seconds = time.perf_counter() - start
        rows = list(evaluation_rows(metrics, step, self.progress.current_epoch))
        for record in records:
            found = rows if record is EVALUATIONS else further[record]
            write_csv(folder.path / record.file, recorded(self.config, record), found)
        with trained(self.average), counted(display, "evaluating") as seen:
            setup.objective.finish(folder, seen)
        width = max(7, *map(len, metrics))
        for name, m in metrics.items():
            display.line(f"{name:<{width}}  {m.images:,} {setup.objective.units}  {_figures(m)}")
        folder.write_result(
            {
                "task": "eval",
                "checkpoint": str(self.path),
                "eval_seconds": seconds,
                "metrics": split_numbers(metrics),
                **setup.facts(),
            }
        )
        holdout = trained_split("holdout", averaged=self.average is not None)
        return End(metrics[holdout].accuracy if holdout in metrics else None)


def _figures(m: Metrics) -> str:
    nfe = "" if m.nfe_mean is None else f"  NFE {m.nfe_mean:g}"
    unsolved = f"  Unsolved: {m.unsolved:,}" * bool(m.unsolved)
    if m.accuracy is None:
        loss = "none" if m.loss is None else unit("loss").on_terminal(m.loss)
        return f"Loss: {loss}{nfe}{unsolved}"
    loss = "none" if m.loss is None else f"{m.loss:.4f}"
    shown = {"Accuracy": m.accuracy, **m.further}
    parts = [
        f"{name}: {unit(name.lower()).on_terminal(v)}" for name, v in shown.items() if v is not None
    ]
    return f"{'  '.join(parts)}  Loss: {loss}{nfe}{unsolved}"
