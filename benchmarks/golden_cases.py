"""The commands of ``golden.py``: as many options as seconds allow, on tiny data."""

from collections.abc import Iterator
from dataclasses import dataclass

from golden_files import OWN, TINY_DATA

Command = tuple[str, ...]

# With tolerances that several steps are needed for: of a single one the end decides how long it is.
ADAPTIVE = {
    "dopri5": "solver.tol=1e-6",
    "tsit5": "solver.tol=1e-6",
    "dopri8": "solver.tol=1e-11 precision=float64",
    "bosh3": "solver.tol=1e-5",
    "fehlberg2": "solver.tol=1e-6",
    "adaptive_heun": "solver.tol=1e-4",
}
FIXED = ("euler", "midpoint", "heun2", "heun3", "rk4")
ADAMS = ("explicit_adams", "implicit_adams", "fixed_adams")
GRADIENTS = (
    *("discrete", "checkpointed", "gauss"),
    *("backsolve sensitivity.norm=full", "backsolve sensitivity.norm=seminorm"),
    *("interpolating sensitivity.norm=full", "interpolating sensitivity.norm=seminorm"),
)
SOLVED_AGAIN = ("checkpointed", "backsolve", "interpolating")

IMAGES = "data.limit=200 batch_size=64 epochs=1"
FEW = "data.limit=72 batch_size=32 epochs=1"
SPIRAL = "data=spiral_linear model=linear_field epochs=2"
CURVE = "data=spiral_nonlinear model=mlp_field data.windows=6 epochs=2"


@dataclass(frozen=True)
class Case:
    """Commands that run one after the other in a folder of their own. ``remove FOLDER`` is one,
    too; all others are arguments of node-train."""

    name: str
    commands: tuple[Command, ...]

    @property
    def is_compiled(self) -> bool:
        return "compile=true" in self.name


def one(options: str, base: str = IMAGES) -> Case:
    """A single run."""
    name = options if base in (IMAGES, FEW) else f"{base} {options}"
    return several(name, f"{base} {options}")


def sweep(options: str, base: str = IMAGES) -> Case:
    return Case(f"-m {options}", (tuple(f"-m {base} {options} hydra.sweep.dir=sweep".split()),))


def several(name: str, *commands: str) -> Case:
    """Runs in the folders ``run``, ``run2``, ..., but where a command goes on in its folder."""
    made = []
    for number, command in enumerate(commands, 1):
        folder = f" hydra.run.dir=run{number if number > 1 else ''}"
        has_own = any(word in command for word in ("resume=", "remove", ".dir=", "report="))
        made.append(tuple((command + folder * (not has_own)).split()))
    return Case(name, tuple(made))


def _models() -> Iterator[Case]:
    for core in ("residual model.blocks=2", "plain", "none"):
        yield one(f"model=dense model.core={core}")
    for core in ("ode", "residual model.blocks=2", "plain", "none"):
        for name in ("conv", "conv_bn", "conv_dense", "odenet"):
            yield one(f"model={name} model.core={core}", FEW)
    yield one("model=resnet model.blocks=2", FEW)
    yield one("model=resnet model.core=ode sensitivity=interpolating solver.tol=1e-2", FEW)
    yield one("model=mlp")
    yield one("model=dense model.init=glorot")
    for name in ("conv_bn", "odenet"):
        for gradient in (*SOLVED_AGAIN, "gauss"):
            yield one(f"model={name} solver=rk4 solver.n_steps=2 sensitivity={gradient}", FEW)
    yield one("model=conv sensitivity=gauss", FEW)
    yield one("model=conv_bn eval.train=1 sensitivity=checkpointed", FEW)


def _solvers() -> Iterator[Case]:
    for solver, steps in (ADAPTIVE | dict.fromkeys(FIXED, "solver.n_steps=7")).items():
        chosen = f"solver={solver} {steps}"
        yield one(f"{chosen} solver.engine=torchdiffeq")
        yield from (one(f"{chosen} sensitivity={name}") for name in ("discrete", "gauss"))
    for solver, steps in ADAPTIVE.items():
        chosen = f"solver={solver} {steps}"
        yield from (one(f"{chosen} sensitivity={name}") for name in SOLVED_AGAIN)
        yield one(f"{chosen} solver.first_step=warm solver.controller=pi")
    for solver in ADAMS:
        yield one(f"solver={solver}")
        yield one(f"solver={solver} solver.n_steps=6 solver.max_order=5 sensitivity=backsolve")
    yield one("solver=scipy sensitivity=backsolve")
    yield one("solver=scipy solver.scipy_method=LSODA solver.tol=1e-4 sensitivity=backsolve")
    yield one("solver.rtol=1e-4 solver.atol=1e-6")
    yield one("solver.first_step=warm eval.initial=true")
    yield one("solver.first_step=0.05")
    yield one("solver.first_step=0.05 solver.engine=torchdiffeq")
    yield one("solver.controller=pi solver.tol=1e-6")
    yield one("solver=rk4 solver.step_size=0.3")


def _gradients() -> Iterator[Case]:
    for gradient in GRADIENTS[3:]:
        yield one(f"sensitivity={gradient}")
    for gradient in GRADIENTS:
        yield one(f"sensitivity={gradient} precision=float64 solver.tol=1e-7")
        yield one(f"sensitivity={gradient} precision=bf16 solver.tol=1e-2")
        warm = "solver.first_step=warm solver.controller=pi solver.tol=1e-5"
        yield one(f"sensitivity={gradient} {warm}")
    for gradient in ("backsolve", "interpolating", "gauss"):
        yield one(f"sensitivity={gradient} sensitivity.solver=bosh3")
        yield one(f"sensitivity={gradient} sensitivity.rtol=1e-5 sensitivity.atol=1e-7")
        yield one(f"sensitivity={gradient} sensitivity.solver=rk4 solver=heun3 solver.n_steps=3")
    for norm in ("full", "seminorm"):
        yield one(f"solver.engine=torchdiffeq sensitivity=backsolve sensitivity.norm={norm}")
    yield one("solver=heun3 solver.engine=torchdiffeq sensitivity=backsolve")
    yield one("sensitivity=backsolve sensitivity.solver=scipy")
    own = "sensitivity.rtol=1e-3 sensitivity.atol=1e-4"
    yield one(f"sensitivity=interpolating sensitivity.solver=implicit_adams solver=rk4 {own}")
    yield one("precision=float64")
    for gradient in ("discrete", "interpolating"):
        yield one(f"model.field_call=functional sensitivity={gradient}")
    yield one("model=conv_bn model.field_call=functional sensitivity=backsolve", FEW)


def _training() -> Iterator[Case]:
    two = "data.limit=200 batch_size=64 epochs=2"
    yield one("optimizer=sgd optimizer.momentum=0.5 optimizer.weight_decay=1e-3", two)
    yield one("optimizer=adamw optimizer.weight_decay=0.1 optimizer.lr=0.01", two)
    yield one("optimizer.grad_clip=0.5 optimizer.lr=0.05", two)
    yield one("schedule=cosine optimizer=sgd", two)
    yield one("schedule=step schedule.milestones=[1] schedule.gamma=0.5", two)
    yield one("data.augment=[crop] seed=3", two)
    yield one("data.drop_last=true data.normalize=false")
    yield one("data.holdout_from=last data.holdout=0.2")
    yield one("data.holdout=0")
    yield one("deterministic=true")
    yield one("eval.train=all eval.initial=true", two)
    yield one("eval.train=2 eval.every_steps=2 eval.from_step=1", two)
    yield one("eval.test=end eval.batch_size=100", two)
    yield one("train.checkpoint_every=1 eval.every_steps=1 eval.test=end", two)
    skip = "train.on_solver_failure=skip train.max_skipped"
    stiff = "optimizer=sgd optimizer.lr=0.5 solver.tol=1e-4 solver.max_nfe=26"
    yield one(f"{skip}=20 {stiff}", "data.limit=300 batch_size=16 epochs=2")
    some = "sensitivity=backsolve sensitivity.rtol=1e-6 sensitivity.atol=1e-7 solver.max_nfe=36"
    yield one(f"{skip}=20 {some}", "data.limit=300 batch_size=16 epochs=2 optimizer=sgd")
    yield one(f"{skip}=2 solver.max_nfe=10")
    yield one("solver.max_nfe=10")
    yield one("solver.max_steps=1")
    yield one("optimizer=sgd optimizer.lr=1e9", two)


def _tasks() -> Iterator[Case]:
    evaluated = "task=eval checkpoint=run"
    others = "solver=rk4", "solver.tol=1e-6", "solver=scipy", "solver=implicit_adams"
    yield several("eval", IMAGES, *(f"{evaluated} {other}" for other in others))
    more = "-m task=eval checkpoint=run/checkpoints/last.pt solver=euler,tsit5 eval.train=all"
    yield several("eval in a sweep", IMAGES, f"{more} hydra.sweep.dir=sweep")
    warm = f"{IMAGES} solver.first_step=warm"
    yield several("eval, warm", warm, f"{evaluated} eval.batch_size=50 data.normalize=false")
    check = "task=check_gradients data.limit=100 batch_size=32"
    yield several("check_gradients", check)
    yield several("check_gradients, fixed", f"{check} solver=rk4 solver.n_steps=4")
    own = "sensitivity.solver=bosh3 sensitivity.rtol=1e-5"
    yield several("check_gradients, backwards", f"{check} precision=float64 {own}")
    yield several("check_gradients, torchdiffeq", f"{check} solver.engine=torchdiffeq")
    yield several("check_gradients, checkpoint", IMAGES, "task=check_gradients checkpoint=run")
    yield several(
        "check_gradients, spiral", "task=check_gradients data=spiral_linear model=mlp_field"
    )
    yield several("resume", IMAGES, "resume=run epochs=2")
    rich = "data.augment=[crop] solver.first_step=warm optimizer=sgd schedule=cosine eval.train=all"
    yield several("resume, warm", f"{IMAGES} {rich}", "resume=run epochs=3", "resume=run")
    yield several("resume, batch norm", f"{FEW} model=conv_bn", "resume=run epochs=2")
    yield several("resume, spiral", SPIRAL, "resume=run epochs=3")
    seeds = f"-m {IMAGES} seed=0,1,2 hydra.sweep.dir=sweep"
    yield several("resume a sweep", seeds, "remove sweep/1", "resume=sweep")


def _sweeps() -> Iterator[Case]:
    yield sweep("solver.tol=1e-2,1e-4 seed=0,1")
    yield sweep("model=dense,mlp seed=1 solver=tsit5")
    yield sweep("solver=dopri5,scipy,rk4 sensitivity=backsolve")
    yield sweep("optimizer.lr=1e-2,1e9 optimizer=sgd")
    table = "hydra.sweep.dir=sweep"
    yield several("table", f"{OWN} table=tiny {table}")
    yield several("tables", f"{OWN} table=both batch_size=50 {table}", "report=sweep")
    yield several(
        "table, resumed", f"{OWN} table=tiny {table}", "remove sweep/tiny/2", "resume=sweep"
    )
    yield several("own model", f"{OWN} {FEW} model=mine")
    yield several("own experiment", f"{OWN} experiment=tiny")
    yield several("own experiment, seeds", f"{OWN} -m experiment=tiny seed=0,1,2 {table}")


def _experiments() -> Iterator[Case]:
    yield one("experiment=lux_mnist data.limit=300 epochs=2", TINY_DATA)
    yield one("experiment=lux_mnist sensitivity=gauss data.limit=300 epochs=1", TINY_DATA)
    small = f"{TINY_DATA} data.limit=72 epochs=1 batch_size=32"
    yield one("experiment=diffeqflux_conv eval.every_steps=1", small)
    yield one("experiment=fashion_dense eval.every_steps=1", small)
    yield one("experiment=surtsukov_mnist solver.step_size=0.5", small)
    for name in ("odenet", "resnet", "rknet", "control", "mlp"):
        yield one(f"experiment=chen_table1_{name}", small)
    yield one("experiment=spiral_linear", "epochs=2")
    yield one("experiment=spiral_nonlinear", "epochs=2 data.windows=5")


def _trajectories() -> Iterator[Case]:
    for gradient in GRADIENTS:
        yield one(f"sensitivity={gradient}", SPIRAL)
        yield one(f"solver=tsit5 sensitivity={gradient} optimizer.lr=0.01", CURVE)
    for solver in ("dopri8", "bosh3", "adaptive_heun", "rk4", "midpoint", "explicit_adams"):
        yield one(f"solver={solver}", SPIRAL)
    yield one("solver.engine=torchdiffeq sensitivity=backsolve", SPIRAL)
    yield one("solver=scipy sensitivity=backsolve", SPIRAL)
    yield one("solver.first_step=warm solver.controller=pi eval.initial=true", CURVE)
    yield one("precision=float64 schedule=cosine data.noise=0.1 seed=2", CURVE)
    yield one("data.points=90 data.end=20 data.window_longest=9 data.window_points=8", SPIRAL)
    yield one("model.init=glorot eval.every_steps=3", SPIRAL)
    yield several("eval, spiral", SPIRAL, "task=eval checkpoint=run data.end=60 solver=rk4")


def _compiled() -> Iterator[Case]:
    full = "data.limit=200 data.holdout=0 batch_size=50 epochs=1"
    yield one("sensitivity=backsolve sensitivity.vjp=compiled", full)
    for gradient in ("discrete", "checkpointed", "backsolve", "interpolating", "gauss"):
        yield one(f"compile=true sensitivity={gradient}", full)
    yield one("compile=true solver=rk4 solver.n_steps=4", full)


def _all() -> Iterator[Case]:
    yield several("defaults", IMAGES)
    yield from _models()
    yield from _solvers()
    yield from _gradients()
    yield from _training()
    yield from _tasks()
    yield from _sweeps()
    yield from _experiments()
    yield from _trajectories()
    yield from _compiled()


CASES = tuple(_all())
