// Elements and texts that several parts of the page make.

export const element = (id) => document.getElementById(id);

// A new element with a class and a text, which is never read as HTML.
export function make(tag, className = "", text = "") {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (text) node.textContent = text;
  return node;
}

export function clock(seconds) {
  const whole = Math.round(seconds);
  const two = (number) => String(number).padStart(2, "0");
  const [hours, minutes] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60];
  return hours ? `${hours}:${two(minutes)}:${two(whole % 60)}` : `${minutes}:${two(whole % 60)}`;
}

// A number with three digits, as 0.0123, 45.6 or 1.2e-7.
export function short(number) {
  if (number == null) return "–";
  const size = Math.abs(number);
  if (size === 0) return "0";
  if (size >= 1e-3 && size < 1e5) return String(Number(number.toPrecision(3)));
  return number.toExponential(1);
}

// Fill a list of terms and values. A value is a text, or `[text, clock]` for a time of the state.
export function fill(list, facts) {
  const items = facts.map(([name, value, className, note]) => {
    const item = make("div", className);
    item.append(make("dt", "", name));
    const data = make("dd", "", typeof value === "string" ? value : "");
    if (typeof value !== "string") data.dataset.clock = value.clock;
    if (note) data.append(make("small", "", ` ${note}`));
    item.append(data);
    return item;
  });
  list.replaceChildren(...items);
}

// Draw the bar of progress: parts `[fraction, class]` after each other, and marks.
export function drawProgress(parts, marks = []) {
  const bar = element("progress");
  let begin = 0;
  const nodes = parts.map(([fraction, className], index) => {
    const node = bar.querySelectorAll("i")[index] ?? make("i");
    node.className = className;
    node.style.left = `${100 * begin}%`;
    node.style.width = `${100 * fraction}%`;
    begin += fraction;
    return node;
  });
  const lines = marks.map((fraction) => {
    const line = make("b");
    line.style.left = `${100 * fraction}%`;
    return line;
  });
  bar.replaceChildren(...nodes, ...lines);
  bar.setAttribute("aria-valuenow", String(Math.floor(100 * begin)));
}
