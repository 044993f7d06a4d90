// Tables: sorted by a column, filtered by words, compared with a baseline.

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
  if (!base) return; // no setting at all
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
