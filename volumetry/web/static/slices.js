"use strict";
// CT and mask slice by slice on plain canvases: at full resolution also where a browser has no graphics card.
// Texts from the result reach the page through textContent alone, so that none of them can become markup.

const WINDOWS = [["Lung", 1500, -600], ["Mediastinum", 400, 40], ["Bone", 1800, 400]];  // width, level in HU
const PLANES = [
  { id: "axial", axis: 2, across: 0, down: 1, letters: ["R", "L", "A", "P"], upright: false },
  { id: "coronal", axis: 1, across: 0, down: 2, letters: ["R", "L", "H", "F"], upright: true },
  { id: "sagittal", axis: 0, across: 1, down: 2, letters: ["A", "P", "H", "F"], upright: true },
];
const STRENGTH = [0, 0.6, 1, 1, 1, 1];  // of the mask's opacity, by label: the lung's own grey must stay readable
const UNCLASSED = 4;  // the HU rule alone sets it
const isLung = (label) => label > 0 && label !== FLUID;
const LUNG_RGB = [70, 78, 88];
const DEEP_MM = 30;  // of lesion along the line of sight, at which the picture from the front has its full colour
const byId = (id) => document.getElementById(id);
const [, , caseId, priorId] = location.pathname.split("/");
const state = { window: 0, opacity: 0.4, shown: true, tool: "look", label: 2, radius: 6, lesion: -1, plane: PLANES[0], pointer: null, busy: false };
let facts = null;
let volume = null;
let earlier = null;  // facts, volume and lungs of the prior, if there is one
let edits = null;
let cross = [0, 0, 0];

function note(text, bad = false) {
  const line = document.createElement("p");
  line.textContent = text;
  line.className = bad ? "bad" : "";
  byId("notes").append(line);
  return line;
}

async function getJson(address) {
  const answer = await fetch(address);
  if (!answer.ok) throw new Error("the server answered " + answer.status);
  return answer.json();
}

// The voxels of a NIfTI-1 file, behind its header; `loaded` is told of the share that has come.
async function voxels(address, Kind, loaded) {
  const answer = await fetch(address);
  if (!answer.ok) throw new Error("the server answered " + answer.status);
  const whole = new Uint8Array(Number(answer.headers.get("content-length")));
  const reader = answer.body.getReader();
  for (let at = 0; ;) {
    const { done, value } = await reader.read();
    if (done) break;
    whole.set(value, at);
    at += value.length;
    loaded(at / whole.length);
  }
  return new Kind(whole.buffer, new DataView(whole.buffer).getFloat32(108, true));
}

// The array as it came, and how patient order (left, back, head) is found in it.
function volumeOf(hu, labels, of) {
  const [nk, nj, ni] = of.shape_kji;
  const counts = [ni, nj, nk];
  const strides = [1, ni, ni * nj];
  const lps = of.affine_ras.slice(0, 2).map((row) => row.map((v) => -v)).concat([of.affine_ras[2]]);
  const own = [0, 1, 2].map((n) => lps.map((row) => row[n]));  // direction of each array axis
  const order = [];
  for (const d of [2, 1, 0]) {  // the head first: the stack's own axis
    const free = [0, 1, 2].filter((n) => !order.includes(n));
    order[d] = free.reduce((best, n) => (Math.abs(own[n][d]) > Math.abs(own[best][d]) ? n : best));
  }
  const flipped = order.map((n, d) => own[n][d] < 0);
  const place = (d, at) => (flipped[d] ? counts[order[d]] - 1 - at : at) * strides[order[d]];
  const maps = order.map((n, d) => Int32Array.from({ length: counts[n] }, (_, at) => place(d, at)));
  return {
    hu, labels, order, flipped, maps,
    size: order.map((n) => counts[n]),
    step: order.map((n) => Math.hypot(...own[n])),
    at: (a, b, c) => maps[0][a] + maps[1][b] + maps[2][c],
    // Index along the array's own axis, which numbers and positions are counted by.
    ownIndex: (d, at) => (flipped[d] ? counts[order[d]] - 1 - at : at),
    mm: (voxel) => {
      const index = [];
      voxel.forEach((at, d) => { index[order[d]] = flipped[d] ? counts[order[d]] - 1 - at : at; });
      return lps.map((row) => row[0] * index[0] + row[1] * index[1] + row[2] * index[2] + row[3]);
    },
  };
}

const dot = (v, w) => v.reduce((sum, one, n) => sum + one * w[n], 0);
const normalOf = ([a, b, c], [x, y, z]) => [b * z - c * y, c * x - a * z, a * y - b * x];

const rgbOf = (label) => facts.labels.find((one) => one.value === label)?.rgb ?? [0, 0, 0];

// Colour of every grey under every label, as the canvas stores it.
function colourTable() {
  const table = new Uint32Array(STRENGTH.length * 256);
  for (let label = 0; label < STRENGTH.length; label++) {
    const part = state.shown ? STRENGTH[label] * state.opacity : 0;
    const rgb = rgbOf(label);
    for (let grey = 0; grey < 256; grey++) {
      const [r, g, b] = rgb.map((channel) => Math.round(grey + (channel - grey) * part));
      table[label * 256 + grey] = 0xff000000 | (b << 16) | (g << 8) | r;
    }
  }
  return table;
}

// One plane as a picture of its own resolution, made anew only where it shows something else than before.
function pictureOf(plane) {
  const key = [cross[plane.axis], state.window, state.shown, state.opacity, edits.version].join();
  if (plane.key === key) return plane.picture;
  plane.picture = painted(volume, plane, cross[plane.axis]);
  plane.key = key;
  return plane.picture;
}

function painted({ size, maps, hu, labels }, plane, slice) {
  const [width, height] = [size[plane.across], size[plane.down]];
  const image = new ImageData(width, height);
  const out = new Uint32Array(image.data.buffer);
  const [, span, level] = WINDOWS[state.window];
  const low = level - span / 2;
  const per = 255 / span;
  const base = maps[plane.axis][slice];
  const columns = maps[plane.across];
  const table = colourTable();
  for (let y = 0, n = 0; y < height; y++) {
    const row = base + maps[plane.down][plane.upright ? height - 1 - y : y];
    for (let x = 0; x < width; x++, n++) {
      const at = row + columns[x];
      const grey = hu === null ? 0 : (hu[at] - low) * per;
      out[n] = table[labels[at] * 256 + (grey < 0 ? 0 : grey > 255 ? 255 : grey | 0)];
    }
  }
  const picture = document.createElement("canvas");
  [picture.width, picture.height] = [width, height];
  picture.getContext("2d").putImageData(image, 0, 0);
  return picture;
}

// The whole mask from the front: lung as a shade, each lesion and fluid by its depth.
function frontPicture() {
  const { size, maps, labels, step } = volume;
  const [nx, ny, nz] = size;
  const depth = [null, ...Array.from({ length: STRENGTH.length - 1 }, () => new Uint16Array(nx * nz))];
  for (let c = 0; c < nz; c++)
    for (let b = 0; b < ny; b++) {
      const base = maps[2][c] + maps[1][b];
      for (let a = 0; a < nx; a++) {
        const label = labels[base + maps[0][a]];
        if (label) depth[label][a + nx * (nz - 1 - c)]++;
      }
    }
  const image = new ImageData(nx, nz);
  for (let n = 0; n < nx * nz; n++) {
    let rgb = depth[1][n] || depth[2][n] || depth[3][n] || depth[4][n] ? LUNG_RGB : [0, 0, 0];
    for (let label = 2; label < STRENGTH.length; label++) {
      if (!depth[label][n]) continue;
      const share = 0.25 + 0.75 * Math.min(1, (depth[label][n] * step[1]) / DEEP_MM);
      rgb = rgb.map((was, channel) => was + (rgbOf(label)[channel] - was) * share);
    }
    image.data.set([...rgb, 255], 4 * n);
  }
  const picture = document.createElement("canvas");
  [picture.width, picture.height] = [nx, nz];
  picture.getContext("2d").putImageData(image, 0, 0);
  return picture;
}

// Where in the canvas a picture of `across` x `down` mm lies, as large as it fits.
function fitted(canvas, across, down) {
  const ratio = window.devicePixelRatio || 1;
  const [width, height] = [Math.round(canvas.clientWidth * ratio), Math.round(canvas.clientHeight * ratio)];
  if (canvas.width !== width) canvas.width = width;
  if (canvas.height !== height) canvas.height = height;
  const scale = Math.min(width / across, height / down);
  return { left: (width - across * scale) / 2, top: (height - down * scale) / 2, scale, ratio };
}

function place(canvas, picture, across, down, letters) {
  const where = fitted(canvas, across, down);
  const brush = canvas.getContext("2d");
  brush.fillStyle = "#000";
  brush.fillRect(0, 0, canvas.width, canvas.height);
  brush.drawImage(picture, where.left, where.top, across * where.scale, down * where.scale);
  brush.fillStyle = "#fff";
  brush.font = `600 ${13 * where.ratio}px system-ui, sans-serif`;
  brush.textBaseline = "middle";
  const [w, h, edge] = [canvas.width, canvas.height, 12 * where.ratio];
  brush.textAlign = "center";
  brush.strokeStyle = "#000"; // a letter on white tissue is seen by its rim
  brush.lineWidth = 3 * where.ratio;
  [[edge, h / 2], [w - edge, h / 2], [w / 2, edge], [w / 2, h - edge]].forEach(([x, y], n) => {
    brush.strokeText(letters[n], x, y);
    brush.fillText(letters[n], x, y);
  });
  return { brush, where };
}

function drawPlane(plane) {
  const started = performance.now();
  const { size, step } = volume;
  const [across, down] = [size[plane.across] * step[plane.across], size[plane.down] * step[plane.down]];
  const { brush, where } = place(byId(plane.id), pictureOf(plane), across, down, plane.letters);
  const x = where.left + (cross[plane.across] + 0.5) * step[plane.across] * where.scale;
  const row = plane.upright ? size[plane.down] - 1 - cross[plane.down] : cross[plane.down];
  const y = where.top + (row + 0.5) * step[plane.down] * where.scale;
  const gap = 8 * where.ratio;
  brush.strokeStyle = "rgba(51, 230, 255, .8)";
  brush.beginPath();
  for (const [x0, y0, x1, y1] of [[0, y, x - gap, y], [x + gap, y, brush.canvas.width, y], [x, 0, x, y - gap], [x, y + gap, x, brush.canvas.height]]) {
    brush.moveTo(x0, y0);
    brush.lineTo(x1, y1);
  }
  brush.stroke();
  plane.where = where;
  drawRing(plane, brush);
  plane.ms = performance.now() - started;
}

// What the brush or the eraser would reach, around the pointer.
function drawRing(plane, brush) {
  if (state.pointer?.plane !== plane || !["brush", "erase"].includes(state.tool)) return;
  const { scale, ratio } = plane.where;
  brush.beginPath();
  brush.arc(state.pointer.x * ratio, state.pointer.y * ratio, state.radius * scale, 0, 2 * Math.PI);
  brush.strokeStyle = "#fff";
  brush.stroke();
}

// One plane as large as the window, or all of them again.
function enlarge(plane) {
  const alone = byId("grid").classList.toggle("alone");
  for (const figure of document.querySelectorAll("#grid .plane"))
    figure.classList.toggle("large", alone && figure.firstElementChild.id === plane.id);
  draw();
  drawFront();
}

// First and last axial slice with lung, from the feet.
function lungEnds({ size, maps, labels }) {
  const within = [];
  for (let c = 0; c < size[2]; c++) {
    const found = maps[1].some((b) => maps[0].some((a) => isLung(labels[maps[2][c] + b + a])));
    if (found) within.push(c);
  }
  return [within[0] ?? 0, within.at(-1) ?? size[2] - 1];
}

// The earlier slice at the same share of the height of the lungs: two scans share no coordinates.
function earlierSlice() {
  const [low, high] = earlier.now;
  const [oldLow, oldHigh] = earlier.then;
  const share = (cross[2] - low + 0.5) / (high - low + 1);
  return clamp(Math.floor(oldLow + share * (oldHigh - oldLow + 1)), earlier.volume.size[2]);
}

function imageNumber(of, vol, voxel) {
  const stack = vol.order.indexOf(2);  // the direction in which the scanner's own images follow each other
  return of.image_numbers[vol.ownIndex(stack, voxel[stack])];
}

function drawEarlier() {
  const { size, step } = earlier.volume;
  const slice = earlierSlice();
  const picture = painted(earlier.volume, PLANES[0], slice);
  const { brush, where } = place(byId("front"), picture, size[0] * step[0], size[1] * step[1], PLANES[0].letters);
  const number = imageNumber(earlier.facts, earlier.volume, [0, 0, slice]);
  const date = (earlier.facts.acquisition_date ?? "").replace(/^(\d{4})(\d\d)(\d\d)$/, "$1-$2-$3");
  const said = [`Earlier ${date}`.trim(), `slice ${slice + 1} of ${size[2]}`];
  if (number !== undefined && number !== null) said.push(`image ${number}`);
  brush.textAlign = "left";
  brush.fillText(said.join(" \u00b7 "), 12 * where.ratio, 30 * where.ratio);
  earlier.slice = slice;
}

let front = null;
function drawFront() {
  if (earlier) { drawEarlier(); return; }
  const { size, step } = volume;
  if (front?.version !== edits.version) front = { picture: frontPicture(), version: edits.version };
  place(byId("front"), front.picture, size[0] * step[0], size[2] * step[2], ["R", "L", "H", "F"]);
}

function draw() {
  for (const plane of PLANES) drawPlane(plane);
  if (earlier) drawEarlier();
  readOut();
}

function readOut() {
  const at = volume.at(...cross);
  const number = imageNumber(facts, volume, cross);
  const [x, y, z] = volume.mm(cross);
  const side = (mm, plus, minus) => `${mm >= 0 ? plus : minus} ${Math.abs(mm).toFixed(1)}`;
  const parts = [`axial slice ${cross[2] + 1} of ${volume.size[2]} from the feet`];
  if (number !== undefined && number !== null) parts.push(`image ${number}`);
  else parts.push(`slice ${volume.ownIndex(2, cross[2])} in the report, counted from 0`);
  parts.push(`${side(x, "L", "R")}  ${side(y, "P", "A")}  ${side(z, "S", "I")} mm`);
  if (volume.hu) parts.push(`${volume.hu[at]} HU`);
  parts.push(facts.labels.find((one) => one.value === volume.labels[at])?.name ?? "Outside the lungs");
  document.querySelector(".at").textContent = parts.join("  \u00b7  ");
}

const clamp = (value, count) => Math.max(0, Math.min(count - 1, value));

function voxelAt(plane, event) {
  const box = byId(plane.id).getBoundingClientRect();
  const { left, top, scale, ratio } = plane.where;
  const voxel = [...cross];
  const x = ((event.clientX - box.left) * ratio - left) / scale / volume.step[plane.across];
  const y = ((event.clientY - box.top) * ratio - top) / scale / volume.step[plane.down];
  const row = plane.upright ? volume.size[plane.down] - 1 - Math.floor(y) : Math.floor(y);
  voxel[plane.across] = clamp(Math.floor(x), volume.size[plane.across]);
  voxel[plane.down] = clamp(row, volume.size[plane.down]);
  return voxel;
}

function scroll(plane, slices) {
  cross[plane.axis] = clamp(cross[plane.axis] + slices, volume.size[plane.axis]);
  draw();
}

let waiting = null;
function changed() {
  draw();
  clearTimeout(waiting);
  waiting = setTimeout(drawFront, 300);
  sayEdited();
}

// A mask that is not the current one can be saved as it is, to become it.
function sayEdited() {
  byId("undo").disabled = !edits.done.length;
  byId("save").disabled = edits.changed === 0 && facts.shown === facts.current;
}

function paintLine(plane, from, to) {
  const steps = Math.max(1, ...from.map((at, d) => Math.abs(to[d] - at)));
  const how = { erase: state.tool === "erase", within: byId("within").checked };
  for (let n = 0; n <= steps; n++) {
    const centre = from.map((at, d) => Math.round(at + ((to[d] - at) * n) / steps));
    edits.paint(plane.axis, centre, state.radius, state.label, how);
  }
}

function addPointer(plane) {
  const canvas = byId(plane.id);
  let last = null;
  canvas.addEventListener("pointerdown", (event) => {
    const voxel = voxelAt(plane, event);
    state.plane = plane;
    if (state.busy && state.tool !== "look") return;
    if (state.tool === "relabel") { edits.relabel(voxel, state.label); changed(); return; }
    canvas.setPointerCapture(event.pointerId);
    last = voxel;
    if (state.tool === "look") { cross = voxel; draw(); return; }
    edits.begin();
    paintLine(plane, voxel, voxel);
    drawPlane(plane);
  });
  canvas.addEventListener("pointermove", (event) => {
    const box = canvas.getBoundingClientRect();
    state.pointer = { plane, x: event.clientX - box.left, y: event.clientY - box.top };
    if (!last) { if (state.tool !== "look") drawPlane(plane); return; }
    const voxel = voxelAt(plane, event);
    if (state.tool === "look") { cross = voxel; draw(); return; }
    paintLine(plane, last, voxel);
    last = voxel;
    drawPlane(plane);
  });
  const up = () => {
    if (last && state.tool !== "look") { edits.end(); changed(); }
    last = null;
  };
  canvas.addEventListener("pointerup", up);
  canvas.addEventListener("pointercancel", up);
  canvas.addEventListener("pointerenter", () => { state.plane = plane; });
  canvas.addEventListener("pointerleave", () => { state.pointer = null; drawPlane(plane); });
  canvas.addEventListener("dblclick", () => { if (state.tool === "look") enlarge(plane); });
  canvas.addEventListener("wheel", (event) => { event.preventDefault(); scroll(plane, event.deltaY < 0 ? 1 : -1); }, { passive: false });
}

function pick(group, name, value) {
  state[name] = value;
  for (const button of document.querySelectorAll(`[data-${group}]`))
    button.setAttribute("aria-pressed", String(button.dataset[group] === String(value)));
}

function setWindow(n) { pick("window", "window", n); draw(); }
function setRadius(mm) {
  state.radius = Math.max(1, Math.min(30, mm));
  byId("radius").value = state.radius;
  byId("radius-said").textContent = `${state.radius} mm`;
}

function showLesion(number) {
  if (!facts.lesions.length) return;
  state.lesion = number % facts.lesions.length;
  const lesion = facts.lesions[state.lesion];
  const [x, y, z] = lesion.ras_mm;
  const origin = volume.mm([0, 0, 0]);
  const step = [0, 1, 2].map((d) => volume.mm([0, 1, 2].map((n) => (n === d ? 1 : 0))).map((mm, n) => mm - origin[n]));
  const away = [-x, -y, z].map((mm, n) => mm - origin[n]);
  // A tilted gantry leaves a sheared stack: steps along an axis are counted across the plane of the two others.
  cross = step.map((along, d) => {
    const normal = normalOf(step[(d + 1) % 3], step[(d + 2) % 3]);
    return clamp(Math.round(dot(away, normal) / dot(along, normal)), volume.size[d]);
  });
  byId("next").textContent = `Next (${state.lesion + 1} of ${facts.lesions.length}: ${lesion.ml.toFixed(1)} mL)`;
  draw();
}

// To a voxel of the array as it came (i, j, k).
function goTo(own) {
  cross = [0, 1, 2].map((d) => volume.ownIndex(d, own[volume.order[d]]));
  draw();
}

// Where in the window the cross of a plane stands.
function screenOf(id) {
  const plane = PLANES.find((one) => one.id === id);
  const box = byId(id).getBoundingClientRect();
  const { left, top, scale, ratio } = plane.where;
  const row = plane.upright ? volume.size[plane.down] - 1 - cross[plane.down] : cross[plane.down];
  return [box.left + (left + (cross[plane.across] + 0.5) * volume.step[plane.across] * scale) / ratio,
    box.top + (top + (row + 0.5) * volume.step[plane.down] * scale) / ratio];
}

function edit(act) {
  if (!facts.can_correct || state.busy) return;
  act();
  changed();
}

const KEYS = {
  1: () => setWindow(0), 2: () => setWindow(1), 3: () => setWindow(2),
  x: () => enlarge(state.plane),
  m: () => { state.shown = !state.shown; draw(); },
  l: () => showLesion(0), n: () => showLesion(state.lesion + 1),
  v: () => pick("tool", "tool", "look"),
  b: () => edit(() => pick("tool", "tool", "brush")), e: () => edit(() => pick("tool", "tool", "erase")),
  r: () => edit(() => pick("tool", "tool", "relabel")),
  "[": () => setRadius(state.radius - 1), "]": () => setRadius(state.radius + 1),
  f: () => edit(() => edits.fill(state.label, byId("within").checked)),
  g: () => edit(() => edits.smooth(cross[2], state.label, byId("within").checked)),
  z: () => edit(() => edits.undo()),
  ArrowUp: () => scroll(state.plane, 1), ArrowDown: () => scroll(state.plane, -1),
  PageUp: () => scroll(state.plane, 10), PageDown: () => scroll(state.plane, -10),
  "?": () => byId("help").showModal(),
};

// A list or a slider takes the arrow and page keys, unless the pointer is over a plane: they then scroll its slices.
const isOfControl = (event) => event.key.length > 1 && !state.pointer && event.target.matches("select, [type=range]");

function pressed(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || byId("help").open || byId("saving").open) return;
  const act = KEYS[event.key.length === 1 ? event.key.toLowerCase() : event.key];
  if (!act || isOfControl(event)) return;
  event.preventDefault();
  if (!edits.current) act();  // nothing else happens in the middle of a stroke
}

function button(parent, group, value, text, title) {
  const one = document.createElement("button");
  Object.assign(one, { type: "button", textContent: text, title });
  one.dataset[group] = value;
  byId(parent).append(one);
  return one;
}

function addControls() {
  WINDOWS.forEach(([name, width, level], n) => {
    const text = `${name} W ${width} L ${level}`.replace("-", "\u2212");
    button("windows", "window", n, text, `Key ${n + 1}`).addEventListener("click", () => setWindow(n));
  });
  byId("opacity").addEventListener("input", (event) => { state.shown = true; state.opacity = Number(event.target.value); draw(); });
  byId("largest").addEventListener("click", () => showLesion(0));
  byId("next").addEventListener("click", () => showLesion(state.lesion + 1));
  byId("help-button").addEventListener("click", () => byId("help").showModal());
  byId("tools").hidden = !facts.can_correct;
  for (const label of facts.labels.filter((one) => one.value !== UNCLASSED)) {
    const one = button("label-choice", "label", label.value, label.name, "Label that the tools set");
    const swatch = document.createElement("span");
    swatch.className = "swatch";
    swatch.style.background = `rgb(${label.rgb})`;
    one.prepend(swatch);
    one.addEventListener("click", () => pick("label", "label", label.value));
  }
  for (const one of document.querySelectorAll("[data-tool]")) one.addEventListener("click", () => pick("tool", "tool", one.dataset.tool));
  byId("radius").addEventListener("input", (event) => setRadius(Number(event.target.value)));
  for (const [id, key] of [["fill", "f"], ["smooth", "g"], ["undo", "z"]]) byId(id).addEventListener("click", KEYS[key]);
  byId("save").addEventListener("click", askWhy);
  byId("send").addEventListener("click", send);
  byId("cancel").addEventListener("click", () => byId("saving").close());
  byId("readings").addEventListener("change", choose);
  pick("label", "label", state.label);
  setRadius(state.radius);
  window.addEventListener("keydown", pressed);
  window.addEventListener("resize", () => { draw(); drawFront(); });
  window.addEventListener("beforeunload", (event) => { if (edits.changed) event.preventDefault(); });
}

// What is said of the mask that is shown; what was said of another one goes.
function sayVerdict() {
  byId("verdict").textContent = `${facts.scan_id}: ${facts.sentence}`;
  sayReading(facts);
  for (const line of document.querySelectorAll("#notes .of-mask")) line.remove();
  for (const said of linesOf(facts.flags)) note(said).className = "of-mask";
  const query = facts.shown === facts.current ? "" : queryOf(facts.shown);
  byId("report").hidden = !facts.has_report;
  byId("report").href = `/cases/${caseId}/report.html${queryOf(facts.shown)}`;
  byId("solid").hidden = !facts.has_viewer;
  byId("solid").href = `/viewer/${[caseId, priorId].filter(Boolean).join("/")}${query}`;
  byId("largest").disabled = byId("next").disabled = !facts.lesions.length;
  byId("next").textContent = "Next";
  state.lesion = -1;
}

const maskOf = (id, of, loaded) => voxels(`/cases/${id}/whole/mask.nii${queryOf(of.shown)}`, Uint8Array, loaded);

// Another mask at the same place of the scan; `query` names it as the address does.
async function show(query) {
  state.busy = true;
  try {
    const now = await getJson(`/cases/${caseId}/facts.json${query}`);
    const labels = await maskOf(caseId, now, () => {});
    facts = now;
    edits.begins(labels);
    if (earlier) earlier.now = lungEnds(volume);
    history.replaceState(null, "", location.pathname + (facts.shown === facts.current ? "" : queryOf(facts.shown)));
    sayVerdict();
    sayEdited();
    draw();
    drawFront();
    document.body.dataset.reading = facts.shown;
  } finally {
    state.busy = false;
  }
}

async function choose() {
  const wanted = Number(byId("readings").value);
  byId("readings").value = facts.shown;
  byId("readings").blur();  // else the next arrow key, meant for the slices, would choose another mask
  if (state.busy) return;
  if (edits.changed && !confirm("The changes on this page are not saved. Leave them and show the other mask?")) return;
  await show(queryOf(wanted)).catch((wrong) => note(`This mask cannot be shown: ${wrong.message}`, true));
}

async function stop() {
  const { csrf } = await getJson("/session.json");
  await fetch("/stop", { method: "POST", headers: { "X-CSRF-Token": csrf } });
  document.body.textContent = "Stopped. This page can be closed.";
}

async function loadEarlier() {
  const of = await getJson(`/cases/${priorId}/facts.json`);
  const ignore = () => {};
  const labels = await maskOf(priorId, of, ignore);
  const hu = of.has_ct ? await voxels(`/cases/${priorId}/whole/ct.nii`, Int16Array, ignore) : null;
  const then = volumeOf(hu, labels, of);
  earlier = { facts: of, volume: then, now: lungEnds(volume), then: lungEnds(then) };
  byId("front").setAttribute("aria-label", "Axial plane of the earlier scan at the same share of the height of the lungs");
  const where = "Lower right: the earlier scan at the same share of the height of the lungs; the scans are not registered.";
  if (of.shown) note(`Of the earlier scan, ${maskName(of, of.shown)} is shown.`);
  note(of.has_ct ? where : `${where} Its CT was not given: the mask is shown alone.`);
}

async function main() {
  byId("stop").addEventListener("click", stop);
  facts = await getJson(`/cases/${caseId}/facts.json${askedReading()}`);
  sayVerdict();
  if (!facts.has_ct) note("There is no CT with this result: the mask is shown alone. With the command view, add --scan FOLDER.");
  if (facts.why_not_correct) note(`The mask cannot be corrected on this page: ${facts.why_not_correct}`);
  if (facts.temporary && facts.can_correct) note("Results and corrections of this server are removed when it ends. To keep them, start it with --keep FOLDER.");
  const shares = [0, facts.has_ct ? 0 : 1];
  const loaded = (n) => (share) => { shares[n] = share; byId("progress").value = (shares[0] + 2 * shares[1]) / 3; };
  const labels = await maskOf(caseId, facts, loaded(0));
  const hu = facts.has_ct ? await voxels(`/cases/${caseId}/whole/ct.nii`, Int16Array, loaded(1)) : null;
  volume = volumeOf(hu, labels.slice(), facts);
  if (priorId) await loadEarlier();
  edits = new Edits(volume, labels);
  cross = volume.size.map((count) => count >> 1);
  byId("loading").hidden = true;
  addControls();
  PLANES.forEach(addPointer);
  setWindow(0);
  drawFront();
  sayEdited();
  showLesion(0);
  window.volumetry = { volume, earlier, edits, state, planes: PLANES, goTo, screenOf };
  document.body.dataset.reading = facts.shown;
  document.body.dataset.state = "ready";
}

main().catch((wrong) => {
  note(`The images cannot be shown: ${wrong.message}`, true);
  document.body.dataset.state = "failed";
});
