// What the page can do: sort and filter its tables, compare with a baseline, draw its plots.
// Everything that comes from the runs is set as text, never as markup.
"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const byId = (id) => document.getElementById(id);
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  const make = (tag, properties = {}, ...children) => {
    const made = Object.assign(document.createElement(tag), properties);
    made.append(...children);
    return made;
  };

  // ---- colours: of the theme, so that they are read anew whenever something is drawn

  const COLOURS = 8;
  const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const colour = (i) => style(`--c${i % COLOURS}`);
  const dash = (i) => [[], [7, 4], [2, 3], [9, 3, 2, 3]][Math.floor(i / COLOURS) % 4];
  const swatch = (i) => {
    const made = make("span", { className: "swatch" });
    made.style.setProperty("--colour", `var(--c${i % COLOURS})`);
    made.style.borderTopStyle = Math.floor(i / COLOURS) % 4 ? "dashed" : "solid";
    return made;
  };

  // ---- numbers

  const number = (value) =>
    value === 0 || (Math.abs(value) >= 1e-3 && Math.abs(value) < 1e6)
      ? String(Number(value.toPrecision(4)))
      : value.toExponential(1).replace("e+", "e").replace(".0e", "e");
  const ofUnit = (name) => (value) =>
    data.metrics[name]?.percent ? `${Number((100 * value).toPrecision(4))} %` : number(value);
  const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;
  const signed = (value, digits) => `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(digits)}`;

  // The mean of the differences between runs of equal seeds, and half of its 95 % interval.
  const paired = (values, baseline) => {
    const seeds = Object.keys(values).filter((seed) => seed in baseline);
    if (!seeds.length) return null;
    const found = seeds.map((seed) => values[seed] - baseline[seed]);
    const middle = mean(found);
    if (found.length < 2) return { mean: middle, half: null, seeds: 1 };
    const variance = found.reduce((sum, d) => sum + (d - middle) ** 2, 0) / (found.length - 1);
    const t = data.t[Math.min(found.length - 1, data.t.length) - 1];
    return { mean: middle, half: t * Math.sqrt(variance / found.length), seeds: found.length };
  };

  const difference = (name, found) => {
    const scale = data.metrics[name].percent ? 100 : 1;
    const size = Math.max(Math.abs(found.mean), found.half ?? 0) * scale;
    const digits = data.metrics[name].percent ? 2 : size >= 100 ? 0 : size >= 1 ? 2 : 4;
    const range = found.half === null ? "" : ` ± ${(scale * found.half).toFixed(digits)}`;
    return `${signed(scale * found.mean, digits)}${range}`;
  };

  // ---- tables

  const sortable = (table) => {
    const body = table.tBodies[0];
    all("thead th", table).forEach((head, column) => {
      const button = make("button", { type: "button" }, ...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        const down = head.ariaSort === "ascending";
        all("th", table).forEach((other) => other.removeAttribute("aria-sort"));
        head.ariaSort = down ? "descending" : "ascending";
        const key = (row) => {
          const cell = row.cells[column];
          if (cell.dataset.sort !== undefined) return Number(cell.dataset.sort);
          const text = cell.textContent.trim();
          return text !== "" && !Number.isNaN(Number(text)) ? Number(text) : text;
        };
        const compare = (a, b) => {
          if (a === "" || b === "") return (a === "") - (b === ""); // nothing comes last
          const order =
            typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(b);
          return down ? -order : order;
        };
        const rows = [...body.rows].map((row) => [key(row), row]);
        rows.sort(([a], [b]) => compare(a, b)).forEach(([, row]) => body.append(row));
      });
    });
  };
  all("table.sortable").forEach(sortable);

  const filter = byId("filter");
  const matches = (row) => {
    const text = row.textContent.toLowerCase();
    return filter.value.toLowerCase().split(/\s+/).every((word) => text.includes(word));
  };
  filter.addEventListener("input", () => {
    all("table.sortable").forEach((table) => {
      [...table.tBodies[0].rows].forEach((row) => (row.hidden = !matches(row)));
    });
    draw();
  });

  const rowsOfSettings = all("#settings tbody tr");
  const isChosen = (i) => {
    const row = rowsOfSettings.find((r) => Number(r.dataset.setting) === i);
    return !row.hidden && row.querySelector("input").checked;
  };
  rowsOfSettings.forEach((row) => {
    const i = Number(row.dataset.setting);
    const box = make("input", { type: "checkbox", checked: i < data.shown, title: "in the plots" });
    box.ariaLabel = `${data.settings[i].label}: in the plots`;
    box.addEventListener("change", () => draw());
    row.cells[0].replaceChildren(make("label", {}, box, swatch(i)));
  });

  const baseline = byId("baseline");
  const spread = byId("spread");
  data.settings.forEach((setting, i) => baseline.append(new Option(setting.label, String(i))));
  const compareWithBaseline = () => {
    const base = data.settings[Number(baseline.value)];
    document.body.dataset.spread = spread.value;
    rowsOfSettings.forEach((row) => {
      const setting = data.settings[Number(row.dataset.setting)];
      row.classList.toggle("baseline", spread.value === "difference" && setting === base);
      all("td[data-metric]", row).forEach((cell) => {
        const name = cell.dataset.metric;
        const place = cell.querySelector(".difference");
        const found = place && paired(setting.values[name] ?? {}, base.values[name] ?? {});
        if (!place) return;
        const told = !found ? "no equal seeds" : difference(name, found);
        place.textContent = setting === base ? "baseline" : told;
        const clear = found && found.half !== null && Math.abs(found.mean) > found.half;
        place.classList.toggle("clear", Boolean(clear && setting !== base));
        place.title = found ? `equal seeds: ${found.seeds}` : "";
      });
    });
    all("#configuration tbody tr").forEach((row) => {
      const of = (i) => row.cells[i + 1];
      const usual = of(Number(baseline.value))?.textContent;
      data.settings.forEach((_, i) => {
        of(i)?.classList.toggle("changed", of(i).textContent !== usual);
      });
    });
  };
  [baseline, spread].forEach((choice) => choice.addEventListener("change", compareWithBaseline));
  compareWithBaseline();

  all("td.command").forEach((cell) => {
    const code = cell.querySelector("code");
    const button = make("button", { type: "button", textContent: "copy", title: code.textContent });
    button.addEventListener("click", async () => {
      try {
        await navigator.clipboard.writeText(code.textContent);
        button.textContent = "copied";
      } catch {
        getSelection().selectAllChildren(code); // to be copied by hand
      }
      setTimeout(() => (button.textContent = "copy"), 1500);
    });
    cell.prepend(button);
  });

  // ---- plots

  const AXES = {
    step: "training step",
    epoch: "epoch",
    nfe: "evaluations of f in training, forward and backward",
    seconds: "seconds of training",
  };
  let drawn = [];
  let waitingCharts = []; // drawn once all places are there, which then have their widths

  // curves: [{label, i, x, mean, low?, high?}], i the colour. look: {title, x, y, logX, logY,
  // format, dots}: names of the axes, and whether there are points alone.
  const chart = (into, look, curves) => {
    const place = make("div", { className: "place" });
    into.append(make("figure", {}, make("figcaption", { textContent: look.title }), place));
    waitingCharts.push(() => drawChart(place, look, curves));
  };

  const drawChart = (place, look, curves) => {
    const positive = (axis) => curves.every((c) => c[axis].every((v) => v === null || v > 0));
    const log = { x: look.logX && positive("x"), y: look.logY && positive("mean") };
    const series = [{}];
    const bands = [];
    const tables = curves.map((curve) => {
      const ink = colour(curve.i);
      const isDot = look.dots || curve.x.length === 1;
      series.push({
        stroke: ink,
        width: look.dots ? 0 : 1.8,
        dash: dash(curve.i),
        points: { show: isDot || curve.x.length < 12, size: look.dots ? 10 : 6, fill: ink },
      });
      if (!curve.low) return [curve.x, curve.mean];
      const edge = { stroke: "transparent", width: 0, points: { show: false } };
      series.push(edge, edge);
      if (!look.dots) bands.push({ series: [series.length - 2, series.length - 1], fill: `${ink}2b` });
      return [curve.x, curve.mean, curve.high, curve.low];
    });
    const tip = make("div", { className: "tip", hidden: true });
    const format = look.format ?? number;
    const nearest = (plot) => {
      const { left, top } = plot.cursor;
      let best = null;
      for (const curve of left < 0 ? [] : curves) {
        curve.x.forEach((x, k) => {
          if (curve.mean[k] === null) return;
          const dx = plot.valToPos(x, "x") - left;
          const dy = plot.valToPos(curve.mean[k], "y") - top;
          const away = Math.hypot(dx, dy);
          if (!best || away < best.away) best = { away, curve, k, x: left + dx, y: top + dy };
        });
      }
      return best && best.away < 40 ? best : null;
    };
    const point = (plot) => {
      const found = nearest(plot);
      tip.hidden = !found;
      if (!found) return;
      const { curve, k } = found;
      const range = curve.low ? ` (${format(curve.low[k])} to ${format(curve.high[k])})` : "";
      tip.replaceChildren(
        make("b", { textContent: curve.label }),
        make("div", { textContent: `${format(curve.mean[k])}${range}` }),
        make("div", { textContent: `${look.x}: ${number(curve.x[k])}` }),
      );
      const right = found.x > plot.over.clientWidth / 2;
      tip.style.left = right ? "" : `${found.x + 12}px`;
      tip.style.right = right ? `${plot.over.clientWidth - found.x + 12}px` : "";
      tip.style.top = `${Math.max(0, found.y - 20)}px`;
    };
    const bars = (plot) => {
      if (!look.dots) return;
      const context = plot.ctx;
      curves.forEach((curve) => {
        if (!curve.low) return;
        context.strokeStyle = colour(curve.i);
        context.lineWidth = 1.5 * devicePixelRatio;
        curve.x.forEach((x, k) => {
          const at = plot.valToPos(x, "x", true);
          context.beginPath();
          context.moveTo(at, plot.valToPos(curve.low[k], "y", true));
          context.lineTo(at, plot.valToPos(curve.high[k], "y", true));
          context.stroke();
        });
      });
    };
    const axis = (label, values, logarithmic) => ({
      label,
      labelSize: 20,
      labelFont: "12px system-ui, sans-serif",
      font: "12px system-ui, sans-serif",
      stroke: style("--muted"),
      grid: { stroke: style("--line"), width: 1 },
      ticks: { stroke: style("--line"), width: 1 },
      values: (_, splits) => splits.map((v) => (v === null || v === undefined ? "" : values(v))),
      ...(logarithmic ? { splits: (_, __, low, high) => decades(low, high) } : {}),
    });
    const room = (logarithmic) => (_, low, high) => {
      if (low === null) return [0, 1];
      if (logarithmic) return low === high ? [low / 2, high * 2] : [low / 1.1, high * 1.1];
      const more = (high - low || Math.abs(high) || 1) * 0.06;
      return [low >= 0 && low - more < 0 ? 0 : low - more, high + more];
    };
    const plot = new uPlot(
      {
        width: Math.max(place.clientWidth, 200),
        height: look.height ?? 270,
        legend: { show: false },
        cursor: { points: { show: false }, drag: { x: true, y: true, uni: 20 } },
        scales: {
          x: { time: false, distr: log.x ? 3 : 1, range: room(log.x) },
          y: { distr: log.y ? 3 : 1, range: room(log.y) },
        },
        axes: [axis(look.x, number, log.x), { ...axis(look.y, format, log.y), size: 58 }],
        series,
        bands,
        hooks: { setCursor: [point], draw: [bars] },
      },
      curves.length ? uPlot.join(tables) : [[], []],
      place,
    );
    plot.over.append(tip);
    drawn.push(plot);
  };

  // Round numbers between two positive ones: powers of ten or, where they are too few, others.
  const decades = (low, high) => {
    for (const digits of [[1], [1, 2, 5], [1, 1.5, 2, 3, 4, 5, 6, 7, 8, 9]]) {
      const found = [];
      for (let power = Math.floor(Math.log10(low)); power <= Math.log10(high); power++) {
        digits.forEach((digit) => found.push(Number(`${digit}e${power}`)));
      }
      const inside = found.filter((value) => value >= low && value <= high);
      if (inside.length > 2) return inside;
    }
    const step = 10 ** Math.floor(Math.log10(high - low));
    const found = [];
    for (let k = Math.ceil(low / step); k * step <= high; k++) {
      found.push(Number((k * step).toPrecision(6)));
    }
    return found;
  };

  const ofRecord = (record, name, axis) =>
    data.settings.flatMap((setting, i) => {
      const found = setting.curves[record];
      if (!isChosen(i) || !found?.y[name] || !found.x[axis]) return [];
      return [{ label: setting.label, i, x: found.x[axis], ...found.y[name] }];
    });

  const drawCurves = () => {
    const axis = document.querySelector("input[name=axis]:checked")?.value ?? "step";
    const into = byId("curves");
    into.replaceChildren();
    data.curves.forEach(({ record, name, title, y, log, percent }) => {
      const curves = ofRecord(record, name, axis);
      if (!curves.length) return;
      const format = percent ? (v) => `${Number((100 * v).toPrecision(4))} %` : number;
      chart(into, { title, x: AXES[axis], y, logY: log, format }, curves);
    });
    if (!into.children.length) into.append(make("p", { textContent: "No setting is chosen." }));
  };

  const drawTrades = () => {
    const into = byId("trades");
    into?.replaceChildren();
    data.trades.forEach(({ title, x, y, xLabel, yLabel, log }) => {
      const curves = data.settings.flatMap((setting, i) => {
        const [at, found] = [setting.numbers[x], setting.numbers[y]];
        if (!isChosen(i) || !at || !found) return [];
        const bars = found.std === null ? {} : { low: [found.mean - found.std], high: [found.mean + found.std] };
        return [{ label: setting.label, i, x: [at.mean], mean: [found.mean], ...bars }];
      });
      const look = { title, x: xLabel, y: yLabel, logX: log, format: ofUnit(y), dots: true };
      if (curves.length) chart(into, look, curves);
    });
  };

  const drawBars = () => {
    const into = byId("memory");
    if (!into) return;
    const rows = data.settings.flatMap((setting, i) =>
      isChosen(i) && setting.numbers.peak_memory_mib ? [[setting, i, setting.numbers.peak_memory_mib.mean]] : [],
    );
    const most = Math.max(...rows.map(([, , value]) => value));
    into.replaceChildren(
      ...rows.flatMap(([setting, i, value]) => {
        const bar = make("div", { className: "bar" });
        bar.style.width = `${(100 * value) / most}%`;
        bar.style.background = colour(i);
        return [
          make("span", { textContent: setting.label }),
          make("div", {}, bar),
          make("span", { className: "number", textContent: `${number(value)} MiB` }),
        ];
      }),
    );
  };

  const drawPaths = () => {
    const into = byId("paths");
    if (!into) return;
    into.replaceChildren();
    const panels = data.settings[Number(byId("paths-of").value)]?.paths ?? [];
    const classes = Object.keys(panels[0]?.lines ?? {});
    byId("classes").replaceChildren(
      ...classes.map((label, i) => make("span", {}, swatch(i), `class ${label}`)),
    );
    panels.forEach((panel) => {
      const curves = Object.entries(panel.lines).map(([label, y], i) => (
        { label: `class ${label}`, i, x: panel.t, mean: y }
      ));
      const title = `block ${panel.block}, coordinate ${panel.coordinate}`;
      chart(into, { title, x: "t", y: "y(t)", height: 210 }, curves);
    });
  };

  const chooseAmong = (id, has, then) => {
    const choice = byId(id);
    if (!choice) return;
    data.settings.forEach((s, i) => has(s) && choice.append(new Option(s.label, String(i))));
    choice.addEventListener("change", then);
  };
  chooseAmong("paths-of", (setting) => setting.paths.length, () => draw());

  const drawConfusion = () => {
    const into = byId("confusion");
    const found = into && data.settings[Number(byId("confusion-of").value)]?.confusion;
    if (!found) return;
    const most = Math.max(...found.counts.flat());
    const head = make("tr", {}, make("th", { textContent: "true \\ predicted" }));
    found.classes.forEach((name) => head.append(make("th", { textContent: name })));
    const table = make("table", { className: "heat" }, make("thead", {}, head), make("tbody"));
    found.counts.forEach((counts, i) => {
      const row = make("tr", {}, make("th", { textContent: found.classes[i] }));
      counts.forEach((count, j) => {
        const cell = make("td", { textContent: count ? String(count) : "·" });
        const share = Math.round((75 * count) / most);
        cell.style.background = `color-mix(in srgb, var(--c${i === j ? 0 : 1}) ${share}%, transparent)`;
        row.append(cell);
      });
      table.tBodies[0].append(row);
    });
    into.replaceChildren(table);
  };
  chooseAmong("confusion-of", (setting) => setting.confusion, drawConfusion);

  const drawLegend = () => {
    const chips = data.settings.flatMap((setting, i) =>
      isChosen(i) ? [make("span", {}, swatch(i), setting.label)] : [],
    );
    byId("legend").replaceChildren(...chips);
  };

  function draw() {
    drawn.forEach((plot) => plot.destroy());
    drawn = [];
    waitingCharts = [];
    [drawLegend, drawCurves, drawTrades, drawBars, drawPaths, drawConfusion].forEach((one) => one());
    waitingCharts.forEach((one) => one());
  }
  all("input[name=axis]").forEach((choice) => choice.addEventListener("change", () => draw()));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => draw());
  let waiting;
  let width = innerWidth;
  addEventListener("resize", () => {
    if (innerWidth === width) return; // the address bar of a phone
    width = innerWidth;
    clearTimeout(waiting);
    waiting = setTimeout(draw, 150);
  });
  draw();
  document.body.dataset.ready = "yes";
})();
