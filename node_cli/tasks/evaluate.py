"""The task eval."""

import time

from node_cli.config.schema import Config
from node_cli.display import Display
from node_cli.learn.evaluation import Metrics, evaluation_rows, split_numbers
from node_cli.records.columns import EVALUATIONS
from node_cli.records.files import write_csv
from node_cli.records.measures import unit
from node_cli.records.run_folder import RunFolder
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

    def run(self, display: Display) -> End:
        """Evaluate, record and show every split. Raises ``SolveFailed`` and ``Diverged``."""
        setup, folder, step = self.setup, self.folder, self.progress.step
        setup.show_header(display, folder)
        display.line(f"{self.path}, after {step:,} steps")
        records = (EVALUATIONS, *setup.objective.further)
        for record in records:  # there even where the evaluation fails
            write_csv(folder.path / record.file, record.columns, [])
        start = time.perf_counter()
        metrics, further = setup.objective.evaluate(step)
        seconds = time.perf_counter() - start
        rows = list(evaluation_rows(metrics, step, self.progress.current_epoch))
        for record in records:
            found = rows if record is EVALUATIONS else further[record]
            write_csv(folder.path / record.file, record.columns, found)
        setup.objective.finish(folder)
        for name, m in metrics.items():
            display.line(f"{name:<7}  {m.images:,} {setup.objective.units}  {_figures(m)}")
        folder.write_result(
            {
                "task": "eval",
                "checkpoint": str(self.path),
                "eval_seconds": seconds,
                "metrics": split_numbers(metrics),
                **setup.facts(),
            }
        )
        return End(metrics["holdout"].accuracy if "holdout" in metrics else None)


def _figures(m: Metrics) -> str:
    nfe = "" if m.nfe_mean is None else f"  NFE {m.nfe_mean:g}"
    unsolved = f"  Unsolved: {m.unsolved:,}" * bool(m.unsolved)
    if m.accuracy is None:
        loss = "none" if m.loss is None else unit("loss").on_terminal(m.loss)
        return f"Loss: {loss}{nfe}{unsolved}"
    loss = "none" if m.loss is None else f"{m.loss:.4f}"
    return f"Accuracy: {unit('accuracy').on_terminal(m.accuracy)}  Loss: {loss}{nfe}{unsolved}"
