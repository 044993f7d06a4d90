"""Pictures of a fit, from records alone."""

from itertools import pairwise
from pathlib import Path

import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from node_cli.records.columns import EPOCHS, OBSERVED, STEPS, TRAJECTORIES
from node_cli.records.run_folder import RunFolder
from node_cli.report import run_plots, trajectory_plots
from node_cli.report.run_plots import plot_run
from node_cli.report.trajectory_plots import Frame
from tests.report.test_summary import CONFIG, write_csv


def fit(path: Path, frames: int) -> RunFolder:
    """The records of a fit of three points, whose learned trajectory runs away."""
    folder = RunFolder(path)
    folder.path.mkdir()
    folder.write_config(CONFIG | {"data": {"name": "spiral_linear"}, "batch_size": 1})
    write_csv(folder.steps, STEPS.columns, [{"step": 1, "loss": 2.3}, {"step": 2, "loss": 1.9}])
    write_csv(folder.epochs, EPOCHS.columns, [{"epoch": 1, "step": 2, "test_loss": 0.5}])
    points = [{"t": t, "y0": t, "y1": t * t} for t in (0.0, 0.5, 1.0)]
    write_csv(folder.observed, OBSERVED.columns, points)
    learned = [
        {"step": step, "t": t, "y0": t, "y1": t * 10**step}
        for step in range(frames)
        for t in (0, 1)
    ]
    write_csv(folder.trajectories, TRAJECTORIES.columns, learned)
    return folder


def shown(folder: RunFolder) -> set[str]:
    plot_run(folder)
    return {path.name for path in folder.plots.iterdir()}


@pytest.mark.parametrize("frames", [1, 2, 10, 200])
def test_a_sheet_and_an_animation(tmp_path: Path, frames: int) -> None:
    folder = fit(tmp_path / "run", frames)
    with folder.trajectories.open("a") as file:
        file.write("200,0.0,1.")  # torn
    assert shown(folder) == {"loss.png", "trajectory.png", "trajectory.gif"}
    with Image.open(folder.plots / "trajectory.gif") as animation:
        assert getattr(animation, "n_frames", 1) == min(frames, trajectory_plots.MOST_FRAMES)
        assert max(animation.size) <= 480


def test_a_fit_that_has_not_been_evaluated_has_no_picture(tmp_path: Path) -> None:
    assert shown(fit(tmp_path / "run", 0)) == {"loss.png"}


@pytest.mark.parametrize(("count", "most"), [(1, 9), (9, 9), (10, 9), (101, 9), (500, 120)])
def test_frames_are_spread_from_the_first_to_the_last(count: int, most: int) -> None:
    frames = [Frame(step, ([], [])) for step in range(count)]
    chosen = [frame.step for frame in trajectory_plots._chosen(frames, most)]
    assert len(chosen) == min(count, most)
    assert (chosen[0], chosen[-1]) == (0, count - 1)
    gaps = {b - a for a, b in pairwise(chosen)}
    assert max(gaps, default=1) - min(gaps, default=1) <= 1


def test_limits_are_those_of_the_points_whatever_is_learned(tmp_path: Path) -> None:
    axes = Figure().subplots()
    points = ([0.0, 1.0], [0.0, 2.0])
    trajectory_plots._draw(axes, [0.0, 1.0], points, Frame(0, ([0.0, 1e9], [0.0, -1e9])))
    assert axes.get_xlim() == pytest.approx((-0.1, 1.1))
    assert axes.get_ylim() == pytest.approx((-0.2, 2.2))
    assert axes.get_aspect() == 1


@pytest.mark.parametrize(
    ("name", "words", "above"), [("digits", "cross-entropy", True), ("spiral", "error", False)]
)
def test_the_loss_and_the_images_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, words: str, above: bool
) -> None:
    drawn: dict[str, Axes] = {}

    def keep(path: Path, _: str, draw: object) -> None:
        drawn[path.name] = Figure().subplots()
        draw(drawn[path.name])

    monkeypatch.setattr(run_plots, "save", keep)
    folder = fit(tmp_path / "run", 1)
    folder.write_config(CONFIG | {"batch_size": 128})
    if name == "digits":
        folder.trajectories.unlink()
    plot_run(folder)
    loss = drawn["loss.png"]
    assert words in loss.get_ylabel()
    assert ("accuracy.png" in drawn) == above
    assert len(loss.child_axes) == above
    if above:
        (top,) = loss.child_axes
        loss.set_xlim(0, 10)
        loss.figure.draw_without_rendering()
        assert top.get_xlabel() == "images seen"
        assert top.get_xlim() == pytest.approx((0, 1280))
