"""The data, images to classify or a trajectory to fit: the keys of each, and what goes with it."""

from collections.abc import Collection
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Field, PositiveFloat, PositiveInt

from node_cli.config import files
from node_cli.config.section import Location, OneOf, Section, Variants, drop_unused
from node_cli.config.tree import WRONG, Tree, get, put, show
from node_cli.data.augmentations import AUGMENTATIONS, OPTIONS
from node_cli.data.catalog import IMAGES, POINTS, TRAJECTORIES
from node_cli.parts.installed import InstalledNames

ALONE = "which is fitted by y' = f(t, y) alone"

# What a trajectory leaves no choice in: the value, and why.
FIXED = {
    "batch_size": (1, "a step takes one window"),
    "train.accumulate": (1, "a step takes one window"),
    "train.label_smoothing": (0.0, "which has no labels"),
    "eval.batch_size": (1, "there is one trajectory to evaluate"),
    "eval.test": ("always", "the trajectory is all there is to evaluate"),
    "eval.train": ("none", "the trajectory is evaluated as a whole"),
    "eval.metrics": ([], "which has no classes"),
    "eval.batch_norm": (None, "a step takes one window"),
    **dict.fromkeys(("model.t0", "model.t1"), (None, "which has its own times")),
    **dict.fromkeys(("model.dropout_before", "model.dropout_after"), (0.0, ALONE)),
    "model.augment": (0, ALONE),
    "model.stages": (None, ALONE),
    "model.weights_in_t": (1, ALONE),
    "model.dynamics": ("first_order", ALONE),
}


def _different(names: list[str]) -> list[str]:
    if len({*names}) < len(names):
        raise ValueError("names one twice")
    return names


def _none(names: list[str]) -> list[str]:
    if names:
        raise ValueError("not of points, which are no images")
    return names


class ImageData(Section):
    """Images to classify. ``augment``: see ``data.augmentations``, with the options beside it."""

    name: str
    limit: PositiveInt | None = None
    holdout: Annotated[float, Field(ge=0, lt=1)]
    holdout_from: Literal["stratified", "last"]
    normalize: bool
    augment: Annotated[list[Annotated[str, OneOf(AUGMENTATIONS)]], AfterValidator(_different)]
    crop_padding: Annotated[int, Field(ge=1, le=4096)] | None = None
    randaugment_operations: Annotated[int, Field(ge=1, le=100)] | None = None
    randaugment_magnitude: Annotated[int, Field(ge=0, le=30)] | None = None
    erasing_probability: Annotated[float, Field(gt=0, le=1)] | None = None
    mixup_alpha: Annotated[float, Field(gt=0, le=1000)] | None = None
    cutmix_alpha: Annotated[float, Field(gt=0, le=1000)] | None = None
    drop_last: bool


class Digits(ImageData):
    """Images that come inside scikit-learn."""

    chosen_by: ClassVar = {"name": [n for n, images in IMAGES.items() if not images.torchvision]}


class PointData(ImageData):
    """Points in the plane. ``noise``: standard deviation of both coordinates."""

    chosen_by: ClassVar = {"name": list(POINTS)}
    noise: Annotated[float, Field(ge=0, le=10)]
    augment: Annotated[list[str], AfterValidator(_none), Field(default_factory=list)]


class Downloaded(ImageData):
    """Images that torchvision downloads."""

    chosen_by: ClassVar = {
        "name": [n for n, images in IMAGES.items() if images.torchvision and not images.splits]
    }
    root: Location
    download: bool


class DownloadedSplit(Downloaded):
    """Images that torchvision downloads, of a set that is published in several ways."""

    chosen_by: ClassVar = {"name": [n for n, images in IMAGES.items() if images.splits]}
    split: Annotated[str, OneOf([split for i in IMAGES.values() for split in i.splits])]


class FolderData(ImageData):
    """Images in folders, one for each class. ``size``: None for images that have all the same."""

    chosen_by: ClassVar = {"name": ["folder"]}
    root: Location
    size: Annotated[int, Field(ge=1, le=4096)] | None = None
    channels: Literal["auto", 1, 3]


class ArrayData(ImageData):
    """Images in an .npz file."""

    chosen_by: ClassVar = {"name": ["arrays"]}
    root: Location


class InstalledData(ImageData):
    """Images that an installed package brings. ``options``: see ``config.parts``."""

    chosen_by: ClassVar = {"name": InstalledNames("data")}
    options: dict[str, Any]


class TrajectoryData(Section):
    """Points of a known solution, with noise, to be fitted in windows of time."""

    chosen_by: ClassVar = {"name": list(TRAJECTORIES)}
    name: str
    points: Annotated[int, Field(ge=2, le=100_000)]
    end: Annotated[float, Field(gt=0, le=10_000)]
    noise: Annotated[float, Field(ge=0)]
    windows: PositiveInt
    window_points: Annotated[int, Field(ge=2)]
    window_shortest: PositiveFloat
    window_longest: PositiveFloat


Classified = (
    Downloaded | DownloadedSplit | Digits | PointData | FolderData | ArrayData | InstalledData
)

DataConfig = Annotated[Classified | TrajectoryData, Variants()]


def translate(tree: Tree) -> None:
    """``data.augment``, which was true or false once, as the list that it means."""
    if isinstance(value := get(tree, "data.augment"), bool):
        known = IMAGES.get(str(get(tree, "data.name")))
        flips = ["flip"] if known and known.flips else []
        put(tree, "data.augment", ["crop", *flips] if value else [])


def unused_options(tree: Tree, typed: Collection[str]) -> dict[str, str]:
    """Options of augmentations that are not chosen."""
    if not isinstance(get(tree, "data.augment"), list):
        return {}
    used = {key for name in _augmentations(tree) for key in AUGMENTATIONS[name].options}
    unused = [key for key in OPTIONS if key in tree["data"] and key not in used]
    by, takes = show(tree, "data.augment"), [key for key in OPTIONS if key in used]
    return drop_unused(tree, typed, "data", unused, by=by, takes=takes, spare=OPTIONS)


def _missing_options(tree: Tree) -> list[str]:
    """Options of augmentations that are chosen, and were set to null."""
    return [
        f"data.{key}: data.augment={name} needs it"
        for name in _augmentations(tree)
        for key in AUGMENTATIONS[name].options
        if get(tree, f"data.{key}") is None
    ]


def _augmentations(tree: Tree) -> list[str]:
    """Those that are chosen, of a tree that has not been checked."""
    chosen = get(tree, "data.augment")
    names = chosen if isinstance(chosen, list) else []
    return [name for name in names if isinstance(name, str) and name in AUGMENTATIONS]


def _models_of_trajectories() -> list[str]:
    """The shipped models without stem and head."""
    found = {name: files.values_of("model", name) for name in files.choices("model")}
    return [n for n, model in found.items() if model["stem"] is None and model["head"] is None]


def fix(tree: Tree, typed: set[str]) -> list[str]:
    """Put in what a trajectory leaves no choice in; a line for each that was typed otherwise."""
    lines = []
    if get(tree, "data.name") in [*TRAJECTORIES]:
        for key, (value, why) in FIXED.items():
            if key in typed and get(tree, key) != value:
                lines.append(f"{show(tree, key)}: not with {show(tree, 'data')}, {why}")
            put(tree, key, value)
    return lines


def impossible(tree: Tree) -> list[str]:
    """A model of one kind with data of the other; windows that do not fit the trajectory."""
    data, stem, head, core = (
        get(tree, key) for key in ("data.name", "model.stem", "model.head", "model.core")
    )
    both = f"{show(tree, 'model')} {show(tree, 'data')}"
    if WRONG in (data, stem, head) or data is None:
        return []
    if data not in [*TRAJECTORIES]:
        if None not in (stem, head):
            return _missing_options(tree)
        instead = f"choose a model that has both, or data={' or '.join(TRAJECTORIES)}"
        return [f"{both}: to classify images a model needs a stem and a head; {instead}"]
    lines = _impossible_windows(tree) if get(tree, "task") != "eval" else []
    parts = [show(tree, f"model.{part}") for part in ("stem", "head") if get(tree, f"model.{part}")]
    models = _models_of_trajectories() if parts else []
    if parts and get(tree, "model.name") in models:
        lines += [f"{part}: not with {show(tree, 'data')}, leave it out" for part in parts]
    elif parts:
        instead = f"{' or '.join(f'model={m}' for m in models)}, or data that is images"
        lines.append(f"{both}: a trajectory is fitted without stem and head; choose {instead}")
    elif core in ("residual", "plain", "none"):
        lines.append(f"model.core={core}: {show(tree, 'data')} needs an ODE, model.core=ode")
    return lines


def _impossible_windows(tree: Tree) -> list[str]:
    points, end, shortest, longest = (
        get(tree, f"data.{key}") for key in ("points", "end", "window_shortest", "window_longest")
    )
    if not all(isinstance(value, int | float) for value in (points, end, shortest, longest)):
        return []
    if longest > end:
        return [f"data.window_longest={longest:g}: exceeds data.end={end:g}"]
    if shortest > longest:
        return [f"data.window_shortest={shortest:g}: exceeds data.window_longest={longest:g}"]
    apart = end / (points - 1)
    # An open interval as long as this may hold a single point.
    if shortest <= 2 * apart * (1 + 1e-9):
        return [
            f"data.window_shortest={shortest:g}: a window may be left with one point, of "
            f"{apart:.3g} between neighbours; give more than {2 * apart:.3g}, or more data.points"
        ]
    return []
