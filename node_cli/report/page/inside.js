// The inside of one setting: paths, classes, the plane, and states as they flow.

const drawPaths = () => {
  const into = byId("paths");
  if (!into) return;
  into.replaceChildren();
  const panels = data.settings[Number(byId("paths-of").value)]?.paths ?? [];
  const classes = Object.keys(panels[0]?.lines ?? {});
  byId("labels").replaceChildren(
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

const drawClasses = () => {
  const rows = data.settings[Number(byId("classes-of")?.value)]?.classes ?? [];
  const most = Math.max(...rows.map((row) => row.nfe ?? 0));
  const bar = (share, i) => {
    const made = make("div", { className: "bar" });
    made.style.width = `${100 * share}%`;
    made.style.background = colour(i);
    return make("div", {}, made);
  };
  byId("classes")?.replaceChildren(
    ...rows.flatMap((row) => [
      make("span", { textContent: `class ${row.label}` }),
      bar(row.accuracy, 0),
      make("span", { className: "number", textContent: ofUnit("test_accuracy")(row.accuracy) }),
      row.nfe === null ? make("span") : bar(row.nfe / most, 1),
      make("span", { className: "number", textContent: row.nfe === null ? "" : `NFE ${row.nfe}` }),
    ]),
  );
};
chooseAmong("classes-of", (setting) => setting.classes.length, drawClasses);

// A canvas as sharp as the screen, and where a point lies on it: x and y are [least, largest].
const prepared = (canvas, x, y) => {
  const [width, height] = [canvas.clientWidth, canvas.clientHeight];
  canvas.width = width * devicePixelRatio;
  canvas.height = height * devicePixelRatio;
  const context = canvas.getContext("2d");
  context.setTransform(devicePixelRatio, 0, 0, devicePixelRatio, 0, 0);
  context.clearRect(0, 0, width, height);
  const scale = Math.min((width - 20) / (x[1] - x[0] || 1), (height - 20) / (y[1] - y[0] || 1));
  const at = (a, b) => [
    width / 2 + scale * (a - (x[0] + x[1]) / 2),
    height / 2 - scale * (b - (y[0] + y[1]) / 2),
  ];
  return { context, at };
};
const dot = (context, [x, y], ink, size = 3.5) => {
  context.beginPath();
  context.arc(x, y, size, 0, 2 * Math.PI);
  context.fillStyle = ink;
  context.fill();
  context.strokeStyle = style("--paper");
  context.lineWidth = 0.8;
  context.stroke();
};

const drawPlane = () => {
  const plane = data.settings[Number(byId("plane-of")?.value)]?.plane;
  if (!plane) return;
  const { context, at } = prepared(byId("plane"), plane.x, plane.y);
  const [columns, rows] = [plane.percent.length / plane.rows, plane.rows];
  const inks = [0, 1].map((i) => [1, 3, 5].map((k) => parseInt(colour(i).slice(k, k + 2), 16)));
  const small = make("canvas", { width: columns, height: rows });
  const image = new ImageData(columns, rows);
  plane.percent.forEach((percent, k) => {
    const [i, j] = [Math.floor(k / rows), rows - 1 - (k % rows)];
    const strength = 20 + 130 * Math.abs(percent / 50 - 1);
    image.data.set([...inks[percent < 50 ? 0 : 1], strength], 4 * (j * columns + i));
  });
  small.getContext("2d").putImageData(image, 0, 0);
  const [left, bottom] = at(plane.x[0], plane.y[0]);
  const [right, top] = at(plane.x[1], plane.y[1]);
  context.drawImage(small, left, top, right - left, bottom - top);
  plane.points.forEach(([x, y, label]) => dot(context, at(x, y), colour(label), 3));
};
chooseAmong("plane-of", (setting) => setting.plane, drawPlane);

const flowOf = () => data.settings[Number(byId("flow-of")?.value)]?.flow;
const drawFlow = () => {
  const flow = flowOf();
  if (!flow) return;
  const kinds = [...new Set(flow.labels)].sort((a, b) => a - b);
  byId("kinds").replaceChildren(
    ...kinds.map((label) => make("span", {}, swatch(label), `class ${label}`)),
  );
  const place = (byId("time").value / 1000) * (flow.t.length - 1);
  const [k, part] = [Math.min(Math.floor(place), flow.t.length - 2), place % 1];
  const along = part === 0 && place > 0 ? place - k : part;
  const between = (a, b) => a + along * (b - a);
  const t = between(flow.t[k], flow.t[k + 1]);
  byId("now").textContent = `t = ${t.toFixed(2)}`;
  const coordinate = (j) => {
    const values = flow.y.flatMap((y) => y.filter((_, i) => i % 2 === j));
    return [Math.min(...values), Math.max(...values)];
  };
  const [x, y] = [coordinate(0), coordinate(1)];
  const { context, at } = prepared(byId("flow"), x, y);
  const nearest = flow.arrows.reduce(
    (best, one) => (!best || Math.abs(one.t - t) < Math.abs(best.t - t) ? one : best), null,
  );
  context.strokeStyle = style("--muted");
  context.lineWidth = 1;
  (nearest?.at ?? []).forEach(([a, b, da, db]) => {
    const size = Math.hypot(da, db) || 1;
    const [px, py] = at(a, b);
    const [dx, dy] = [(8 * da) / size, (-8 * db) / size];
    context.globalAlpha = 0.45;
    context.beginPath();
    context.moveTo(px - dx, py - dy);
    context.lineTo(px + dx, py + dy);
    context.lineTo(px + 0.4 * dx + 0.35 * dy, py + 0.4 * dy - 0.35 * dx);
    context.moveTo(px + dx, py + dy);
    context.lineTo(px + 0.4 * dx - 0.35 * dy, py + 0.4 * dy + 0.35 * dx);
    context.stroke();
  });
  const now = flow.y.map((path) => [
    between(path[2 * k], path[2 * k + 2]), between(path[2 * k + 1], path[2 * k + 3]),
  ]);
  flow.y.forEach((path, i) => {
    context.strokeStyle = colour(flow.labels[i]);
    context.globalAlpha = 0.35;
    context.beginPath();
    for (let j = 0; j <= k; j++) context.lineTo(...at(path[2 * j], path[2 * j + 1]));
    context.lineTo(...at(...now[i]));
    context.stroke();
  });
  context.globalAlpha = 1;
  now.forEach((where, i) => dot(context, at(...where), colour(flow.labels[i])));
};
chooseAmong("flow-of", (setting) => setting.flow, drawFlow);
const playFlow = () => {
  const [play, time] = [byId("play"), byId("time")];
  if (!play) return;
  const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
  let since = null;
  const step = (now) => {
    if (play.textContent === "play") return (since = null);
    if (since !== null) time.value = (Number(time.value) + (now - since) / 4) % 1001;
    since = now;
    if (document.visibilityState === "visible") drawFlow();
    requestAnimationFrame(step);
  };
  play.addEventListener("click", () => {
    play.textContent = play.textContent === "play" ? "pause" : "play";
    requestAnimationFrame(step);
  });
  time.addEventListener("input", () => {
    play.textContent = "play";
    drawFlow();
  });
  if (still) play.textContent = "play";
  new IntersectionObserver(([entry]) => {
    if (entry.isIntersecting && play.textContent === "pause" && since === null) {
      requestAnimationFrame(step);
    }
  }).observe(byId("flow"));
};
