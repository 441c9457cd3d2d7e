"use strict";
// Texts from the result reach the page through textContent alone, so that none of them can become markup.

const WINDOW_HU = { lung: [-1350, 150], soft: [-160, 240] };
const BODY_HU = [-300, 500];  // in 3-D: air is clear, the body a faint shell around the lesions
const BODY_OPACITY = 0.25;
const LUNG = 1;                // the label of aerated lung
const LUNG_IN_SLICES = 0.6;    // of the mask's opacity: the lung's own grey must stay readable
const LUNG_IN_3D = 0.02;       // of each step along the line of sight: what lies in the lung shows through it
const LESION_IN_3D = 0.8;
const FROM_THE_FRONT = [180, 10];
const KEY_VIEW = { x: "multi", a: "axial", c: "coronal", s: "sagittal", d: "render" };
const SOFTWARE = /swiftshader|llvmpipe|softpipe|software|basic render/i;
const byId = (id) => document.getElementById(id);

const state = { view: "multi", window: "lung", opacity: 0.4, shown: true, hidden: new Set(), lesion: -1 };
const panes = [];

function note(text, bad = false) {
  const line = document.createElement("p");
  line.textContent = text;
  line.className = bad ? "bad" : "";
  byId("notes").append(line);
}

function rendererName() {
  const gl = document.createElement("canvas").getContext("webgl2");
  if (!gl) return null;
  const info = gl.getExtension("WEBGL_debug_renderer_info");
  const name = String(gl.getParameter(info ? info.UNMASKED_RENDERER_WEBGL : gl.RENDERER));
  gl.getExtension("WEBGL_lose_context")?.loseContext();
  return name;
}

async function getJson(address) {
  const answer = await fetch(address);
  if (!answer.ok) throw new Error("the server answered " + answer.status);
  return answer.json();
}

// One visit: its canvas, its NiiVue, its read-out.
async function openPane(id, title, wantsReduced, query) {
  const facts = await getJson(`/cases/${id}/facts.json${query}`);
  const box = document.createElement("section");
  box.className = "pane";
  box.innerHTML = '<h2></h2><div class="frame"><canvas tabindex="0" role="img"></canvas></div><p class="at" aria-live="polite"></p>';
  box.querySelector("h2").textContent = title ? `${title}: ${facts.scan_id}` : facts.scan_id;
  const canvas = box.querySelector("canvas");
  canvas.setAttribute("aria-label", "CT with mask; the line below reads out the voxel under the cross");
  byId("panes").append(box);

  const pane = { facts, box, at: box.querySelector(".at"), reduced: wantsReduced && facts.thinning > 1 };
  const nv = new niivue.Niivue({
    isRadiologicalConvention: true, dragAndDropEnabled: false, logLevel: "error", loadingText: "loading",
    backColor: [0, 0, 0, 1], crosshairColor: [0.2, 0.9, 1, 0.8], crosshairGap: 6, crosshairWidth: 1.2, crosshairWidthUnit: "mm", fontColor: [1, 0.6, 0.1, 1], // seen on white bone and on black air
    sagittalNoseLeft: true, // as in the report and on the slices page
    multiplanarShowRender: niivue.SHOW_RENDER.ALWAYS,
    multiplanarLayout: niivue.MULTIPLANAR_TYPE.GRID, onLocationChange: (where) => located(pane, where),
  });
  pane.nv = nv;
  await nv.attachToCanvas(canvas);
  const copy = `/cases/${id}/${pane.reduced ? "reduced" : "whole"}`;
  await nv.loadVolumes([
    { url: `${copy}/ct.nii`, colormap: "gray", cal_min: WINDOW_HU.lung[0], cal_max: WINDOW_HU.lung[1] },
    { url: `${copy}/mask.nii${queryOf(facts.shown)}`, name: "mask.nii", opacity: LUNG_IN_3D },
  ]);
  layLesions(nv);
  seeThrough(nv);
  nv.setRenderAzimuthElevation(...FROM_THE_FRONT);
  panes.push(pane);
  return pane;
}

// An overlay's labels are all as strong as each other. So the overlay shows the lung alone, faintly, and the lesions
// lie over it as NiiVue's drawing, which has an opacity of its own.
function layLesions(nv) {
  const { hdr, permRAS, img } = nv.volumes[1];
  nv.loadDrawing({ hdr, permRAS, img: Uint8Array.from(img, (label) => (label === LUNG ? 0 : label)) });
}

// In 3-D, in a tile or alone, lesions are solid and the CT must not hide them, whatever the slices show.
function seeThrough(nv) {
  const draw = nv.drawImage3D.bind(nv);
  nv.drawImage3D = (...how) => {
    const inSlices = nv.drawOpacity;
    nv.drawOpacity = state.shown ? LESION_IN_3D : 0;
    nv.renderShader.use(nv.gl);
    nv.gl.uniform1f(nv.renderShader.uniforms.backOpacity, state.view === "render" ? BODY_OPACITY : 0);
    draw(...how);
    nv.drawOpacity = inSlices;
  };
}

function colourTable(pane, isDrawn) {
  const table = { R: [0], G: [0], B: [0], A: [0], I: [0], labels: ["Outside"] };
  for (const label of pane.facts.labels) {
    table.R.push(label.rgb[0]); table.G.push(label.rgb[1]); table.B.push(label.rgb[2]);
    table.A.push(isDrawn(label.value) && !state.hidden.has(label.value) ? 255 : 0);
    table.I.push(label.value); table.labels.push(label.name);
  }
  return table;
}

function paint() {
  const inSlices = state.shown ? state.opacity : 0;
  for (const pane of panes) {
    const { nv } = pane;
    nv.volumes[1].setColormapLabel(colourTable(pane, (label) => label === LUNG));
    nv.volumes[1].opacity = state.shown ? LUNG_IN_3D : 0;
    nv.overlayAlphaShader = (inSlices * LUNG_IN_SLICES) / LUNG_IN_3D;
    nv.drawOpacity = inSlices;
    [nv.volumes[0].cal_min, nv.volumes[0].cal_max] = state.view === "render" ? BODY_HU : WINDOW_HU[state.window];
    nv.setDrawColormap(colourTable(pane, (label) => label !== LUNG));  // and draws it all anew
  }
  for (const button of document.querySelectorAll("[data-window]"))
    button.setAttribute("aria-pressed", String(button.dataset.window === state.window));
}

function turn(view) {
  state.view = view;
  for (const { nv } of panes) {
    const types = { multi: nv.sliceTypeMultiplanar, axial: nv.sliceTypeAxial, coronal: nv.sliceTypeCoronal,
      sagittal: nv.sliceTypeSagittal, render: nv.sliceTypeRender };
    nv.setSliceType(types[view]);
  }
  for (const button of document.querySelectorAll("[data-view]"))
    button.setAttribute("aria-pressed", String(button.dataset.view === view));
  paint();
}

const side = (mm, plus, minus) => `${mm >= 0 ? plus : minus} ${Math.abs(mm).toFixed(1)}`;

// The slice of the scanner's own stack, and its image number where the CT was given as DICOM.
function sliceOf(pane, where) {
  const { affine_ras: a, shape_kji: shape, image_numbers: numbers } = pane.facts;
  const [[ix, iy, iz], [jx, jy, jz], step] = [0, 1, 2].map((axis) => [0, 1, 2].map((n) => a[n][axis]));
  // Across the slices, not along the step from one to the next: a tilted gantry leaves a sheared stack.
  const normal = [iy * jz - iz * jy, iz * jx - ix * jz, ix * jy - iy * jx];
  const along = (v) => normal.reduce((sum, across, n) => sum + across * v[n], 0);
  const slice = Math.round(along([0, 1, 2].map((n) => where.mm[n] - a[n][3])) / along(step));
  if (slice < 0 || slice >= shape[0]) return [];
  const number = numbers[slice];
  return [`slice ${slice + 1} of ${shape[0]}${number === undefined || number === null ? "" : `, image ${number}`}`];
}

function located(pane, where) {
  const [x, y, z] = where.mm;
  const tissue = pane.facts.labels.find((label) => label.value === Math.round(where.values[1]?.value ?? 0));
  const parts = [`${side(x, "R", "L")}  ${side(y, "A", "P")}  ${side(z, "S", "I")} mm`];
  if (pane.facts.has_ct) parts.push(`${Math.round(where.values[0].value)} HU`);
  parts.push(...sliceOf(pane, where), tissue ? tissue.name : "Outside the lungs");
  pane.at.textContent = parts.join("  ·  ");
  pane.mm = [x, y, z];
  follow(pane);
}

function goTo(pane, mm) {
  pane.nv.scene.crosshairPos = pane.nv.mm2frac(mm);
  pane.nv.drawScene();
  pane.nv.createOnLocationChange();
}

// Two visits share no coordinates. They are linked by the place within the lungs' box: half-way up is half-way up.
let following = false;
function follow(pane) {
  if (following || panes.length < 2 || !byId("link").checked) return;
  const from = pane.facts.lung_box_ras_mm;
  following = true;
  for (const other of panes) {
    const to = other.facts.lung_box_ras_mm;
    if (other === pane || !from || !to) continue;
    goTo(other, pane.mm.map((v, n) => to[0][n] + (v - from[0][n]) / (from[1][n] - from[0][n]) * (to[1][n] - to[0][n])));
  }
  following = false;
}

function showLesion(number) {
  const lesions = panes[0].facts.lesions;
  if (!lesions.length) return;
  state.lesion = number % lesions.length;
  const lesion = lesions[state.lesion];
  goTo(panes[0], lesion.ras_mm);
  byId("next").textContent = `Next (${state.lesion + 1} of ${lesions.length}: ${lesion.ml.toFixed(1)} mL)`;
}

function scroll(slices) {
  const pane = panes.find((one) => one.box.contains(document.activeElement)) ?? panes[0];
  pane.nv.moveCrosshairInVox(0, 0, slices);
  pane.nv.createOnLocationChange();
}

function fade(by) {
  state.shown = true;
  state.opacity = Math.min(1, Math.max(0, Math.round((state.opacity + by) * 20) / 20));
  byId("opacity").value = state.opacity;
  paint();
}

const KEYS = {
  1: () => { state.window = "lung"; paint(); },
  2: () => { state.window = "soft"; paint(); },
  m: () => { state.shown = !state.shown; paint(); },
  "+": () => fade(0.1), "=": () => fade(0.1), "-": () => fade(-0.1),
  l: () => showLesion(0), n: () => showLesion(state.lesion + 1),
  ArrowUp: () => scroll(1), ArrowDown: () => scroll(-1), PageUp: () => scroll(10), PageDown: () => scroll(-10),
  "?": () => byId("help").showModal(),
};
for (const key in KEY_VIEW) KEYS[key] = () => turn(KEY_VIEW[key]);

// In the capture phase and to the end: NiiVue has keys of its own, which would answer as well.
function pressed(event) {
  if (event.key === "Tab" || event.ctrlKey || event.metaKey || event.altKey || byId("help").open) return;
  if (event.target.matches("input[type=range]") && event.key.startsWith("Arrow")) return;
  if (event.target.matches("select")) return;
  if (event.target.tagName === "CANVAS") event.stopImmediatePropagation();
  const act = KEYS[event.key.length === 1 ? event.key.toLowerCase() : event.key];
  if (!act || event.type !== "keydown" || !panes.length) return;
  event.preventDefault();
  act();
}
window.addEventListener("keydown", pressed, true);
window.addEventListener("keyup", pressed, true);

function addLabels() {
  for (const label of panes[0].facts.labels) {
    if (!panes.some((pane) => pane.facts.labels.some((one) => one.value === label.value && one.present))) continue;
    const box = document.createElement("label");
    const input = document.createElement("input");
    const swatch = document.createElement("span");
    input.type = "checkbox";
    input.checked = true;
    input.dataset.label = label.value;
    swatch.className = "swatch";
    swatch.style.background = `rgb(${label.rgb})`;
    input.addEventListener("change", () => {
      input.checked ? state.hidden.delete(label.value) : state.hidden.add(label.value);
      paint();
    });
    box.append(input, swatch, label.name);
    byId("labels").append(box);
  }
}

function addListeners() {
  for (const button of document.querySelectorAll("[data-view]")) button.addEventListener("click", () => turn(button.dataset.view));
  for (const button of document.querySelectorAll("[data-window]"))
    button.addEventListener("click", () => { state.window = button.dataset.window; paint(); });
  byId("opacity").addEventListener("input", (event) => { state.shown = true; state.opacity = Number(event.target.value); paint(); });
  byId("largest").addEventListener("click", () => showLesion(0));
  byId("next").addEventListener("click", () => showLesion(state.lesion + 1));
  byId("help-button").addEventListener("click", () => byId("help").showModal());
}

async function stop() {
  const { csrf } = await getJson("/session.json");
  await fetch("/stop", { method: "POST", headers: { "X-CSRF-Token": csrf } });
  document.body.textContent = "Stopped. This page can be closed.";
}

function sayVerdict(facts, id) {
  byId("verdict").textContent = facts.sentence;
  sayReading(facts);
  byId("readings").addEventListener("change", () => { location.search = queryOf(Number(byId("readings").value)); });
  for (const said of linesOf(facts.flags)) note(said);
  if (!facts.has_ct) note("No CT was given with this result: the mask is shown alone. Add --scan FOLDER to see the images.");
  byId("slices").href = `/slices/${id}${facts.shown === facts.current ? "" : queryOf(facts.shown)}`;
  byId("report").hidden = !facts.has_report;
  byId("report").href = `/cases/${id}/report.html${queryOf(facts.shown)}`;
  byId("largest").disabled = byId("next").disabled = !facts.lesions.length;
}

async function main() {
  byId("stop").addEventListener("click", stop);
  const ids = location.pathname.split("/").slice(2);
  // The numbers and the report's link come before anything that may be slow or fail.
  const first = await getJson(`/cases/${ids[0]}/facts.json${askedReading()}`);
  sayVerdict(first, ids[0]);
  const renderer = rendererName();
  if (renderer === null) throw new Error("this browser has no WebGL 2, which the images need");
  if (!window.niivue) throw new Error("this installation was built without the viewer's script");
  const software = SOFTWARE.test(renderer) && !location.search.includes("whole");
  const titles = ids.length > 1 ? ["This visit", "Earlier visit"] : [""];
  for (const [n, id] of ids.entries()) await openPane(id, titles[n], software, n === 0 ? queryOf(first.shown) : "");
  if (panes.some((pane) => pane.reduced))
    note(`This browser draws without a graphics card: of every ${Math.max(...panes.map((p) => p.facts.thinning))} voxels ` +
      "in a line one is shown, and small lesions may be missing here. The numbers are from the whole scan. " +
      "The page Slices shows everything, also without a graphics card.");
  for (const { facts } of panes.slice(1)) if (facts.shown) note(`Of the earlier visit, ${maskName(facts, facts.shown)} is shown.`);
  byId("link-label").hidden = panes.length < 2;
  if (panes.length > 1) note("The visits are linked by the place within the lungs; they are not registered.");
  addLabels();
  addListeners();
  turn("multi");
  panes[0].facts.lesions.length ? showLesion(0) : goTo(panes[0], middle(panes[0].facts.lung_box_ras_mm));
  window.volumetry = { panes, state };
  document.body.dataset.state = "ready";
}

const middle = (box) => (box ? box[0].map((low, n) => (low + box[1][n]) / 2) : [0, 0, 0]);

main().catch((wrong) => {
  note(`The images cannot be shown: ${wrong.message}`, true);
  document.body.dataset.state = "failed";
});
