// A batch: counts, failures with their reasons, and a wall of finished images.

import { drawProgress, element, fill, make, short } from "./text.js";

export class Wall {
  #tiles = [];  // Of the newest state, newest first.
  #nodes = new Map();
  #open = null;

  constructor() {
    element("newer").addEventListener("click", () => this.#step(-1));
    element("older").addEventListener("click", () => this.#step(1));
    element("large").addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (step) this.#step(step);
    });
    element("large").addEventListener("close", () => this.#nodes.get(this.#open)?.querySelector("button").focus());
  }

  set hidden(hidden) { element("batch").hidden = hidden; }

  show(state) {
    const { total, before, done, failed, rate } = state, left = total - before - done - failed;
    fill(element("counts"), [
      ["Done", String(before + done), "", total ? `of ${total}` : ""],
      ["Failed", String(failed), failed ? "bad" : ""],
      ["Left", String(left)],
      ["Images per minute", done ? rate.toFixed(1) : "–"],
      ...(state.over ? [] : [["Time left", { clock: "left" }]]),
      ["Elapsed", { clock: "elapsed" }],
      ...(before ? [["Done before", String(before)]] : []),
    ]);
    drawProgress(total ? [[(before + done) / total, ""], [failed / total, "bad"]] : []);
    element("failures-card").hidden = !failed;
    element("failures-title").textContent = `${failed} failed`;
    element("failures").replaceChildren(...state.failures.toReversed().map(({ name, error }) => {
      const item = make("li");
      item.append(make("b", "", name), error);
      return item;
    }));
    this.#tiles = state.tiles.toReversed();
    element("empty").hidden = this.#tiles.length > 0 || state.over;
    const numbers = new Set(this.#tiles.map(({ number }) => number));
    for (const [number, node] of this.#nodes) {
      if (!numbers.has(number)) {
        node.remove();
        this.#nodes.delete(number);
      }
    }
    // Only new tiles move, so that the focus stays.
    for (const tile of state.tiles) {
      if (this.#nodes.has(tile.number)) continue;
      const node = this.#makeTile(tile);
      this.#nodes.set(tile.number, node);
      element("wall").prepend(node);
    }
  }

  async showImage() {}

  async settle() {
    await Promise.allSettled([...document.querySelectorAll(".wall img")].map((image) => image.decode()));
  }

  #makeTile(tile) {
    const node = make("li"), button = make("button"), image = make("img"), caption = make("span");
    button.type = "button";
    image.src = `thumbnail/${tile.number}`;
    image.alt = "";
    caption.append(make("b", "", tile.name), make("small", "", describe(tile)));
    button.title = tile.name;
    button.append(image, caption);
    button.addEventListener("click", () => this.#enlarge(tile));
    node.append(button);
    return node;
  }

  #enlarge(tile) {
    const image = element("large-image"), small = this.#nodes.get(tile.number)?.querySelector("img");
    this.#open = tile.number;
    // The thumbnail, until there is a larger one. After the end of the run there is none.
    if (small) image.src = small.src;
    const larger = make("img");
    larger.src = `picture/${tile.number}`;
    larger.decode().then(() => { if (this.#open === tile.number) image.src = larger.src; }, () => {});
    image.style.setProperty("--ratio", tile.width / tile.height);
    image.alt = tile.name;
    element("large-name").textContent = `${tile.name} · ${describe(tile)}`;
    const at = this.#tiles.findIndex(({ number }) => number === tile.number);
    element("newer").disabled = at <= 0;
    element("older").disabled = at < 0 || at === this.#tiles.length - 1;
    if (!element("large").open) element("large").showModal();
  }

  #step(step) {
    const at = this.#tiles.findIndex(({ number }) => number === this.#open);
    const tile = this.#tiles[at + step];
    if (at >= 0 && tile) this.#enlarge(tile);
  }
}

const describe = ({ width, height, loss, seconds }) =>
  `${width} × ${height} · loss ${short(loss)} · ${short(seconds)} s`;
