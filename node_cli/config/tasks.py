"""The tasks by name, and what each reads of the configuration. Nothing here imports torch.

To add a task, write its class in a file of ``node_cli/tasks``, after the protocol in
``tasks/task.py``, and add a row to ``TASKS``.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

SPLIT_KEYS = ("data.limit", "data.holdout", "data.holdout_from")

# What an evaluation of a checkpoint does not read, however many solvers it takes.
UNREAD_BY_EVALUATIONS = frozenset(
    {
        *("seed", "epochs", "batch_size", "optimizer", "schedule", "sensitivity", "train"),
        *("init_from", "init_from_strict", "regularize", "images", "format"),
        *("model.init", "data.augment", "data.drop_last", "observers", "published"),
        *("eval.every_steps", "eval.from_step", "eval.initial", "eval.test"),
        *SPLIT_KEYS,  # a new holdout would contain images that were trained on
        *("data.noise", "data.windows", "data.window_points"),
        *("data.window_shortest", "data.window_longest"),
    }
)

CHECKPOINT = {"checkpoint": "<run folder or checkpoint file>"}


@dataclass(frozen=True)
class TaskTraits:
    """What is known of a task without running it.

    Attributes:
        meaning: one line, for help.
        implementation: ``"module:Class"``, imported when the task runs.
        gradients: whether it computes gradients with the ``chosen`` method, with ``every`` one, or
            with ``none``.
        trains: whether it changes the weights, and so goes on with ``resume=``.
        unread: the keys that it does not read; a section or a group stands for all of its keys.
        unread_with_checkpoint: further ones where ``checkpoint`` is set.
        unread_choices: the groups of which it reads keys, but not which file was chosen.
        instead: for a key that it does not read, what to say beside that.
        needs: the keys that have to be set, and what is needed.
        needs_ode: whether the model has to have one.
        needs_images: whether the data has to be images to classify.
        reads_data: whether it needs the data set; else it takes all from the checkpoint.
        over_checkpoint: whether, with ``checkpoint`` set, it takes the configuration in the
            checkpoint and lays over it what was typed.
    """

    meaning: str
    implementation: str
    gradients: Literal["chosen", "every", "none"]
    trains: bool
    unread: frozenset[str]
    unread_with_checkpoint: frozenset[str] = frozenset()
    unread_choices: frozenset[str] = frozenset()
    instead: Mapping[str, str] = field(default_factory=dict)
    needs: Mapping[str, str] = field(default_factory=dict)
    needs_ode: bool = False
    needs_images: bool = False
    reads_data: bool = True
    over_checkpoint: bool = False


TASKS: dict[str, TaskTraits] = {
    "train": TaskTraits(
        meaning="train a model, and evaluate it on the way",
        implementation="node_cli.tasks.train:Training",
        gradients="chosen",
        trains=True,
        unread=frozenset({"checkpoint", "images", "format"}),
    ),
    "eval": TaskTraits(
        meaning="evaluate a checkpoint, with any solver",
        implementation="node_cli.tasks.evaluate:Evaluation",
        gradients="none",
        trains=False,
        unread=UNREAD_BY_EVALUATIONS,
        instead={"batch_size": "; choose eval.batch_size"},
        needs=CHECKPOINT,
        over_checkpoint=True,
    ),
    "check_gradients": TaskTraits(
        meaning="compare the gradients of all methods with a reference",
        implementation="node_cli.tasks.check_gradients:CheckGradients",
        gradients="every",
        trains=False,
        unread=frozenset(
            {
                *("epochs", "optimizer", "schedule", "eval", "train", "compile"),
                *("sensitivity.norm", "observers", "published", "init_from", "init_from_strict"),
                *("regularize", "images", "format"),
            }
        ),
        unread_with_checkpoint=frozenset({"model.init"}),
        unread_choices=frozenset({"sensitivity"}),
        instead={
            "sensitivity": ", which checks every method "
            "(sensitivity.rtol, atol and solver are read)",
            "sensitivity.norm": ", which checks both norms",
        },
        needs_ode=True,
        over_checkpoint=True,
    ),
    "profile": TaskTraits(
        meaning="where the time and the memory of a training step go",
        implementation="node_cli.tasks.profile:Profile",
        gradients="chosen",
        trains=False,
        unread=frozenset(
            {
                *("epochs", "schedule", "eval", "compile"),
                *(f"train.{key}" for key in ("checkpoint_every", "max_seconds", "target")),
                *(f"train.{key}" for key in ("stop_early", "min_delta")),
                *(f"train.{key}" for key in ("on_solver_failure", "max_skipped")),
                *("observers", "published", "init_from", "init_from_strict", "images", "format"),
            }
        ),
        unread_with_checkpoint=frozenset({"model.init"}),
        instead={"compile": ", since a compiled step has no parts that could be told apart"},
        over_checkpoint=True,
    ),
    "solver_swap": TaskTraits(
        meaning="a checkpoint under many solvers: is it the solution of an ODE?",
        implementation="node_cli.tasks.solver_swap:SolverSwap",
        gradients="none",
        trains=False,
        unread=UNREAD_BY_EVALUATIONS
        | {"solver", "eval.train", "eval.metrics", "eval.top_k", "compile"},
        instead={
            "batch_size": "; choose eval.batch_size",
            "solver": ", which tries that of the training and others; task=eval takes any one",
        },
        needs=CHECKPOINT,
        needs_ode=True,
        needs_images=True,
        over_checkpoint=True,
    ),
    "predict": TaskTraits(
        meaning="classify the images of a folder with a checkpoint",
        implementation="node_cli.tasks.predict:Prediction",
        gradients="none",
        trains=False,
        unread=(UNREAD_BY_EVALUATIONS - {"images"})
        | {"data", "eval.train", "eval.metrics", "eval.top_k", "compile"},
        instead={"batch_size": "; choose eval.batch_size", "data": "; images=FOLDER names them"},
        needs=CHECKPOINT | {"images": "<folder of images>"},
        needs_images=True,
        reads_data=False,
        over_checkpoint=True,
    ),
    "export": TaskTraits(
        meaning="write a checkpoint in a format of other programs",
        implementation="node_cli.tasks.export:Export",
        gradients="none",
        trains=False,
        unread=(UNREAD_BY_EVALUATIONS - {"format"})
        | {"data", "device", "threads", "deterministic", "compile"}
        | {"eval.train", "eval.batch_size", "eval.metrics", "eval.top_k"},
        instead={"device": ", which writes on the CPU what runs on any device"},
        needs=CHECKPOINT | {"format": "<safetensors, torch_export or onnx>"},
        needs_images=True,
        reads_data=False,
        over_checkpoint=True,
    ),
}
