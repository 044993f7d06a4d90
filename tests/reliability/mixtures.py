"""Settings at random that work together: a run of each is killed and resumed."""

import random
import shutil
import signal
import time
from pathlib import Path

from node_cli.cli.compose import Composer
from node_cli.cli.runs import preflight_all
from node_cli.errors import UserError
from node_cli.records.run_folder import RunFolder
from tests.reliability.children import Child, Tally, run
from tests.reliability.kills import go_on

QUICK = ("epochs=2", "batch_size=16", "train.checkpoint_every=1")
WHERE_THEY_FIT = ("solver.max_nfe=3000", "data.limit=60")
SMALL_CONV = "model.stem=conv3 model.stem_options.channels=4 model.field=conv model.head=pool"
FIXED = "solver.n_steps=2"

CHOICES: tuple[tuple[str, ...], ...] = (
    (
        "",
        "",
        "data=moons model=toy",
        "data=circles model=toy model.augment=1",
        "data=spiral_linear model=linear_field",
    ),
    (
        "",
        "",
        SMALL_CONV,
        SMALL_CONV + " model.field=conv_bn_time",
        "model=anode model.field_options.width=4",
        "model.dynamics=second_order",
        "model.dynamics=heavy_ball",
        "model.weights_in_t=2",
        "model.core=residual model.blocks=2",
        "model.core=plain",
        "model.core=none",
        "model.augment=3",
        "model.dropout_before=0.2",
    ),
    (
        "",
        "solver=tsit5 solver.tol=1e-2",
        "solver=bosh3 solver.first_step=warm",
        "solver=dopri8 solver.controller=pi",
        "solver=rk4 " + FIXED,
        "solver=euler " + FIXED,
        "solver.engine=torchdiffeq",
        "solver=explicit_adams",
        "solver.jump_t=[0.3]",
    ),
    *(
        (("",) * n) + some
        for n, some in (
            (1, tuple(f"sensitivity={name}" for name in ("checkpointed", "backsolve", "gauss"))),
            (1, ("sensitivity=interpolating", "sensitivity=backsolve sensitivity.norm=seminorm")),
        )
    ),
    ("", "optimizer=sgd optimizer.nesterov=true", "optimizer=adamw optimizer.grad_clip=1"),
    (
        "",
        "schedule=cosine schedule.per=step",
        "schedule=step",
        "schedule=cosine schedule.warmup_steps=3",
    ),
    (
        "",
        "",
        *(
            f"regularize=[{name}]"
            for name in ("error", "kinetic,steer", "local", "taylor", "decay")
        ),
        "regularize=[jacobian] regularize.jacobian.final_weight=0.1",
        "regularize=[stiffness,local_biased]",
    ),
    (
        "",
        "",
        "data.augment=[crop]",
        "data.augment=[mixup,erasing]",
        "data.augment=[randaugment,cutmix]",
    ),
    ("", "", "train.accumulate=2", "train.ema=0.9", "train.label_smoothing=0.1"),
    (
        "",
        "eval.every_steps=2",
        "eval.train=1 eval.initial=true",
        "eval.test=end",
        "train.stop_early=1",
    ),
    ("", "", "precision=float64", "precision=bf16", "data.drop_last=true"),
    ("", "data.normalize=true", "data.holdout_from=last", "train.on_solver_failure=skip"),
)


def mixture(draw: random.Random) -> list[str]:
    """Overrides that are accepted together: each is drawn, and left out where it is refused."""
    chosen: list[str] = [*QUICK]
    for choices in (*CHOICES, *((typed,) for typed in WHERE_THEY_FIT)):
        drawn = [*chosen, *draw.choice(choices).split()]
        more = [*{typed.partition("=")[0]: typed for typed in drawn}.values()]  # each key once
        if _accepted(more):
            chosen = more
    return chosen


def _accepted(typed: list[str]) -> bool:
    try:
        with Composer() as composer:
            preflight_all(composer.command(composer.parse(typed), multirun=False))
    except UserError:
        return False
    return True


def killed(where: Path, count: int) -> Tally:
    """A mixture each time, run to its end and, again, killed at a random time and resumed."""
    tally = Tally("settings mixed at random: SIGKILL, then `resume=`")
    for number in range(count):
        draw = random.Random(number)
        typed = mixture(draw)
        label = f"{number}: {' '.join(typed)}"
        folder = RunFolder(where / "killed")
        for path in (where / "whole", folder.path):
            shutil.rmtree(path, ignore_errors=True)
        begun = time.perf_counter()
        end = run(where, *typed, "hydra.run.dir=whole")
        seconds = time.perf_counter() - begun
        if not tally.judge(end, label) or end.code:  # a solve that fails, say
            print(f"not run: {label}: {end.said.strip()[-200:]}", flush=True)
            continue
        tally.done += 1
        child = Child(where, *typed, "hydra.run.dir=killed")
        time.sleep(draw.uniform(0.3, 1.0) * seconds)
        child.send(signal.SIGKILL)
        child.end()
        go_on(tally, RunFolder(where / "whole"), folder, label, tuple(typed))
    return tally
