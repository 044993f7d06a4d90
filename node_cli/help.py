"""The text of ``node-train --help``."""

from pathlib import Path

TEXT = """\
node-train: train and evaluate image classifiers whose middle is an ODE block.

Usage: node-train [-m] [key=value | group=choice ...]

Groups
{groups}

Keys (node-train --cfg job shows all of them, with the values of a command)
  epochs batch_size seed device precision deterministic task checkpoint resume
  model.core=ode|residual|plain|none   model.blocks   model.init=torch|glorot
  data.root data.download data.limit data.holdout data.normalize data.augment
  solver.tol solver.rtol solver.atol         (adaptive solvers)
  solver.step_size solver.n_steps            (fixed-step solvers)
  sensitivity.norm sensitivity.solver sensitivity.rtol sensitivity.atol
  optimizer.lr optimizer.weight_decay optimizer.momentum optimizer.grad_clip
  eval.batch_size eval.every_steps eval.train eval.initial
  hydra.run.dir hydra.sweep.dir              (where results go)

Examples
  node-train                                            a dense NODE on digits, offline
  node-train seed=1 epochs=40 optimizer.lr=3e-3         other settings
  node-train model=conv data=mnist device=cuda          a convolutional NODE, MNIST downloaded
  node-train model=conv solver=dopri5 solver.tol=1e-4   a tighter tolerance
  node-train solver=rk4 solver.n_steps=8                a fixed-step solver
  node-train sensitivity=backsolve                      the adjoint method
  node-train model=conv model.core=none data=mnist      the control: stem and head alone
  node-train -m solver.tol=1e-2,1e-3,1e-4 seed=0,1,2    a sweep, and its summary table
  node-train task=eval checkpoint=RUN solver.tol=1e-6   a trained network under another solver
  node-train resume=RUN                                 go on after an interruption

Flags
  -m, --multirun       run every combination of the comma-separated values
  --cfg job            show the configuration instead of running
  --info defaults      show where each part of it comes from
  --config-dir DIR     also look for configuration files in DIR
  -sc install=bash     tab completion: eval "$(node-train -sc install=bash)" (also zsh, fish)
  --version, --help
"""


def help_text(conf: Path) -> str:
    """The help, with the choices that the folder ``conf`` holds."""
    groups = {
        folder.name: sorted(f.stem for f in folder.glob("*.yaml") if not f.stem.startswith("_"))
        for folder in sorted(conf.iterdir())
        if folder.is_dir()
    }
    width = max(map(len, groups))
    return TEXT.format(
        groups="\n".join(f"  {name:<{width}}  {' '.join(names)}" for name, names in groups.items())
    )
