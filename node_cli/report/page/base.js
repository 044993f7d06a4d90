// What the page can do: sort and filter its tables, compare with a baseline, draw its plots.
// Everything that comes from the runs is set as text, never as markup.
"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);
const all = (selector, within = document) => [...within.querySelectorAll(selector)];
const make = (tag, properties = {}, ...children) => {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
};

// ---- colours: of the theme, so that they are read anew whenever something is drawn

const COLOURS = 10;
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
