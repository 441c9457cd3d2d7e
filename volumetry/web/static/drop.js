"use strict";
// Texts from a scan reach the page through textContent alone, so that none of them can become markup.

const STAGE_NAMES = { upload: "sending", unpack: "unpacking", read: "reading and checking the series",
  segment: "finding lungs and lesions", measure: "measuring", deliver: "writing results" };
const AT_ONCE = 4;
const POLL_MS = 500;
const byId = (id) => document.getElementById(id);
let csrf = null;

async function ask(method, path, body) {
  csrf ??= (await (await fetch("/session.json")).json()).csrf;
  const answer = await fetch(path, { method, body, headers: { "X-CSRF-Token": csrf } });
  if (!answer.ok && answer.status !== 413) {
    const said = await answer.json().catch(() => ({}));
    throw new Error(said.message ?? said.detail ?? `the server answered ${answer.status}`);
  }
  return answer;
}

function newCard(title) {
  const card = byId("job").content.cloneNode(true).firstElementChild;
  card.querySelector("h2").textContent = title;
  byId("jobs").prepend(card);
  return card;
}

function line(card, text, bad = false) {
  const words = document.createElement("p");
  words.textContent = text;
  words.className = bad ? "bad" : "";
  card.querySelector(".words").append(words);
}

function showStages(card, stages, now) {
  const list = card.querySelector(".stages");
  const at = stages.indexOf(now);
  list.replaceChildren(...stages.map((stage, n) => {
    const item = document.createElement("li");
    item.textContent = STAGE_NAMES[stage] ?? stage;
    if (n < at || now === "done") item.className = "done";
    else if (n === at) item.setAttribute("aria-current", "step");
    return item;
  }));
  card.querySelector("progress").value = now === "done" ? 1 : at / stages.length;
}

// Files are sent without their names, a few at a time; one that is refused ends the upload.
async function send(job, files, isZip, card) {
  const queue = [...files];
  let sent = 0;
  let refused = false;
  async function worker() {
    while (queue.length && !refused) {
      const answer = await ask("PUT", `/jobs/${job}/${isZip ? "zip" : "files"}`, queue.shift());
      refused ||= answer.status === 413;
      card.querySelector("progress").value = ++sent / files.length;
    }
  }
  const ends = await Promise.allSettled(Array.from({ length: AT_ONCE }, worker));
  const failed = ends.find((end) => end.status === "rejected");
  if (failed && !refused) throw failed.reason; // after a refusal the server turns the files under way down, too
  return !refused;
}

async function measure(files, isZip) {
  if (!files.length) {
    const card = newCard("New scan");
    line(card, "Nothing was sent: the browser found no file in what was chosen. Choose the folder again, or a ZIP of it.", true);
    card.querySelector("progress").hidden = true;
    card.dataset.state = "stopped";
    return;
  }
  await earlier; // a scan sent before the list of earlier scans was asked for would be listed as another page's
  const what = isZip ? "a ZIP" : `${files.length} files`;
  const card = newCard(`New scan: ${what}`);
  try {
    showStages(card, ["upload"], "upload");
    const { job, number } = await (await ask("POST", "/jobs")).json();
    card.querySelector("h2").textContent = `Scan ${number}: ${what}`;
    if (await send(job, files, isZip, card)) await ask("POST", `/jobs/${job}/start`);
    await watch(job, card);
  } catch (wrong) {
    line(card, `This scan could not be sent: ${wrong.message}`, true);
    card.dataset.state = "stopped";
  }
}

async function watch(job, card) {
  for (;;) {
    const facts = await (await ask("GET", `/jobs/${job}`)).json();
    if (showNow(job, facts, card)) break;
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}

// Whether the card says all there will be.
function showNow(job, facts, card) {
  showStages(card, ["upload", ...facts.stages], facts.state === "done" ? "done" : facts.stage ?? "upload");
  if (facts.state === "done") showResult(job, facts, card);
  if (facts.state === "stopped") showStop(facts, card);
  return facts.state === "done" || facts.state === "stopped";
}

// What this server, or one before it, has measured into the folder of this page.
async function showEarlier() {
  for (const facts of await (await ask("GET", "/jobs")).json()) {
    const card = newCard(`Scan ${facts.number}`);
    if (facts.state === "uploading") {
      showStages(card, ["upload"], "upload");
      line(card, "Another page was sending this scan. If that page is closed, drop the scan again; this upload is removed after 15 minutes.");
      card.dataset.state = "uploading";
    } else if (!showNow(facts.job, facts, card)) watch(facts.job, card);
  }
  document.body.dataset.state = "ready";
}
// A list that cannot be had keeps nobody from sending a scan.
const earlier = showEarlier().catch((wrong) => line(newCard("Earlier scans"), `The list of earlier scans could not be read: ${wrong.message}`, true));

// By the facts that were read of the scan; a title that is there stays if there are none.
function titled(facts, card) {
  const day = facts.acquired?.replace(/^(\d{4})(\d{2})(\d{2})$/, "$1-$2-$3");
  const parts = [facts.slices && `${facts.slices} slices`, day && `acquired ${day}`].filter(Boolean);
  if (parts.length) card.querySelector("h2").textContent = `Scan ${facts.number}: ${parts.join(", ")}`;
}

function showStop(facts, card) {
  titled(facts, card);
  card.querySelector("progress").hidden = true;
  if (!facts.stages.length) card.querySelector(".stages").replaceChildren(); // a stop before a restart
  line(card, `No number: ${facts.stop.message}`, true);
  line(card, `${facts.stop.hint} (${facts.stop.code})`);
  const more = facts.flags.filter((flag) => flag.severity === "refuse" && flag.message !== facts.stop.message);
  for (const flag of more) line(card, `Also: ${flag.message}. ${flag.hint} (${flag.code})`);
  card.dataset.state = "stopped";
}

function showResult(job, facts, card) {
  titled(facts, card);
  const figures = card.querySelector(".figures");
  figures.textContent = facts.sentence;
  figures.hidden = false;
  if (facts.correction) {
    const { reader, written, reason } = facts.correction;
    line(card, `Corrected by ${reader} on ${written.slice(0, 10)}: ${reason}. The automatic mask gave: ${facts.automatic_sentence}`);
  }
  for (const said of facts.reading_notes) line(card, said, true);
  const doubts = facts.flags.filter((flag) => flag.severity === "review");
  if (doubts.length) line(card, "A reader must look:", true);
  for (const flag of doubts) line(card, `${flag.message}. ${flag.hint} (${flag.code})`);
  for (const flag of facts.flags.filter((one) => one.severity === "look")) line(card, `Noted: ${flag.message} (${flag.code})`);
  const links = card.querySelector(".links");
  const link = (text, address) => {
    const a = document.createElement("a");
    Object.assign(a, { href: address, textContent: text, target: "_blank", rel: "noopener" });
    links.append(a);
  };
  if (facts.has_report) link("Open the report", `/cases/${job}/report.html`);
  if (facts.has_viewer) link("Open the viewer", `/viewer/${job}`);
  link("Open the slices, correct the mask", `/slices/${job}`);
  links.hidden = false;
  card.dataset.state = "done";
}

// A dropped folder is walked; readEntries gives at most a hundred entries at a time.
async function filesIn(entry) {
  if (entry.isFile) return [await new Promise((good, bad) => entry.file(good, bad))];
  const reader = entry.createReader();
  const found = [];
  for (;;) {
    const some = await new Promise((good, bad) => reader.readEntries(good, bad));
    if (!some.length) return found;
    for (const one of some) found.push(...await filesIn(one));
  }
}

const isZipFile = (file) => /\.zip$/i.test(file.name) || /zip/.test(file.type);

async function dropped(event) {
  event.preventDefault();
  byId("zone").classList.remove("over");
  const entries = [...event.dataTransfer.items].map((item) => item.webkitGetAsEntry()).filter(Boolean);
  const files = (await Promise.all(entries.map(filesIn))).flat();
  const isZip = entries.length === 1 && entries[0].isFile && isZipFile(files[0]);
  await measure(files, isZip);
}

function chosen(event, isZip) {
  const files = [...event.target.files];
  event.target.value = "";
  measure(files, isZip);
}

for (const kind of ["dragover", "dragenter"])
  document.addEventListener(kind, (event) => { event.preventDefault(); byId("zone").classList.add("over"); });
document.addEventListener("dragleave", (event) => { if (!event.relatedTarget) byId("zone").classList.remove("over"); });
document.addEventListener("drop", dropped);
byId("folder").addEventListener("change", (event) => chosen(event, false));
byId("zip").addEventListener("change", (event) => chosen(event, true));
byId("stop").addEventListener("click", async () => {
  await ask("POST", "/stop");
  document.body.textContent = "Stopped. This page can be closed.";
});
