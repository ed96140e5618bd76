// Connects to the run, shows its newest state, and sends commands.

import { Picture } from "./picture.js";
import { Wall } from "./wall.js";
import { clock, element } from "./text.js";

const PHASES = {
  starting: "Starting", running: "Running", stopping: "Stopping", done: "Done",
  stopped: "Stopped", failed: "Failed", lost: "Connection lost",
};
const MAX_WAIT = 5000;

const views = { picture: new Picture(), batch: new Wall() };
let socket = null, state = null, received = 0, over = false, wait = 500;

function connect() {
  const opened = new WebSocket(new URL("news", location.href.replace(/^http/, "ws")));
  socket = opened;
  opened.binaryType = "blob";
  opened.onopen = () => { wait = 500; ask(-1); };
  opened.onmessage = async ({ data }) => {
    if (typeof data === "string") {
      state = JSON.parse(data);
      received = performance.now();
      show();
      if (state.image) return;  // It is the next message.
    } else {
      await views[state.kind]?.showImage(data, state);
    }
    if (opened !== socket) return;
    if (!state.over) return ask(state.version);
    over = true;
    // The server ends when all pages have gone, so first get what it has.
    await views[state.kind]?.settle();
    opened.close();
  };
  opened.onclose = () => {
    if (over || opened !== socket) return;
    setPhase("lost");
    tell("The run has ended, or cannot be reached. This page keeps trying.");
    setTimeout(connect, wait);
    wait = Math.min(2 * wait, MAX_WAIT);
  };
}

// A hidden page wants no pictures: none is encoded for it.
function ask(version) {
  if (socket.readyState === WebSocket.OPEN) socket.send(JSON.stringify([version, !document.hidden]));
}

document.addEventListener("visibilitychange", () => {
  if (document.hidden || over || socket.readyState !== WebSocket.OPEN) return;
  socket.close();
  connect();
});

function show() {
  for (const [kind, view] of Object.entries(views)) view.hidden = kind !== state.kind;
  element("title").textContent = state.title || "jaxstyle";
  setPhase(state.phase);
  tell(state.message, state.phase === "failed");
  views[state.kind]?.show(state);
  const running = !state.over && state.kind in views;
  element("save").hidden = !state.can_save;
  element("stop").hidden = !running;
  element("stop").disabled = state.phase === "stopping";
  tick();
}

function setPhase(phase) {
  document.documentElement.dataset.phase = phase;
  element("phase").textContent = PHASES[phase];
  const percent = state?.fraction == null ? "" : `${Math.floor(100 * state.fraction)} % · `;
  document.title = `${phase === "running" ? percent : `${PHASES[phase]} · `}${state?.title || "jaxstyle"}`;
  if (phase === "lost") for (const id of ["save", "stop"]) element(id).hidden = true;
}

function tell(text, bad = false) {
  const message = element("message");
  message.textContent = text;
  message.hidden = !text;
  message.classList.toggle("bad", bad);
}

// Clocks go on between two states.
function tick() {
  if (!state || document.documentElement.dataset.phase === "lost") return;
  const passed = state.over ? 0 : (performance.now() - received) / 1000;
  for (const node of document.querySelectorAll("[data-clock]")) {
    const value = state[node.dataset.clock];
    const sign = node.dataset.clock === "left" ? -1 : 1;
    node.textContent = value == null ? "–" : clock(Math.max(0, value + sign * passed));
  }
}
setInterval(tick, 1000);

async function command(name) {
  try {
    const response = await fetch(name, { method: "POST" });
    const { message } = await response.json();
    tell(message, !response.ok);
  } catch {
    tell("The run does not answer.", true);
  }
}

element("save").addEventListener("click", () => command("save"));

// A second press within some seconds confirms.
const stop = element("stop");
let unsure = 0;
function reset() {
  clearTimeout(unsure);
  stop.classList.remove("sure");
  stop.textContent = "Stop";
}
stop.addEventListener("click", () => {
  if (stop.classList.contains("sure")) {
    reset();
    stop.disabled = true;
    command("stop");
  } else {
    stop.classList.add("sure");
    stop.textContent = "Press again to stop";
    unsure = setTimeout(reset, 4000);
  }
});

connect();
