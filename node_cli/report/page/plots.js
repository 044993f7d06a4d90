// Curves, and accuracy against cost.

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
  const tables = curves.map((curve, k) => {
    const ink = colour(curve.i);
    const isDot = look.dots || curve.x.length === 1;
    series.push({
      stroke: ink,
      width: look.dots ? 0 : 1.5 + (2.5 * (curves.length - 1 - k)) / curves.length, // see equals
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
  if (!into) return;
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
