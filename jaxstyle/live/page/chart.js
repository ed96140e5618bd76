// The loss and its terms over the steps, on a logarithmic scale, as SVG.

import { make, short } from "./text.js";

const MARGIN = { left: 44, right: 6, top: 14, bottom: 20 };
const COLORS = 9;
// Terms far below the loss would flatten it.
const MAX_DECADES = 4;

export class Chart {
  #box; #legend; #data = null; #cursor = null;

  constructor(box, legend) {
    this.#box = box;
    this.#legend = legend;
    box.tabIndex = 0;
    box.setAttribute("role", "img");
    new ResizeObserver(() => this.#draw()).observe(box);
    box.addEventListener("pointermove", (event) => this.#point(event));
    box.addEventListener("pointerleave", () => this.#move(null));
    box.addEventListener("blur", () => this.#move(null));
    box.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (!step || !this.#data) return;
      event.preventDefault();
      const last = this.#data.x.length - 1;
      this.#move(Math.min(last, Math.max(0, (this.#cursor ?? last) + step)));
    });
  }

  // Show curves `{steps, loss, terms}` of a run of `total` steps with levels `[width, height, steps]`.
  show(curves, total, levels) {
    const terms = Object.entries(curves.terms).sort(([a], [b]) => a.localeCompare(b));
    this.#data = {
      x: curves.steps, total, levels,
      series: [["total", curves.loss], ...terms.filter(([, values]) => values.some((v) => v > 0))],
    };
    this.#draw();
  }

  #point(event) {
    if (!this.#data) return;
    const { x } = this.#data, { left, width } = this.#box.getBoundingClientRect();
    const place = (event.clientX - left - MARGIN.left) / (width - MARGIN.left - MARGIN.right);
    const step = 1 + place * (this.#data.total - 1);
    let nearest = 0;
    for (let i = 1; i < x.length; i++) {
      if (Math.abs(x[i] - step) < Math.abs(x[nearest] - step)) nearest = i;
    }
    this.#move(nearest);
  }

  #move(index) {
    this.#cursor = index;
    this.#draw();
  }

  #draw() {
    const { width, height } = this.#box.getBoundingClientRect();
    if (!this.#data || !width) return;
    const { x, total, series, levels } = this.#data;
    const positive = series.flatMap(([, values]) => values.filter((v) => v > 0));
    if (!positive.length) return;
    const high = Math.log10(positive.reduce((a, b) => Math.max(a, b)));
    const least = Math.log10(positive.reduce((a, b) => Math.min(a, b)));
    const low = Math.min(high - 0.3, Math.max(least, high - MAX_DECADES));
    const right = width - MARGIN.right, bottom = height - MARGIN.bottom;
    const px = (step) => MARGIN.left + ((step - 1) / Math.max(1, total - 1)) * (right - MARGIN.left);
    const py = (v) => MARGIN.top + ((high - Math.log10(v)) / (high - low)) * (bottom - MARGIN.top);
    const svg = node("svg", { viewBox: `0 0 ${width} ${height}` });
    for (const value of ticks(low, high)) {
      svg.append(node("line", { class: "grid", x1: MARGIN.left, x2: right, y1: py(value), y2: py(value) }));
      svg.append(text(MARGIN.left - 6, py(value) + 4, "end", short(value)));
    }
    let begin = 0;
    levels.forEach(([w, h, steps], index) => {
      const at = px(begin + 1);
      if (index) svg.append(node("line", { class: "level", x1: at, x2: at, y1: MARGIN.top, y2: bottom }));
      if (levels.length > 1) svg.append(text(at + 4, MARGIN.top - 3, "start", `${Math.max(w, h)} px`));
      begin += steps;
    });
    svg.append(text(MARGIN.left, height - 4, "start", "1"), text(right, height - 4, "end", `step ${total}`));
    series.toReversed().forEach(([name, values], reversed) => {
      const index = series.length - 1 - reversed;
      let line = "", pen = "M";
      values.forEach((value, i) => {
        const visible = value > 0 && Math.log10(value) >= low;
        if (visible) line += `${pen}${px(x[i]).toFixed(1)} ${py(value).toFixed(1)}`;
        pen = visible ? "L" : "M";
      });
      const path = node("path", { d: line, class: index ? "" : "total" });
      path.style.stroke = color(index);
      svg.append(path);
    });
    const at = this.#cursor == null ? null : Math.min(this.#cursor, x.length - 1);
    if (at != null) {
      svg.append(node("line", { class: "cursor", x1: px(x[at]), x2: px(x[at]), y1: MARGIN.top, y2: bottom }));
      svg.append(text((MARGIN.left + right) / 2, height - 4, "middle", `at step ${x[at]}`));
    }
    this.#box.replaceChildren(svg);
    this.#writeLegend(at ?? x.length - 1);
    const first = series[0][1];
    this.#box.setAttribute("aria-label",
      `Loss from ${short(first[0])} at step ${x[0]} to ${short(first.at(-1))} at step ${x.at(-1)}`);
  }

  #writeLegend(at) {
    const items = this.#data.series.map(([name, values], index) => {
      const item = make("li"), key = make("i"), label = make("span", "", name);
      key.style.background = color(index);
      label.title = name;
      item.append(key, label, make("output", "", short(values[at])));
      return item;
    });
    this.#legend.replaceChildren(...items);
  }
}

const color = (index) => `var(--c${index < COLORS ? index : 1 + ((index - 1) % (COLORS - 1))})`;

function node(tag, attributes) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

function text(x, y, anchor, content) {
  const made = node("text", { x, y, "text-anchor": anchor });
  made.textContent = content;
  return made;
}

// Values of the axis between two logarithms: decades, with 2 and 5 if there are few.
function ticks(low, high) {
  const factors = high - low > 2 ? [1] : high - low > 0.7 ? [1, 2, 5] : [1, 1.5, 2, 3, 4, 5, 6, 7, 8, 9];
  const found = [];
  for (let decade = Math.floor(low); decade <= high; decade++) {
    for (const factor of factors) {
      const value = factor * 10 ** decade, log = Math.log10(value);
      if (log >= low - 1e-9 && log <= high + 1e-9) found.push(value);
    }
  }
  return found;
}
