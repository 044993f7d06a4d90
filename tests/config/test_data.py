"""Images to classify and trajectories to fit: what does not go together is one line each."""

from collections.abc import Callable

import pytest

from node_cli.config.check import checked
from node_cli.config.schema import Config
from node_cli.errors import UserError

Configure = Callable[..., Config]
FIT = ["data=spiral_linear", "model=linear_field"]


def test_what_a_trajectory_does_not_use_is_none_or_one(configure: Configure) -> None:
    config = configure(*FIT)
    assert (config.batch_size, config.eval.batch_size, config.eval.train) == (1, 1, "none")
    assert not config.data.model_fields_set & {"holdout", "normalize", "drop_last"}
    assert configure(*FIT, "batch_size=1") == config
    assert checked(config.model_dump()) == (config, [])
    images = configure()
    assert images.batch_size == 128
    assert not images.data.model_fields_set & {"points", "end"}
    assert [configure(f"data=spiral_{kind}", *FIT[1:]).data.windows for kind in KINDS] == [10, 30]


KINDS = ("linear", "nonlinear")


@pytest.mark.parametrize(
    ("overrides", "lines"),
    [
        (
            ["data=spiral_linear"],
            [
                "model=dense data=spiral_linear: a trajectory is fitted without stem and head; "
                "choose model=linear_field or model=mlp_field, or data that is images"
            ],
        ),
        (
            ["model=mlp_field"],
            [
                "model=mlp_field data=digits: to classify images a model needs a stem and a head; "
                "choose a model that has both, or data=spiral_linear or spiral_nonlinear"
            ],
        ),
        (["data=spiral_linear", "model=resnet"], ["model=resnet data=spiral_linear: "]),
        (["model.head=null"], ["model=dense data=digits: to classify images"]),
        (
            [*FIT, "model.stem=dense"],
            ["model.stem=dense: not with data=spiral_linear, leave it out"],
        ),
        ([*FIT, "model.core=plain"], ["model.core=plain: data=spiral_linear needs an ODE"]),
        ([*FIT, "batch_size=64"], ["batch_size=64: not with data=spiral_linear, a step takes one"]),
        (
            [*FIT, "eval.train=all", "eval.batch_size=2"],
            ["eval.batch_size=2: not with data=spir", "eval.train=all: not with data=spiral_lin"],
        ),
        (
            [*FIT, "data.holdout=0.1", "data.augment=[crop]"],
            [
                "data.holdout=0.1: not used by data=spiral_linear; it takes points, end, noise",
                r"data.augment=[crop]: not used by data=spiral_linear; it takes points, end, noise",
            ],
        ),
        (["data.points=9"], ["data.points=9: not used by data=digits; it takes limit, holdout"]),
        ([*FIT, "data.end=null"], ["data.end: data=spiral_linear needs it"]),
        (["data.normalize=null"], ["data.normalize: data=digits needs it"]),
        ([*FIT, "data.end=-1"], ["data.end=-1: must be greater than 0"]),
        ([*FIT, "data.window_longest=32"], ["data.window_longest=32: exceeds data.end=31.45"]),
        (
            [*FIT, "data.window_shortest=6"],
            ["data.window_shortest=6: exceeds data.window_longest=5"],
        ),
        (
            [*FIT, "data.points=50"],
            ["data.window_shortest=1: a window may be left with one point, of 0.642 between"],
        ),
        (
            ["task=check_gradients", *FIT, "eval.train=all"],
            ["eval.train=all: not used by task=check_gradients"],
        ),
    ],
)
def test_mistakes(configure: Configure, overrides: list[str], lines: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        configure(*overrides)
    assert len(caught.value.problems) == len(lines), caught.value.problems
    for problem, line in zip(caught.value.problems, lines, strict=True):
        assert problem.startswith(line)
