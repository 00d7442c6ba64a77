// Draws what scene.drawn() tells, and triggers click with the fact that is picked. Knows no world and asks for nothing.
const NS = "http://www.w3.org/2000/svg";
const root = element.querySelector(".bm-graph");
const svg = root.querySelector("svg");
const all = svg.querySelector(".bm-all");
const said = root.querySelector(".bm-said");
const list = root.querySelector(".bm-list");
const MOST_LISTED = 300;
let data = null, at = -1, zoom = 1, shift = [0, 0], drag = null;

const SHAPES = {
  dot: (r) => `M${-r},0a${r},${r} 0 1,0 ${2 * r},0a${r},${r} 0 1,0 ${-2 * r},0Z`,
  ring: (r) => `M${-r},0a${r},${r} 0 1,0 ${2 * r},0a${r},${r} 0 1,0 ${-2 * r},0Z`,
  square: (r) => `M${-r},${-r}H${r}V${r}H${-r}Z`,
  diamond: (r) => `M0,${-1.35 * r}L${1.35 * r},0L0,${1.35 * r}L${-1.35 * r},0Z`,
  triangle: (r) => `M0,${1.3 * r}L${1.25 * r},${-0.9 * r}H${-1.25 * r}Z`,
  cross: (r) => `M${-r},${-r}L${r},${r}M${r},${-r}L${-r},${r}`,
  star: (r) => "M" + [...Array(10).keys()].map((i) => {
    const far = i % 2 ? 0.62 * r : 1.5 * r, turn = (Math.PI * i) / 5;
    return `${(far * Math.sin(turn)).toFixed(2)},${(-far * Math.cos(turn)).toFixed(2)}`;
  }).join("L") + "Z",
};

function made(name, fields, parent) {
  const found = document.createElementNS(NS, name);
  for (const [field, value] of Object.entries(fields)) found.setAttribute(field, value);
  if (parent) parent.append(found);
  return found;
}
function group(name) { const found = svg.querySelector(".bm-" + name); found.replaceChildren(); return found; }
function radius(status) { return ["dot", "ring"].includes(data.statuses[status].shape) ? data.dot : data.sign; }
function mark(shape, status, r, parent, x, y) {
  return made("path", { d: SHAPES[shape](r), class: "bm-mark s-" + status, transform: `translate(${x},${y})` }, parent);
}

function draw() {
  svg.setAttribute("viewBox", `0 0 ${data.size} ${data.size}`);
  svg.setAttribute("aria-label", data.title);
  const lines = group("lines"), moves = group("moves"), marks = group("marks"), names = group("names");
  const objects = new Map(data.objects.map(([id, x, y]) => [id, [x, y]]));
  const nested = new Map(data.nested.map(([id, x, y]) => [id, [x, y]]));
  const part = [];
  for (const [edge, head, tail, x, y] of data.marks) {
    const end = edge === 0 ? objects.get(tail) : edge === 2 ? nested.get(tail) : null;
    if (end) part.push(`M${x},${y}L${end[0]},${end[1]}`);
  }
  made("path", { d: part.join(""), class: "bm-line" }, lines);
  for (const [edge, head, tail] of data.moves) {
    const from = data.marks.find((m) => m[0] === edge && m[1] === head);
    const end = edge === 0 ? objects.get(tail) : nested.get(tail);
    if (from && end) made("path", { d: `M${from[3]},${from[4]}L${end[0]},${end[1]}`, class: "bm-move" }, moves);
  }
  if (!data.nested.length) for (const [, x, y] of data.objects) mark("dot", "object", data.dot, marks, x, y);
  for (const [, x, y] of data.nested) mark("dot", "object", data.dot * 1.6, marks, x, y);
  const order = data.marks.map((m, i) => i).sort((a, b) => data.statuses[data.marks[a][5]].rank - data.statuses[data.marks[b][5]].rank);
  for (const i of order) {
    const [, , , x, y, status] = data.marks[i];
    mark(data.statuses[status].shape, status, radius(status), marks, x, y);
  }
  for (const [id, x, y] of data.nested) label(names, data.names[id], x, y, "bm-inner");
  place(data.marks.findIndex((m) => m[0] === data.picked[0] && m[1] === data.picked[1]), false);
  legend();
  if (list.open) listed();
}
function label(parent, text, x, y, kind) {
  const middle = data.size / 2, out = kind === "bm-inner" ? -1 : 1;
  const far = Math.hypot(x - middle, y - middle) || 1;
  const right = (x >= middle) === (out > 0);
  const found = made("text", { x: x + (out * 12 * (x - middle)) / far, y: y + (out * 12 * (y - middle)) / far + 5, class: "bm-name " + kind, "text-anchor": kind === "bm-inner" ? "middle" : right ? "end" : "start" }, parent);
  found.textContent = text;
}
function place(i, aloud) {
  const focus = group("focus");
  at = i;
  if (i < 0) return;
  const [, , , x, y, status, text] = data.marks[i];
  made("circle", { cx: x, cy: y, r: 13, class: "bm-ring" }, focus);
  const words = `${text}: ${data.statuses[status].label}`;
  if (aloud || !said.textContent) said.textContent = words;
  else said.textContent = words;
}
function legend() {
  const found = Object.entries(data.counts).map(([status, count]) => {
    const item = document.createElement("li");
    const sign = made("svg", { viewBox: "-9 -9 18 18", width: 18, height: 18, "aria-hidden": "true" });
    mark(data.statuses[status].shape, status, 5, sign, 0, 0);
    const words = document.createElement("span");
    words.textContent = `${data.statuses[status].label}: ${count}`;
    words.title = data.statuses[status].text;
    item.append(sign, words);
    return item;
  });
  root.querySelector(".bm-legend").replaceChildren(...found);
}
function listed() {
  const part = list.querySelector("input").value.trim().toLowerCase();
  const rows = data.marks.map((m, i) => [i, `${m[6]}: ${data.statuses[m[5]].label}`]);
  const found = rows.filter(([, words]) => words.toLowerCase().includes(part));
  list.querySelector("p").textContent = `${found.length} of ${rows.length} facts` + (found.length > MOST_LISTED ? `, the first ${MOST_LISTED} shown` : "");
  list.querySelector("ul").replaceChildren(...found.slice(0, MOST_LISTED).map(([i, words]) => {
    const item = document.createElement("li"), button = document.createElement("button");
    button.type = "button";
    button.textContent = words;
    button.addEventListener("click", () => pick(i));
    item.append(button);
    return item;
  }));
}
function pick(i) { place(i, true); trigger("click", { edge: data.marks[i][0], head: data.marks[i][1] }); }
function move() {
  svg.classList.toggle("bm-zoomed", zoom > 1);  // a finger moves the picture then, and else the page
  all.setAttribute("transform", `translate(${shift[0]},${shift[1]}) scale(${zoom})`);
}
function rescale(factor) {
  const middle = data.size / 2, centre = at >= 0 ? [data.marks[at][3], data.marks[at][4]] : [middle, middle];
  zoom = factor === 0 ? 1 : Math.min(12, Math.max(1, zoom * factor));
  shift = zoom === 1 ? [0, 0] : [middle - zoom * centre[0], middle - zoom * centre[1]];
  move();
}
function spot(event) {
  const point = new DOMPoint(event.clientX, event.clientY).matrixTransform(all.getScreenCTM().inverse());
  let best = -1, near = Infinity;
  data.marks.forEach((m, i) => {
    const far = Math.hypot(m[3] - point.x, m[4] - point.y);
    if (far < near) [best, near] = [i, far];
  });
  return near * all.getScreenCTM().a < 22 ? best : -1;
}
svg.addEventListener("pointerdown", (event) => { drag = [event.clientX, event.clientY, ...shift, false]; });
svg.addEventListener("pointermove", (event) => {
  if (!drag || zoom === 1) return;
  const scale = svg.getScreenCTM().a, x = event.clientX - drag[0], y = event.clientY - drag[1];
  if (Math.hypot(x, y) > 4) drag[4] = true;
  if (drag[4]) { shift = [drag[2] + x / scale, drag[3] + y / scale]; move(); }
});
svg.addEventListener("pointerup", (event) => {
  const moved = drag && drag[4];
  drag = null;
  if (moved) return;
  const i = spot(event);
  if (i >= 0) pick(i);
});
for (const end of ["pointerleave", "pointercancel"]) svg.addEventListener(end, () => { drag = null; });
svg.addEventListener("keydown", (event) => {
  const key = event.key, ring = at < 0 ? 0 : data.marks[at][0];
  const own = data.marks.map((m, i) => i).filter((i) => data.marks[i][0] === ring);
  const turn = { ArrowRight: 1, ArrowLeft: -1 }[key], change = { ArrowUp: 1, ArrowDown: -1 }[key];
  if (turn) place(own[(own.indexOf(at) + turn + own.length) % own.length], true);
  else if (change) {
    const rings = [2, 0, 1].filter((edge) => data.marks.some((m) => m[0] === edge));
    const next = rings[(rings.indexOf(ring) + change + rings.length) % rings.length];
    const here = data.marks[Math.max(0, at)], middle = data.size / 2;
    const angle = (m) => Math.atan2(m[3] - middle, m[4] - middle);
    const gap = (m) => Math.abs(Math.atan2(Math.sin(angle(m) - angle(here)), Math.cos(angle(m) - angle(here))));
    const others = data.marks.map((m, i) => i).filter((i) => data.marks[i][0] === next);
    place(others.reduce((a, b) => (gap(data.marks[b]) < gap(data.marks[a]) ? b : a)), true);
  } else if (key === "Enter" || key === " ") { if (at >= 0) pick(at); }
  else if (key === "+" || key === "=") rescale(1.5);
  else if (key === "-") rescale(1 / 1.5);
  else if (key === "Escape" || key === "0") rescale(0);
  else return;
  event.preventDefault();
});
for (const button of root.querySelectorAll("[data-zoom]")) button.addEventListener("click", () => rescale(Number(button.dataset.zoom)));
list.addEventListener("toggle", () => { if (list.open && data) listed(); });
list.querySelector("input").addEventListener("input", listed);

function update() {
  if (!props.value) return;
  data = JSON.parse(props.value);
  draw();
  root.dataset.version = data.version;
}
watch("value", update);
update();
