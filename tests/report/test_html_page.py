"""report.html: what it shows, that it needs nothing beside itself, and that it is no way in."""

import json
import re
import shutil
import subprocess
import tarfile
from html.parser import HTMLParser
from pathlib import Path
from statistics import mean, stdev

import pytest

from node_cli.records.columns import GRADIENTS
from node_cli.records.run_folder import RunFolder
from node_cli.report.compared import T
from node_cli.report.found_runs import find_runs
from node_cli.report.html_page import page, write_page
from node_cli.report.results_page import NotOurs
from tests.records.test_old_runs import ALWAYS, OLD, commit_of
from tests.report.finished_runs import ACCURACIES, run
from tests.report.test_summary import write_csv

EVIL = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"'&"


def data_of(text: str) -> dict[str, object]:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    assert found
    loaded: dict[str, object] = json.loads(found[1])
    return loaded


class Elements(HTMLParser):
    """The tags and attributes of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def test_the_page_needs_nothing_beside_itself(runs: Path) -> None:
    text = page("node-train report runs", find_runs([runs]))
    for tag, attributes in Elements(text).found:
        assert "src" not in attributes
        assert "href" not in attributes
        assert tag not in ("link", "iframe", "object", "base", "form")
    assert "default-src 'none'" in text, "a browser refuses all that is elsewhere"
    assert text.count("@import") == 0
    assert len(text) < 150_000
    assert page("node-train report runs", find_runs([runs])) == text, "of the files alone"


def test_text_of_runs_is_never_markup(runs: Path) -> None:
    evil = run(runs / "evil" / "a<b>&", EVIL, 1, 0.5)
    evil.write_status("done", overrides=[f"solver={EVIL}"], reason=EVIL)
    damaged = run(runs / "damaged", EVIL, 1, 0.5)
    damaged.result.write_text(json.dumps({"metrics": {EVIL: "x"}}))
    text = page(f"node-train report {EVIL}", find_runs([runs]))
    tags = Elements(text).found
    assert [tag for tag, _ in tags].count("script") == 3
    assert not [tag for tag, _ in tags if tag == "img"]
    assert not [name for _, attributes in tags for name in attributes if name.startswith("on")]
    (label,) = {s["label"] for s in data_of(text)["settings"]} - {  # type: ignore[attr-defined]
        f"solver={solver}" for solver in ACCURACIES
    }
    assert label == f"solver={EVIL}"


def test_jobs_of_a_sweep_and_single_runs(runs: Path) -> None:
    (runs / "rk4" / "sweep.json").write_text(
        '{"overrides": [], "config_name": null, "config_dir": "mine", "working_directory": "/", '
        '"jobs": 2}'
    )
    shutil.copytree(runs / "rk4" / "0", runs / "rk4" / "0_backup")
    found = {run.name: run.command() for run in find_runs([runs, runs / "euler"])}
    assert [*found] == ["dopri5/0", "euler/0", "euler/1", "euler/2", "rk4/0", "rk4/1"]
    assert found["rk4/0"] == "node-train --config-dir mine solver=rk4 seed=0"
    (job,) = find_runs([runs / "rk4" / "2"])
    assert (job.name, job.config_dir) == ("2", "mine")


def test_nothing_of_others_is_written_over(runs: Path) -> None:
    path = runs / "report.html"
    path.write_text("mine")
    with pytest.raises(NotOurs, match="not written by report"):
        write_page(path, "", find_runs([runs]))
    path.unlink()
    for _ in range(2):
        write_page(path, "", find_runs([runs]))


@pytest.mark.parametrize(
    "archive",
    [pytest.param(p, marks=[] if commit_of(p) in ALWAYS else pytest.mark.slow) for p in OLD],
    ids=map(commit_of, OLD),
)
def test_runs_of_every_earlier_form(archive: Path, tmp_path: Path) -> None:
    with tarfile.open(archive) as tar:
        tar.extractall(tmp_path, filter="data")
    found = find_runs([tmp_path])
    folders = {f.parent for f in tmp_path.rglob("config.yaml")}
    assert {run.folder.path for run in found} == folders
    data = data_of(page("", found))
    assert not [run for run in found if run.damage]
    curves = [s["curves"] for s in data["settings"]]  # type: ignore[attr-defined]
    assert all(curve["training"]["y"]["loss"]["mean"] for curve in curves)
    assert {"loss", "accuracy"} <= {name for c in curves for name in c["test"]["y"]}


CLICKS = """
<script>
const head = (n) => document.querySelectorAll("#settings th button")[n].click();
const column = (n) => [...document.querySelectorAll("#settings tbody tr")].map(
  (row) => row.cells[n].textContent);
const seen = {plots: document.querySelectorAll("canvas").length};
seen.classes = document.getElementById("classes").textContent;
seen.confusion = [...document.querySelectorAll("#confusion text")].map((t) => t.textContent);
const cells = [...document.querySelectorAll("#confusion rect")];
seen.parts = cells.map((cell) => cell.getAttribute("fill-opacity"));
cells[1].dispatchEvent(new Event("pointerenter"));
seen.confused = document.getElementById("confused").textContent;
document.getElementById("time").value = 750;
document.getElementById("time").dispatchEvent(new Event("input"));
seen.now = document.getElementById("now").textContent;
head(1);
seen.up = column(1);
head(1);
seen.down = column(1);
const choose = (id, value) => {
  document.getElementById(id).value = value;
  document.getElementById(id).dispatchEvent(new Event("change"));
};
choose("baseline", "1");
choose("spread", "difference");
seen.differences = [...document.querySelectorAll("td[data-metric=test_accuracy] .difference")].map(
  (place) => place.textContent);
document.getElementById("filter").value = "rk4";
document.getElementById("filter").dispatchEvent(new Event("input"));
seen.left = [...document.querySelectorAll("#settings tbody tr")].filter((r) => !r.hidden).length;
seen.chips = document.querySelectorAll("#legend > span").length;
document.title = JSON.stringify(seen);
</script>
"""


def opened(text: str, tmp_path: Path) -> str:
    """The page as a browser has made it, without an error."""
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("needs chromium or google-chrome")
    (tmp_path / "report.html").write_text(text)
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr"]
    done = subprocess.run(
        [
            *(browser, *flags, f"--user-data-dir={tmp_path / 'profile'}"),
            *("--virtual-time-budget=3000", "--dump-dom", f"file://{tmp_path / 'report.html'}"),
        ],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "CONSOLE" not in done.stderr, done.stderr
    assert 'data-ready="yes"' in done.stdout
    return done.stdout


def test_in_a_browser(runs: Path, tmp_path: Path) -> None:
    """It sorts, filters, compares with a baseline and draws, without an error."""
    text = page("node-train report runs", find_runs([runs])).replace("</body>", f"{CLICKS}</body>")
    title = re.search(r"<title>(.*?)</title>", opened(text, tmp_path))
    assert title
    seen = json.loads(title[1])
    assert seen["plots"] >= 6
    assert seen["classes"] == "class 050 %NFE 8class 150 %NFE 8"
    assert seen["confusion"] == ["3", "1", "1", "3", "a", "a", "b", "b"]
    assert seen["parts"] == ["0.75", "0.25", "0.25", "0.75"]
    assert seen["confused"] == "class a taken for b: 1 of 4 images"
    assert seen["now"] == "t = 0.75"
    assert seen["up"] == sorted(ACCURACIES)
    assert seen["down"] == sorted(ACCURACIES, reverse=True)
    pairs = [100 * (a - b) for a, b in zip(ACCURACIES["rk4"], ACCURACIES["euler"], strict=True)]
    half = T[1] * stdev(pairs) / 3**0.5
    of_rk4, of_euler, of_dopri5 = seen["differences"]
    assert of_rk4 == f"+{mean(pairs):.2f} ± {half:.2f}"
    assert (of_euler, of_dopri5) == ("baseline", "+10.00")
    assert (seen["left"], seen["chips"]) == (1, 1)


def test_an_average_of_the_weights_has_columns_of_its_own(runs: Path) -> None:
    folder = RunFolder(runs / "dopri5" / "0")
    result = folder.read_result()
    folder.write_result(result | {"metrics": result["metrics"] | {"test_ema_accuracy": 0.5}})
    text = page("", find_runs([folder.path]))
    assert "test acc, average" in text
    assert data_of(text)["settings"][0]["values"]["test_ema_accuracy"] == {"0": 0.5}  # type: ignore[index]


@pytest.mark.slow  # a second browser
def test_a_run_that_compared_gradients_alone(runs: Path, tmp_path: Path) -> None:
    folder = RunFolder(runs / "dopri5" / "0")
    folder.write_config(folder.read_config() | {"task": "check_gradients"})
    write_csv(folder.gradients, GRADIENTS.columns, [{"sensitivity": "gauss", "cosine": 0.5}])
    text = page("node-train report runs", find_runs([folder.path]))
    assert "1 run, 0 settings" in text
    assert "Gradient methods" in text
    assert "<td>gauss</td>" in opened(text, tmp_path)
