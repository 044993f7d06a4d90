// What is drawn, and when.

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
  const settings = [drawLegend, drawCurves, drawTrades, drawBars];
  const inside = [drawPaths, drawClasses, drawConfusion, drawPlane, drawFlow];
  [...settings, ...inside].forEach((one) => one());
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
playFlow();
document.body.dataset.ready = "yes";
