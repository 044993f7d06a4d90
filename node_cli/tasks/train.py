"""The task train."""

from collections.abc import Mapping, Sequence
from typing import Any

from node_cli.config.check import checked
from node_cli.config.messages import plain
from node_cli.config.schema import Config, keys
from node_cli.config.tree import get
from node_cli.display import Display
from node_cli.errors import UserError, one_line
from node_cli.learn.average import trained
from node_cli.learn.loop import Trainer
from node_cli.learn.observer import Observers
from node_cli.machine.ranks import here
from node_cli.machine.threads import usable
from node_cli.records import checkpoints
from node_cli.records.checkpoint_schema import DoesNotFit
from node_cli.records.columns import CHANGES
from node_cli.records.files import read_csv, rows_up_to, write_csv
from node_cli.records.measures import unit
from node_cli.records.run_folder import RunFolder
from node_cli.records.splits import evaluated, trained_split
from node_cli.stopping import stop_on_signal
from node_cli.tasks.initial_weights import InitialWeights
from node_cli.tasks.live import counted
from node_cli.tasks.observers import observers
from node_cli.tasks.setup import Setup
from node_cli.tasks.task import End
from node_cli.tasks.together import EQUAL


class Training:
    """Trains, from the folder's last checkpoint if it has one.

    The score, of which higher is better, is the accuracy on the holdout if there is one (with
    ``train.ema`` that of the average), else the training accuracy; where nothing is classified,
    minus the training loss.
    """

    def __init__(self, config: Config, folder: RunFolder) -> None:
        self.config = config
        self.folder = folder
        self.ranks = here()
        self.ranks.tell((config, folder.path))
        with self.ranks.in_step():
            self._set_up()

    def _set_up(self) -> None:
        """Make what the training consists of. Raises ``UserError``."""
        config, folder, ranks = self.config, self.folder, self.ranks
        checkpoint = ranks.of_first(
            lambda: checkpoints.load(folder.last) if folder.last.exists() else None
        )
        # A checkpoint without "threads" is from before they could be chosen.
        kept_threads = checkpoint.get("threads", usable()) if checkpoint else None
        if ranks.several and kept_threads is not None:
            kept_threads = min(kept_threads, usable())
        kept_compiled = checkpoint.get("compiled") if checkpoint else None
        self.setup = setup = Setup(config, kept_threads, kept_compiled, ranks)
        self.trainer = Trainer(config, setup.objective, setup.backend, folder, ranks)
        self.initial: InitialWeights | None = None
        self.began, self.began_with = config, ranks.size
        with ranks.together():
            self._load(checkpoint)
        ranks.take_from_first(setup.model.state_dict().values())

    def _load(self, checkpoint: dict[str, Any] | None) -> None:
        """Take over what a checkpoint holds, or the weights to start from."""
        config, folder, setup = self.config, self.folder, self.setup
        if checkpoint is None and config.init_from is not None and self.ranks.first:
            strict = config.init_from_strict
            self.initial = InitialWeights.read(config.init_from, setup.model, strict=strict)
            self.initial.put_into(setup.model)
        if checkpoint is not None:
            self.began, _ = checked(checkpoint["config"])
            self.began_with = checkpoint.get("processes", 1)
            try:
                self.trainer.state.load_state_dict(checkpoint)
            except DoesNotFit as error:
                raise UserError(f"{folder.last}: does not fit ({one_line(error)})") from error
            if self.ranks.first and folder.best.exists():  # which may never be written again
                checkpoints.load(folder.best)
        if not self.ranks.first:
            return
        progress = self.trainer.progress
        folder.check_records(
            steps=progress.step,
            epochs=progress.epoch,
            evaluated=config.eval.test == "always"
            or config.eval.train != "none"
            or "holdout" in setup.objective.splits,
            fingerprints=checkpoint.get("records", {}) if checkpoint else {},
        )

    def run(self, display: Display) -> End:
        """Train to the end. Raises what ``Trainer.run`` raises."""
        config, folder, objective = self.config, self.folder, self.setup.objective
        with self.ranks.in_step(*EQUAL):
            self.setup.show_header(display, folder)
            if self.initial is not None:
                folder.write_init_from(self.initial.record())
                for line in self.initial.in_words(config):
                    display.line(line)
            self._record_changes()
            objective.begin(folder)
            with stop_on_signal() as stop:
                reason = self.trainer.run(observers(config, folder, display), stop)
        if reason:
            display.line(f"stopped: {reason}")
        with trained(self.trainer.average), counted(display, "evaluating") as seen:
            objective.finish(folder, seen)

        rows = read_csv(folder.epochs)
        self._show_end(display, rows)
        metrics = {name: _number(cell) for name, cell in rows[-1].items()}
        progress = self.trainer.progress
        folder.write_result(
            {
                "task": "train",
                "seconds": sum(float(row["seconds"]) for row in rows),
                "eval_seconds": sum(float(row["eval_seconds"]) for row in rows),
                "metrics": metrics,
                "stopped": reason or None,
                "init_from": self._init_from(),
                "best": None
                if progress.best_epoch is None
                else {"epoch": progress.best_epoch, "holdout_accuracy": progress.best_score},
                **self.setup.facts(),
            }
        )
        for name in (evaluated(self._holdout, "accuracy"), "train_accuracy"):
            if metrics[name] is not None:
                return End(metrics[name], reason)
        loss = metrics["train_loss"]
        return End(None if loss is None else -loss, reason)

    def follow(self) -> None:
        """Train along with the first process, and write nothing. Raises as ``run``."""
        with stop_on_signal() as stop:
            self.trainer.run(Observers({}), stop)

    @property
    def _holdout(self) -> str:
        """The name in the records of the holdout that decides."""
        return trained_split("holdout", averaged=self.trainer.average is not None)

    def _show_end(self, display: Display, rows: Sequence[Mapping[str, str]]) -> None:
        """Print what the training has come to, and where it lies. ``rows``: of epochs.csv."""
        progress = self.trainer.progress
        seconds, eval_seconds = (
            unit(key).on_terminal(sum(float(row[key]) for row in rows))
            for key in ("seconds", "eval_seconds")
        )
        best = {}
        if progress.best_score is not None:
            accuracy = unit("holdout_accuracy").on_terminal(progress.best_score)
            of = " of the average of the weights" if self.trainer.average is not None else ""
            best = {"best": f"epoch {progress.best_epoch}, Holdout Accuracy: {accuracy}{of}"}
        display.line()
        display.facts(
            best
            | {
                "time": f"{seconds} s training, {eval_seconds} s evaluation",
                "plots": str(self.folder.plots),
            }
        )

    def _init_from(self) -> dict[str, Any] | None:
        """What result.json says of the weights that the training started from."""
        found = self.folder.read_init_from()
        return {key: found.get(key) for key in ("path", "sha256", "step")} if found else None

    def _record_changes(self) -> None:
        """Record what is other than in the checkpoint. Earlier steps keep their rows; a change at
        this step without a step after it has moved nothing."""
        folder, step = self.folder, self.trainer.progress.step
        before, now = self.began.model_dump(), self.config.model_dump()
        rows: list[Mapping[str, Any]] = [
            {"step": step, "key": key, "before": plain(get(before, key)), "after": plain(new)}
            for key in keys()
            if (new := get(now, key)) != get(before, key)
        ]
        if self.began_with != self.ranks.size:
            counts = {"before": str(self.began_with), "after": str(self.ranks.size)}
            rows.append({"step": step, "key": "processes", **counts})
        if rows or folder.changes.exists():
            kept = rows_up_to(folder.changes, CHANGES.columns, step - 1)
            write_csv(folder.changes, CHANGES.columns, [*kept, *rows])


def _number(cell: str) -> float | None:
    """A cell of a record; a count stays a whole number."""
    if not cell:
        return None
    return int(cell) if cell.isdigit() else float(cell)
