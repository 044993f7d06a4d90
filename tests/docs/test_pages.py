"""Links, sizes, and words that do not belong into the documentation."""

import re
from pathlib import Path

import pytest

from tests.docs import pages

LARGEST_README = 8 * 1024
LARGEST_PICTURES = 1.5 * 10**6

TEXTS = [*pages.PAGES, pages.REPOSITORY / "CHANGELOG.md"]
TEXTS += sorted((pages.REPOSITORY / "conf").rglob("*.yaml"))

REGISTRIES = r"pypi|pythonhosted|download\.pytorch|crates\.io|npmjs|anaconda|docker\.io|ghcr\.io"
PATHS = r"(?<![\w.])/(?:work|home|root|tmp|mnt|Users)\b"


@pytest.mark.parametrize("page", pages.PAGES, ids=pages.name)
def test_links_and_anchors_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", pages.prose(page)):
        assert not target.startswith(("http:", "https:")), f"{target}: cannot be checked here"
        file, _, anchor = target.partition("#")
        path = (page.parent / file).resolve() if file else page
        assert path.exists(), target
        assert not anchor or anchor in pages.anchors(path), target


@pytest.mark.parametrize("page", pages.PAGES, ids=pages.name)
def test_files_that_are_named_exist(page: Path) -> None:
    roots = "node_cli|conf|tests|benchmarks|docs"
    for path in re.findall(rf"`((?:{roots})/[\w/.-]+)`", pages.prose(page)):
        if "NAME" not in path:
            assert (pages.REPOSITORY / path).exists(), path


def test_the_readme_is_short_and_leads_to_every_page() -> None:
    readme = pages.REPOSITORY / "README.md"
    assert len(readme.read_bytes()) <= LARGEST_README
    links = set(re.findall(r"\]\(([^)#]+)", readme.read_text(encoding="utf-8")))
    assert {pages.name(page) for page in pages.PAGES} - {"README.md"} <= links


def test_the_pictures_of_the_results_are_small() -> None:
    pictures = [p for end in ("png", "gif") for p in pages.REPOSITORY.glob(f"results/*/*.{end}")]
    assert pictures
    assert sum(path.stat().st_size for path in pictures) < LARGEST_PICTURES


def test_every_picture_of_the_results_is_shown() -> None:
    text = (pages.REPOSITORY / "RESULTS.md").read_text(encoding="utf-8")
    for end in ("png", "gif"):
        for path in pages.REPOSITORY.glob(f"results/*/*.{end}"):
            assert f"]({path.relative_to(pages.REPOSITORY)})" in text, path


@pytest.mark.parametrize("path", TEXTS, ids=pages.name)
def test_no_registry_and_no_path_of_a_machine(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert re.findall(f"{REGISTRIES}|{PATHS}", text) == []


def test_a_caveat_is_told_once() -> None:
    """Sentences of RESULTS.md outside of tables and headings; counts, machines and what a kind of
    table is may repeat."""
    repeated = "published numbers lie|^In every row|^Relative to the first row|"
    lines = pages.prose(pages.REPOSITORY / "RESULTS.md").splitlines()
    told = [
        line
        for line in lines
        if line.endswith(".")
        and not re.search(
            repeated + r"^\*|, cpu, \d+ thread",
            line,
        )
    ]
    assert len(told) == len(set(told))
