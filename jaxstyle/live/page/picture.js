// A run that makes one image: the picture, its history, the comparison with the photo, the loss.

import { Chart } from "./chart.js";
import { drawProgress, element, fill, make, short } from "./text.js";

// Earlier pictures that the page keeps. When they are too many, every second one is dropped.
const MAX_HISTORY = 48;
const REPLAY_MS = 5000;
const NAMES = { content: "Photo", style: "Style", mask: "Mask", start: "Start" };

export class Picture {
  #chart = new Chart(element("chart"), element("legend"));
  #history = [];  // Objects `{step, url}`, oldest first.
  #inputs = null;
  #replaying = 0;
  #pictures = Promise.resolve();

  constructor() {
    element("split").addEventListener("input", () => this.#split());
    element("history").addEventListener("input", () => {
      this.#stopReplay();
      this.#showShown();
    });
    element("replay").addEventListener("click", () => this.#replay());
  }

  set hidden(hidden) { element("picture").hidden = hidden; }

  show(state) {
    const { levels, level, step, steps, fraction } = state;
    const [width, height] = levels.at(-1), [w, h] = levels[level];
    element("frame").style.setProperty("--ratio", width / height);
    element("percent").textContent = String(Math.floor(100 * fraction));
    fill(element("facts"), [
      ["Step", `${step} of ${steps}`],
      ["Loss", short(state.curves?.loss.at(-1))],
      ["Elapsed", { clock: "elapsed" }],
      ["Level", `${level + 1} of ${levels.length}`],
      ["Size", `${w} × ${h}`],
      ...(w === width ? [] : [["Final size", `${width} × ${height}`]]),
    ]);
    document.querySelector(".percent .left").hidden = state.left == null;
    const work = levels.map(([a, b, count]) => a * b * count);
    const all = work.reduce((a, b) => a + b);
    let sum = 0;
    drawProgress([[fraction, ""]], work.slice(0, -1).map((part) => (sum += part) / all));
    if (state.curves) this.#chart.show(state.curves, steps, levels);
    this.#showInputs(state.inputs);
  }

  // Show a picture once it is decoded, so that it never flickers.
  async showImage(blob, state) {
    const url = URL.createObjectURL(blob), { step } = state;
    if (this.#history.at(-1)?.step === step) URL.revokeObjectURL(this.#history.pop().url);
    this.#history.push({ step, url });
    if (this.#history.length > MAX_HISTORY) {
      const last = this.#history.length - 1;
      this.#history = this.#history.filter(({ url: old }, index) => {
        const keep = index === 0 || index === last || index % 2 === 0;
        if (!keep) URL.revokeObjectURL(old);
        return keep;
      });
    }
    const slider = element("history"), followed = slider.value === slider.max;
    slider.max = String(this.#history.length - 1);
    if (followed && !this.#replaying) slider.value = slider.max;
    element("growth").hidden = this.#history.length < 2;
    if (slider.value === slider.max) await this.#showShown();
    else this.#writeShown();
  }

  async settle() {
    await Promise.allSettled([...document.querySelectorAll(".inputs img, #before")].map((i) => i.decode()));
  }

  async #showShown() {
    this.#writeShown();
    const shown = this.#history[Number(element("history").value)];
    const image = make("img");
    image.src = shown.url;
    image.alt = `The picture after ${shown.step} steps`;
    try {
      await image.decode();
    } catch {
      return;  // It was replaced meanwhile.
    }
    const layer = element("result");
    layer.append(image);
    element("waiting").hidden = true;
    if (!element("frame").classList.contains("started")) this.#start();
    const older = [...layer.children].slice(0, -1);
    setTimeout(() => older.forEach((node) => node.remove()), 500);
  }

  #writeShown() {
    const slider = element("history"), shown = this.#history[Number(slider.value)];
    const newest = slider.value === slider.max;
    element("shown").textContent = `step ${shown.step}${newest ? ", newest" : ""}`;
    slider.setAttribute("aria-valuetext", `step ${shown.step}`);
  }

  #replay() {
    if (this.#replaying) return this.#stopReplay();
    const slider = element("history");
    slider.value = "0";
    element("replay").textContent = "Pause";
    this.#showShown();
    this.#replaying = setInterval(() => {
      if (slider.value === slider.max) return this.#stopReplay();
      slider.value = String(Number(slider.value) + 1);
      this.#showShown();
    }, Math.max(120, REPLAY_MS / this.#history.length));
  }

  #stopReplay() {
    clearInterval(this.#replaying);
    this.#replaying = 0;
    element("replay").textContent = "Replay";
  }

  // Offer the comparison once there are both pictures.
  #start() {
    const started = element("result").childElementCount > 0;
    element("frame").classList.toggle("started", started);
    if (!started || element("before").hidden) return;
    for (const id of ["divider", "knob", "split", "tag-before", "tag-after"]) element(id).hidden = false;
    this.#split();
  }

  #split() {
    const value = Number(element("split").value), frame = element("frame");
    frame.style.setProperty("--split", `${value}%`);
    element("tag-before").style.opacity = value > 12 ? "1" : "0";
    element("tag-after").style.opacity = value < 88 ? "1" : "0";
    element("split").setAttribute("aria-valuetext", `${Math.round(value)} % photo`);
  }

  #showInputs(inputs) {
    const key = JSON.stringify(inputs);
    if (key === this.#inputs) return;
    this.#inputs = key;
    const content = inputs.find(({ role }) => role === "content");
    const before = element("before");
    before.onload = () => {
      before.hidden = false;
      this.#start();
    };
    if (content) before.src = `picture/${encodeURIComponent(content.name)}`;
    element("inputs-card").hidden = !inputs.length;
    element("inputs").replaceChildren(...inputs.map(({ name, role, file }) => {
      const item = make("li"), image = make("img");
      image.src = `thumbnail/${encodeURIComponent(name)}`;
      image.alt = "";
      item.append(image, make("p", "", NAMES[role] ?? role), make("p", "", file));
      item.title = file;
      return item;
    }));
  }
}
