"""``--help TOPIC``: every name has its text, from the files and the code alone, and an example that
can be typed."""

import re
import shlex
from pathlib import Path

import pytest

from node_cli.cli import examples
from node_cli.cli.compose import Composer
from node_cli.cli.topics import topic_text
from node_cli.config import comments
from node_cli.config.files import CONF, choices
from node_cli.config.schema import keys
from node_cli.config.tasks import TASKS
from node_cli.errors import UserError
from tests.commands import NodeTrain

GROUPS = [folder.name for folder in sorted(CONF.iterdir()) if folder.is_dir()]
CHOICES = [(group, choice) for group in GROUPS for choice in choices(group)]


@pytest.mark.parametrize("key", keys())
def test_a_key(key: str) -> None:
    text = topic_text(key)
    heading, *_ = text.splitlines()
    assert re.match(rf"{re.escape(key)}: \S", heading), "a comment in its YAML file"
    for row in ("default", "values", "example"):
        assert re.search(rf"^  {row} +\S", text, re.MULTILINE), row
    assert max(map(len, text.splitlines())) <= 100


@pytest.mark.parametrize("group", GROUPS)
def test_a_group_names_its_choices_with_their_meaning(group: str) -> None:
    text = topic_text(group)
    for choice in choices(group):
        assert re.search(rf"^  {group}={choice} +\S", text, re.MULTILINE), choice
    for key in keys():
        assert not key.startswith(f"{group}.") or f"  {key}" in text


def test_choices_say_where_they_are_from() -> None:
    assert "J. R. Dormand and P. J. Prince" in topic_text("dopri5")
    assert "W. Kutta" in topic_text("solver=rk4")
    assert "Source: Norcliffe and Deisenroth" in topic_text("gauss")
    assert "(ERNODE)" in topic_text("regularize=error")
    assert "Krizhevsky 2009" in topic_text("cifar10")


def test_a_name_of_several_things_stands_for_all_of_them() -> None:
    text = topic_text("conv")
    for name in ("model=conv", "model.stem=conv", "model.field=conv"):
        assert f"\n{name}: " in f"\n{text}"
    text = topic_text("weight_decay")
    assert text.startswith("optimizer.weight_decay: ")
    assert topic_text("tol") == topic_text("solver.tol")


def test_the_text_is_that_of_the_files() -> None:
    """Written once: what a comment says is what help says."""
    said = comments.of_keys(CONF / "solver" / "_adaptive.yaml")["controller"]
    assert f"solver.controller: {said}" in topic_text("solver.controller")
    assert comments.of_choice("solver", "tsit5") in topic_text("solver=tsit5")
    assert TASKS["solver_swap"].meaning in topic_text("solver_swap")


def test_comments_of_keys(tmp_path: Path) -> None:
    path = tmp_path / "some.yaml"
    path.write_text(
        "# @package x\n# What it is,\n# in two lines.\na: 1 # one\nb: 'no # comment'\n"
        "c: '#' # a sign\nsection: # of keys\n  d: {e: 1} # y' = f\n  f: 2\n"
    )
    assert comments.of_file(path) == "What it is, in two lines."
    assert comments.of_keys(path) == {
        "a": "one",
        "c": "a sign",
        "section": "of keys",
        "section.d": "y' = f",
    }


@pytest.mark.parametrize(
    ("topic", "hint"),
    [
        ("solvr", " (did you mean solver?)"),
        ("solver.controler", " (did you mean solver.controller?)"),
        ("dorpi5", " (did you mean dopri5?)"),
        ("rk45", " (did you mean dopri5?)"),
        ("zzz", ""),
    ],
)
def test_an_unknown_topic(topic: str, hint: str) -> None:
    with pytest.raises(UserError) as caught:
        topic_text(topic)
    expected = f"--help {topic}: nothing has this name{hint}; see node-train --help"
    assert [*caught.value.problems] == [expected]


def test_the_command(node_train: NodeTrain) -> None:
    result = node_train("--help", "solver.controller")
    assert (result.code, result.out) == (0, topic_text("solver.controller"))
    assert node_train("model=conv", "-h", "rk4").out == topic_text("rk4")
    assert node_train("-h").out.startswith("node-train: train and evaluate")
    result = node_train("--help", "nope")
    assert (result.code, result.out) == (2, "")


def compose(commands: list[str]) -> None:
    with Composer() as composer:
        for command in commands:
            words = [word for word in shlex.split(command)[1:] if word != "-m"]
            stands_for = re.search("RUN|NAME", command)
            if not stands_for and not words[0].startswith("table="):
                composer.command(composer.parse(words), multirun="-m" in command)


SOME = ("solver.n_steps", "train.min_delta", "model.damping", "sensitivity.norm", "sweep.fail_fast")


def test_some_examples_compose() -> None:
    compose([examples.of_key(key) for key in SOME])


@pytest.mark.slow
def test_every_example_composes() -> None:
    compose([examples.of_key(key) for key in keys()])
    compose([examples.of_choice(*choice) for choice in CHOICES])
