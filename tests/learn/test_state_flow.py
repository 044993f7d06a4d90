"""How states flow through the ODE, what each class costs, and what a model makes of the plane."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from node_cli.config.schema import Config
from node_cli.learn import state_flow
from node_cli.learn.plane import ANSWERS, ARROWS, TIMES, boundary, points, vector_field
from node_cli.learn.state_flow import INTERVALS, classes, flow, in_two
from node_cli.report import plane_plots
from node_cli.report.plane_plots import plot_plane
from tests.folders import rows
from tests.learn.test_state_paths import objective
from tests.runs import run

Configure = Callable[..., Config]

TOY = ("data=moons", "model=toy", "solver.tol=1e-5")


def test_the_flow_of_points_ends_in_what_the_head_sees(configure: Configure) -> None:
    learnt = objective(configure(*TOY, "model.weights_in_t=2"))
    given = learnt.model, learnt.images["test"], learnt.preprocess, learnt.backend
    found = list(flow(*given))
    assert len(found) == 200 * (INTERVALS + 1)
    assert [sum(row["label"] == label for row in found) for label in (0, 1)] == [2100, 2100]
    images = learnt.images["test"]
    first = images[torch.cat([(images.labels == k).nonzero()[:100, 0] for k in (0, 1)])]
    with torch.no_grad():
        pixels = learnt.preprocess(first.pixels)
        expected = {0.0: pixels.flatten(1), 1.0: learnt.model.features(pixels)}
    for row in found:
        if row["t"] in expected:
            y = expected[row["t"]][row["image"]].tolist()
            assert (row["y0"], row["y1"]) == pytest.approx(y, abs=1e-4)


def test_principal_components(configure: Configure) -> None:
    generator = torch.Generator().manual_seed(1)
    spread = torch.tensor([1.0, 9.0, 0.1, 3.0, 0.2], dtype=torch.float64)
    states = torch.randn(4, 50, 5, generator=generator, dtype=torch.float64) * spread
    found = in_two(states)
    assert found.shape == (4, 50, 2)
    centred = states.flatten(0, 1) - states.flatten(0, 1).mean(0)
    _, sizes, components = torch.linalg.svd(centred, full_matrices=False)
    for k in (0, 1):
        ours = found.flatten(0, 1)[:, k]
        assert ours.norm().item() == pytest.approx(sizes[k].item())
        assert (ours @ (centred @ components[k])).abs().item() == pytest.approx(
            sizes[k].item() ** 2
        )
    assert torch.equal(in_two(states), found)
    plane = states[..., :2]
    assert torch.equal(in_two(plane), plane)
    assert in_two(states[..., :1])[..., 1].abs().max() == 0


def test_fewer_images_where_states_are_large(
    configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    learnt = objective(configure("data.limit=100"))
    monkeypatch.setattr(state_flow, "MOST_NUMBERS", 20 * 21 * 40)
    given = learnt.model, learnt.images["test"], learnt.preprocess, learnt.backend
    found = list(flow(*given))
    assert 10 <= len({row["image"] for row in found}) <= 40
    assert {row["label"] for row in found} == set(range(10))


def test_every_class_is_solved_alone(configure: Configure) -> None:
    learnt = objective(configure("data.limit=100"))
    learnt.model.train()
    images = learnt.images["test"]
    found = list(classes(learnt.model, images, learnt.preprocess, learnt.backend))
    assert [row["label"] for row in found] == [*range(10)]
    assert [row["images"] for row in found] == images.labels.bincount().tolist()
    with torch.no_grad():
        right = learnt.model(learnt.preprocess(images.pixels)).argmax(1) == images.labels
    learnt.model.take_work()
    correct = sum(row["images"] * row["accuracy"] for row in found)
    assert correct == pytest.approx(int(right.sum()), abs=1)
    assert all(row["nfe_forward"] >= 14 for row in found)
    assert learnt.model.training
    work = learnt.model.take_work()
    assert work is not None
    assert work.nfe_forward == 0, "what was looked at is not counted"


def test_the_plane(configure: Configure) -> None:
    learnt = objective(configure(*TOY))
    given = learnt.model, learnt.images["test"], learnt.preprocess, learnt.backend
    answers = list(boundary(*given))
    assert len(answers) == ANSWERS**2
    row = answers[1000]
    point = torch.tensor([row["x0"], row["x1"]]).view(1, 1, 1, 2)
    with torch.no_grad():
        expected = learnt.model(point).softmax(1)[0, 1].item()
    assert row["probability"] == pytest.approx(expected, abs=1e-4)
    arrows = list(vector_field(*given))
    assert len(arrows) == TIMES * ARROWS**2
    row = arrows[-100]
    with torch.no_grad():
        y = torch.tensor([[row["y0"], row["y1"]]])
        dy = learnt.model.ode_blocks[0].field(torch.tensor(row["t"]), y)
    assert [row["dy0"], row["dy1"]] == pytest.approx(dy[0].tolist(), abs=1e-5)
    tests = learnt.images["test"].pixels.flatten(1) / 255
    assert [(p["x0"], p["x1"]) for p in points(learnt.images["test"])][7] == pytest.approx(
        tests[7].tolist()
    )
    lifted = objective(configure(*TOY, "model.augment=1"))
    given = lifted.model, lifted.images["test"], lifted.preprocess, lifted.backend
    assert not list(vector_field(*given)), "the state has three dimensions"


@pytest.mark.slow
def test_the_pictures_of_a_run(
    configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plane_plots, "GIF_DPI", 20)
    folder = run(configure(*TOY, "epochs=1", "data.limit=200"), tmp_path / "toy")
    assert len(rows(folder.points)) == 500
    assert [row["images"] for row in rows(folder.classes)] == ["250", "250"]
    plot_plane(folder, "a title")
    drawn = {path.name for path in folder.plots.iterdir()}
    assert drawn == {"boundary.png", "vector_field.png", "flow.gif"}
    without = ("model.core=none", "epochs=1", "data.limit=200")
    folder = run(configure("data=moons", "model=toy", *without), tmp_path / "none")
    assert not folder.flow.exists()
    plot_plane(folder, "a title")
    assert [path.name for path in folder.plots.iterdir()] == ["boundary.png"]


def test_nothing_is_compiled_for_a_look(configure: Configure) -> None:
    """Batches of classes have a size each: a graph for every one would cost minutes."""
    learnt = objective(configure(*TOY, "data.limit=200"))
    sizes = []

    def noted(graph: torch.fx.GraphModule, inputs: list[torch.Tensor]) -> torch.fx.GraphModule:
        sizes.append(len(inputs))
        return graph

    torch.compiler.reset()
    learnt.model.is_compiled = True
    for part in (learnt.model.stem, learnt.model.head):
        part.compile(fullgraph=True, dynamic=False, backend=noted)
    given = learnt.model, learnt.images["test"], learnt.preprocess, learnt.backend
    for look in (flow, classes, boundary, vector_field):
        assert list(look(*given))
    assert not sizes
    with torch.no_grad():
        learnt.model(learnt.preprocess(learnt.images["test"].pixels[:7]))
    assert len(sizes) == 2, "otherwise it is"
    torch.compiler.reset()
