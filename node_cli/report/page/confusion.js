// Which classes are taken for which: a row for each class, a column for each prediction. Colours
// are parts of the row; they follow the theme without being drawn anew.

const NUMBERED = 20; // classes up to which cells have their counts

const shape = (tag, attributes, text = "") => {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  Object.entries(attributes).forEach(([name, value]) => made.setAttribute(name, value));
  made.textContent = text;
  return made;
};

const drawConfusion = () => {
  const found = data.settings[Number(byId("confusion-of")?.value)]?.confusion;
  if (!found) return;
  const { names, counts } = found;
  const n = names.length;
  const cell = n <= NUMBERED ? 36 : Math.max(5, 720 / n);
  const longest = Math.max(...names.map((name) => name.length));
  const room = n <= NUMBERED ? 12 + 7 * Math.min(longest, 16) : 12;
  const size = room + n * cell;
  const picture = shape("svg", {
    viewBox: `0 0 ${size + 1} ${size + 1}`, role: "img", "aria-label": "confusion matrix",
  });
  picture.style.maxWidth = `${size}px`;
  const told = byId("confused");
  const centre = (i) => room + (i + 0.5) * cell;
  counts.forEach((row, i) => {
    const images = row.reduce((sum, count) => sum + count, 0);
    row.forEach((count, j) => {
      const part = count / Math.max(1, images);
      const place = { x: room + j * cell, y: room + i * cell, width: cell, height: cell };
      const square = shape("rect", { ...place, "fill-opacity": part, class: i === j ? "right" : "wrong" });
      const words = `class ${names[i]} taken for ${names[j]}: ${count} of ${images} images`;
      square.addEventListener("pointerenter", () => (told.textContent = words));
      picture.append(square);
      if (n > NUMBERED || !count) return;
      const at = { x: centre(j), y: centre(i), class: part > 0.5 ? "on" : "" };
      picture.append(shape("text", at, String(count)));
    });
  });
  if (n <= NUMBERED) {
    const short = (name) => (name.length > 16 ? `${name.slice(0, 15)}…` : name);
    names.forEach((name, i) => {
      picture.append(shape("text", { x: room - 6, y: centre(i), class: "row" }, short(name)));
      const turned = `translate(${centre(i)} ${room - 8}) rotate(${longest > 2 ? -90 : 0})`;
      const where = longest > 2 ? "column" : "";
      picture.append(shape("text", { x: 0, y: 0, transform: turned, class: where }, short(name)));
    });
  }
  told.textContent = "Point at a cell to read it.";
  byId("confusion").replaceChildren(picture);
};
chooseAmong("confusion-of", (setting) => setting.confusion, drawConfusion);
