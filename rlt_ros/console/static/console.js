// The operator's page. It shows what the server says and sends the names of the buttons that are pressed.
import { histogram, linePlot } from "./plot.js";

const COLOURS = { actor: "#4fc3a1", base: "#6ea8fe", human: "#f2b84b", warm: "#e5737f", plain: "#c7d0da" };
const [TIME, UPDATES, RATIO, VALUE, TARGET, TD, DISTANCE, P50, P99] = Array.from({ length: 9 }, (_, index) => index);
const WINDOW = 20;
const LATE_PICTURE = 0.5;
const SILENT_EXECUTOR = 1.6;
const SILENT_SERVER = 2000;
const STOP_AGAIN = 700;
const HISTORY = 3600;
const PLOT_POINTS = 400;

const $ = (id) => document.getElementById(id);
let socket = null;
let retry = 250;
let number = 0;
let rows = [];
let episodes = new Map();
let cameras = [];
let readOnly = false;
let heard = 0;
let armed = 0;

// -- connection --------------------------------------------------------------------------------------------

function connect() {
  heard = performance.now();
  socket = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/ws`);
  socket.binaryType = "arraybuffer";
  socket.onmessage = ({ data }) => {
    heard = performance.now();
    if (typeof data === "string") onMessage(JSON.parse(data));
    else onPicture(new DataView(data));
  };
  socket.onclose = lose;
}

function lose() {
  $("lost").hidden = false;
  document.body.dataset.connected = "false";
  showExecutor(null);
  showSession(null, null);
  for (const camera of cameras) {
    camera.figure.classList.add("late");
    camera.age.textContent = "old";
  }
  showNodes([]);
  showWhy({ means: "", remedy: "", refused: [] }, null);
  setTimeout(connect, retry);
  retry = Math.min(2000, retry * 1.5);
}

function onMessage(message) {
  if (message.type === "hello") {
    retry = 250;
    rows = [];
    episodes = new Map();
    readOnly = message.read_only;
    makeCameras(message.cameras);
    for (const button of document.querySelectorAll("[data-action]")) {
      button.disabled = readOnly && button.dataset.action !== "estop";
    }
    $("lost").hidden = true;
    document.body.dataset.connected = "true";
  } else if (message.type === "state") {
    show(message);
  } else {
    showAnswer(message);
  }
}

// A socket can hang without closing, and its closing can take a minute: the server speaks twice a second.
setInterval(() => {
  if (!socket || socket.readyState > WebSocket.OPEN || performance.now() - heard < SILENT_SERVER) return;
  socket.onclose = socket.onmessage = null;
  socket.close();
  socket = null;
  lose();
}, 250);

// -- pictures ----------------------------------------------------------------------------------------------

function makeCameras(names) {
  cameras = names.map((name) => {
    const figure = document.createElement("figure");
    figure.className = "camera";
    figure.dataset.camera = name;
    const image = document.createElement("img");
    image.alt = `camera ${name}`;
    const caption = document.createElement("figcaption");
    const title = document.createElement("span");
    title.textContent = name.replaceAll("_", " ");
    const age = document.createElement("span");
    age.className = "age";
    caption.append(title, age);
    figure.append(image, caption);
    return { name, figure, image, age, frames: 0 };
  });
  $("cameras").replaceChildren(...cameras.map(({ figure }) => figure));
}

function onPicture(view) {
  const camera = cameras[view.getUint8(0)];
  if (!camera || document.hidden) return;
  const old = camera.image.src;
  camera.image.src = URL.createObjectURL(new Blob([new Uint8Array(view.buffer, 1)], { type: "image/jpeg" }));
  if (old) URL.revokeObjectURL(old);
  camera.frames += 1;
  camera.figure.dataset.frames = camera.frames;
}

// -- what is shown -----------------------------------------------------------------------------------------

function show(state) {
  showExecutor(state.executor);
  showSession(state.session, state.executor);
  for (const { name, age, rate } of state.cameras) {
    const camera = cameras.find((known) => known.name === name);
    const late = age == null || age > LATE_PICTURE;
    camera.figure.classList.toggle("late", late);
    camera.age.textContent = age == null ? "no picture" : `${age < 10 ? (age * 1000).toFixed(0) + " ms" : age.toFixed(0) + " s"}, ${rate.toFixed(0)} Hz`;
  }
  showNodes(state.nodes);
  showWhy(state.why, state.executor);
  showWarnings(state.warnings);
  rows.push(...state.rows);
  if (rows.length > HISTORY) rows.splice(0, rows.length - HISTORY);
  for (const episode of state.episodes) episodes.set(`${episode.epoch} ${episode.episode}`, episode);
  $("robot").textContent = `robot ${state.robot}`;
  if (!document.hidden) plot(state);
}

function showExecutor(executor) {
  const silent = !executor || executor.age == null || executor.age > SILENT_EXECUTOR;
  const badge = $("executor");
  badge.dataset.state = silent ? "NONE" : executor.state;
  $("state").textContent = silent ? "NO CONTACT" : executor.state;
  $("reason").textContent = silent
    ? (executor ? `executor_node silent for ${executor.age.toFixed(1)} s` : "no word from executor_node")
    : [executor.reason, executor.input_age >= 0 ? `inputs ${(1000 * executor.input_age).toFixed(0)} ms old` : "no inputs",
      `missed ticks ${executor.missed_ticks ?? "–"}`].filter(Boolean).join(", ");
  badge.title = $("reason").textContent;
}

function showSession(session, executor) {
  const silent = !session || session.age > 2;
  $("phase").textContent = silent ? "no session" : session.phase + (session.critical_proposed ? " → critical?" : "");
  $("episode").textContent = silent ? "–" : session.episode;
  $("clock").textContent = silent ? "–" : `${session.phase_time.toFixed(1)} s` + (["base", "critical"].includes(session.phase) ? `, ${session.time_left.toFixed(0)} left` : ` (${session.outcome})`);
  $("flies").textContent = silent ? "–" : session.actor_enabled ? `actor v${executor?.policy_version ?? "?"}${session.explore ? ", explores" : ""}` : "base";
  $("success-rate").textContent = silent ? "–" : `${(100 * session.success_rate).toFixed(0)} %`;
  $("throughput").textContent = silent ? "–" : session.throughput.toFixed(0);
}

function cell(text, className) {
  const made = document.createElement("td");
  if (className) {
    const light = document.createElement("span");
    light.className = className;
    light.textContent = text;
    made.append(light);
  } else made.textContent = text;
  return made;
}

function showNodes(nodes) {
  $("nodes").replaceChildren(...nodes.map((node) => {
    const row = document.createElement("tr");
    row.dataset.node = node.name;
    row.dataset.state = node.state;
    row.append(
      cell(node.name), cell(node.state, `light ${node.state}`), cell(node.rate),
      cell(node.age == null ? "" : `${node.age.toFixed(1)} s`),
      cell(node.cpu == null ? "" : `${node.cpu.toFixed(0)} %`),
      cell(node.memory == null ? "" : `${node.memory.toFixed(0)} MB`),
    );
    return row;
  }));
}

const ago = (age) => (age < 60 ? `${age.toFixed(0)} s` : `${(age / 60).toFixed(0)} min`);

function showWhy({ means, remedy, refused }, executor) {
  const flies = ["REFERENCE", "ACTOR", "HUMAN"].includes(executor?.state);
  $("why").dataset.flies = flies;
  $("why-title").textContent = flies ? "It flies" : "Why it does not fly";
  $("why-now").textContent = [means, remedy].filter(Boolean).join(" → ");
  $("why-refused").replaceChildren(...refused.map((row) => {
    const item = document.createElement("li");
    item.dataset.kind = row.kind;
    item.className = row.age < 5 ? "now" : "";
    const what = document.createElement("b");
    what.textContent = `${row.node} refuses ${row.topic}`;
    const detail = row.detail ? ` (${row.detail})` : "";
    item.append(what, `: ${row.reason}${detail}, ${row.count}×, ${ago(row.age)} ago → ${row.remedy}`);
    return item;
  }));
}

function showWarnings(warnings) {
  $("warnings").replaceChildren(...warnings.toReversed().map(({ node, level, text, count, age }) => {
    const item = document.createElement("li");
    item.className = level;
    item.textContent = `${ago(age)} ago, ${node}: ${text}${count > 1 ? ` (${count} times)` : ""}`;
    return item;
  }));
}

// -- plots -------------------------------------------------------------------------------------------------

function plot({ now, base }) {
  const step = Math.max(1, Math.ceil(rows.length / PLOT_POINTS));
  const shown = rows.filter((_, index) => index % step === 0 || index === rows.length - 1);
  const column = (index, label, colour) => (
    { label, colour, points: shown.map((row) => [(row[TIME] - now) / 60, row[index]]) });
  linePlot($("plot-updates"), [column(UPDATES, "updates/s", COLOURS.actor), column(RATIO, "updates per sample", COLOURS.human)], { low: 0 });
  linePlot($("plot-critic"), [column(VALUE, "value", COLOURS.actor), column(TARGET, "target", COLOURS.base), column(TD, "loss (squared TD error)", COLOURS.warm)]);
  linePlot($("plot-distance"), [column(DISTANCE, "chunk − reference", COLOURS.actor)], { low: 0 });
  linePlot($("plot-loop"), [column(P50, "p50", COLOURS.plain), column(P99, "p99", COLOURS.human)], { low: 0 });
  plotEpisodes(now, base);
}

function plotEpisodes(now, base) {
  const counted = [...episodes.values()].filter(({ counts }) => counts);
  const rolling = (value, wins) => counted.map((episode, index) => {
    const window = counted.slice(Math.max(0, index - WINDOW + 1), index + 1);
    return [(episode.time - now) / 60, value(window.filter(wins).length, window)];
  });
  const perTen = (wins, window) => (600 * wins) / window.reduce((sum, { seconds }) => sum + seconds, 1e-9);
  const share = (wins, window) => (100 * wins) / window.length;
  const helped = ({ success }) => success;
  const alone = ({ success, human_share }) => success && !human_share;
  const lines = (value) => [
    { label: "with the human's help", colour: COLOURS.human, points: rolling(value, helped) },
    { label: "alone", colour: COLOURS.actor, points: rolling(value, alone) },
  ];
  linePlot($("plot-throughput"), lines(perTen), { low: 0, band: base?.throughput_per_10min });
  linePlot($("plot-success"), lines(share), { low: 0, high: 100, band: base?.success_rate.map((value) => 100 * value) });
  $("base-note").textContent = base ? `(base: ${base.throughput_per_10min[1].toFixed(0)}, ${base.episodes} episodes)` : "";
  const won = (name) => counted.filter(({ success, flown_by }) => success && flown_by === name).map(({ seconds }) => seconds);
  histogram($("plot-length"), ["base", "human", "actor"].map((name) => ({ label: name, colour: COLOURS[name], values: won(name) })));
  linePlot($("plot-human"), [{ label: "human, %", colour: COLOURS.human, dots: true, points: counted.map(({ time, human_share }) => [(time - now) / 60, 100 * human_share]) }], { low: 0, high: 100 });
}

// -- buttons -----------------------------------------------------------------------------------------------

function press(action) {
  if (socket?.readyState !== WebSocket.OPEN) {
    showAnswer({ ok: false, message: `${action} was NOT sent: there is no connection. Use the robot's own stop` });
    return;
  }
  number += 1;
  socket.send(JSON.stringify({ action, id: number }));
}

// A stop is asked for again, over new connections too, until somebody says that it is done.
let stopping = 0;

function pressStop() {
  clearInterval(stopping);
  let asked = 0;
  const ask = () => {
    if (asked > 0) showAnswer({ ok: false, message: "E-STOP NOT CONFIRMED: use the robot's own stop" });
    $("estop").textContent = asked > 0 ? "NOT CONFIRMED" : "stopping…";
    asked += 1;
    if (socket?.readyState === WebSocket.OPEN) press("estop");
  };
  ask();
  stopping = setInterval(ask, STOP_AGAIN);
}

function stopConfirmed() {
  clearInterval(stopping);
  stopping = 0;
  $("estop").textContent = "E-STOP";
}

function pressClear() {
  press(armed ? "clear_estop_confirmed" : "clear_estop");
  clearTimeout(armed);
  armed = armed ? 0 : setTimeout(() => { armed = 0; showClear(); }, 8000);
  showClear();
}

function showClear() {
  $("clear").classList.toggle("armed", Boolean(armed));
  $("clear").textContent = armed ? "Really clear it" : "Clear e-stop…";
}

function showAnswer({ ok, message, action }) {
  if (action === "estop" && ok) stopConfirmed();
  $("answer").textContent = message;
  $("answer").classList.toggle("failed", !ok);
}

// A hand that slaps the screen slides: the stop counts when it touches, not when it lets go in the same place.
$("estop").addEventListener("pointerdown", pressStop);

document.addEventListener("click", ({ target, detail }) => {
  const button = target.closest("[data-action]");
  if (!button || button.disabled) return;
  if (button.id === "estop") {
    if (detail === 0) pressStop();  // by the keyboard: a finger has already pressed
    return;
  }
  if (button.id === "clear") pressClear(); else press(button.dataset.action);
});

document.addEventListener("keydown", (event) => {
  if (event.code === "Space") {
    event.preventDefault();
    if (!event.repeat) pressStop();
    return;
  }
  if (event.repeat) event.preventDefault();  // a held key presses nothing twice
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const button = document.querySelector(`[data-key="${CSS.escape(event.key.toLowerCase())}"]`);
  if (!button || button.disabled || event.repeat) return;
  event.preventDefault();
  button.click();
}, { capture: true });

// A focused button is pressed when the space bar comes up.
document.addEventListener("keyup", (event) => { if (event.code === "Space") event.preventDefault(); }, { capture: true });

for (const button of document.querySelectorAll("[data-key]")) button.title ||= `key: ${button.dataset.key}`;
connect();
