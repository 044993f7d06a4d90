"""The results of ``training_step.py`` as a table on the terminal, csv, markdown and a plot."""

import csv
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from speed.measured import Result, Row, Spread, floor, grouped, rows

NAME = "training_step"
COLUMNS = {
    "contender": "contender",
    "nfe": "NFE fwd + bwd",
    "ms": "ms (range)",
    "reference": "/ torchdiffeq odeint",
    "floor": "/ floor",
    "first_step": "first step, s",
    "loss": "loss",
}
COLORS = {"ours": "#c0392b", "floor": "#7f8c8d"}
PEER_COLOR = "#34678f"


def report(results: Sequence[Result], facts: Mapping[str, str], warmup: int, folder: Path) -> None:
    """training_step.csv, .md and .png."""
    folder.mkdir(parents=True, exist_ok=True)
    _write_csv(results, warmup, folder / f"{NAME}.csv")
    (folder / f"{NAME}.md").write_text("\n".join(_markdown(results, facts, warmup)) + "\n")
    _plot(results, facts, folder / f"{NAME}.png")


def print_table(results: Sequence[Result], warmup: int, console: Console) -> None:
    for (model, threads), group in grouped(results).items():
        table = Table(title=_title(model, threads), title_justify="left")
        for key, words in COLUMNS.items():
            table.add_column(words, justify="left" if key == "contender" else "right", no_wrap=True)
        missing = []
        for row in _sorted(rows(group, warmup)):
            if row.ms is None:
                missing.append(row.result)
                continue
            style = {"ours": "bold", "floor": "dim"}.get(_kind(row.result))
            table.add_row(*_cells(row).values(), style=style)
        console.print(table)
        for result in missing:
            line = f"{result.contender.name}: not available: {result.error}"
            console.print(line, style="dim", soft_wrap=True, highlight=False)


def _title(model: str, threads: int) -> str:
    return f"{model}, {threads} thread{'s' if threads != 1 else ''}"


def _kind(result: Result) -> str:
    return result.contender.name.split("-")[0]


def _sorted(table: Sequence[Row]) -> list[Row]:
    """Fastest first, at the end what could not be measured."""
    return sorted(table, key=lambda row: row.ms.median if row.ms else float("inf"))


def _cells(row: Row) -> dict[str, str]:
    result = row.result
    assert row.ms is not None and row.forward is not None and row.backward is not None
    digits = 2 if row.ms.median < 20 else 1 if row.ms.median < 200 else 0
    seconds = [s for s in (result.first_step, result.first_step_again) if s is not None]
    losses = [loss for loss in (row.loss_first, row.loss_warm, row.loss_end) if loss is not None]
    return {
        "contender": result.contender.name,
        "nfe": f"{row.forward:.3g} + {row.backward:.3g}",
        "ms": row.ms.show(digits),
        "reference": row.to_reference.show(2) if row.to_reference else "",
        "floor": row.to_floor.show(2) if row.to_floor else "",
        "first_step": " / ".join(f"{s:.2g}" if s < 10 else f"{s:.0f}" for s in seconds),
        "loss": ", ".join(f"{loss:.3f}" for loss in losses),
    }


def _markdown(results: Sequence[Result], facts: Mapping[str, str], warmup: int) -> Iterator[str]:
    yield "# Milliseconds per training step"
    yield ""
    yield from (f"- {name}: {fact}" for name, fact in facts.items())
    yield ""
    yield "Medians and ranges over the rounds, ratios round by round; what the columns count stands"
    yield "in `benchmarks/training_step.py`. First step: empty / filled cache of compiled code."
    yield "Loss: first step, end of the warm-up, last step that all have done."
    for (model, threads), group in grouped(results).items():
        table = _sorted(rows(group, warmup))
        yield from ("", f"## {_title(model, threads)}", "")
        yield f"| {' | '.join(COLUMNS.values())} |"
        yield f"|{'---|' * len(COLUMNS)}"
        for row in table:
            if row.ms:
                yield f"| {' | '.join(_cells(row).values())} |"
        if missing := [row.result for row in table if not row.ms]:
            yield from ("", "Not available:", "")
            yield from (f"- {r.contender.name}: {r.error}" for r in missing)


def _write_csv(results: Sequence[Result], warmup: int, path: Path) -> None:
    lines = []
    for (model, threads), group in grouped(results).items():
        for row in rows(group, warmup):
            line: dict[str, Any] = {
                "model": model,
                "threads": threads,
                "contender": row.result.contender.name,
                "nfe_forward": row.forward,
                "nfe_backward": row.backward,
                "vjps_backward": row.vjps,
                **_spread_cells("ms", row.ms),
                **_spread_cells("ratio_torchdiffeq_odeint", row.to_reference),
                **_spread_cells("ratio_floor", row.to_floor),
                "first_step_cold_s": row.result.first_step,
                "first_step_warm_s": row.result.first_step_again,
                "loss_first": row.loss_first,
                "loss_warm": row.loss_warm,
                "loss_end": row.loss_end,
                "error": row.result.error,
            }
            lines.append(line)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(lines[0]))
        writer.writeheader()
        writer.writerows(
            {k: f"{v:.6g}" if isinstance(v, float) else v for k, v in line.items()}
            for line in lines
        )


def _spread_cells(name: str, spread: Spread | None) -> dict[str, float | None]:
    if spread is None:
        return dict.fromkeys((f"{name}_median", f"{name}_min", f"{name}_max"))
    return {
        f"{name}_median": spread.median,
        f"{name}_min": spread.low,
        f"{name}_max": spread.high,
    }


def _plot(results: Sequence[Result], facts: Mapping[str, str], path: Path) -> None:
    """A panel for each model (rows) and number of threads (columns), fastest at the top."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    groups = {
        key: timed
        for key, group in grouped(results).items()
        if (timed := [r for r in group if r.blocks])
    }
    if not groups:
        return
    models = list(dict.fromkeys(model for model, _ in groups))
    threads = list(dict.fromkeys(n for _, n in groups))
    heights = [max(len(g) for (m, _), g in groups.items() if m == model) for model in models]
    size = (1.5 + 6.2 * len(threads), 1.4 + 0.32 * sum(heights) + 0.9 * len(models))
    figure = Figure(size, layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(
        len(models), len(threads), squeeze=False, gridspec_kw={"height_ratios": heights}
    )
    for i, model in enumerate(models):
        for j, n in enumerate(threads):
            if (model, n) in groups:
                _panel(panels[i, j], groups[model, n])
                panels[i, j].set_title(_title(model, n), loc="left", fontweight="bold")
            else:
                panels[i, j].set_axis_off()
    figure.suptitle(
        f"Training step, MNIST, batch 128, dopri5: median and range over the rounds\n"
        f"{facts['machine']}; {facts['measured']}",
        fontsize=10,
        x=0.01,
        ha="left",
    )
    figure.savefig(path, dpi=150)


def _panel(axes: Any, group: Sequence[Result]) -> None:
    bottom = floor(group)
    table = _sorted(rows(group, 0))
    # A round that something else disturbed may leave the picture.
    longest = max(min(row.ms.high, 1.3 * row.ms.median) for row in table if row.ms)
    for i, row in enumerate(table):
        assert row.ms is not None and row.forward is not None and row.backward is not None
        median, low, high = row.ms.median, row.ms.low, row.ms.high
        axes.barh(i, median, color=COLORS.get(_kind(row.result), PEER_COLOR), height=0.68)
        axes.errorbar(
            median, i, xerr=[[median - low], [high - median]], color="black", capsize=2, lw=1
        )
        words = f"{median:.3g} ms, NFE {row.forward:.3g} + {row.backward:.3g}"
        axes.text(
            min(high, longest) + 0.015 * longest,
            i,
            words,
            va="center",
            fontsize=8,
            zorder=4,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 1},
        )
    names = [row.result.contender.name for row in table]
    axes.set_yticks(range(len(names)), names, fontsize=8.5)
    axes.invert_yaxis()
    axes.set(xlabel="ms per training step", xlim=(0, 1.32 * longest))
    if bottom:
        name = bottom.contender.name
        axes.axvline(
            bottom.seconds * 1e3, color="black", linestyle="--", linewidth=1, zorder=3, label=name
        )
        axes.legend(loc="upper right", fontsize=8, frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
