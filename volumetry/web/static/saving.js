"use strict";
// An edited mask becomes a correction. The server is told on which mask it was drawn, and refuses it while another
// mask is the current one; the edit then stays on the page, and its user decides.

const FIELDS = { reader: "Reader is empty: enter the name or code of who edited the mask.", reason: "Reason is empty: enter why the mask was edited." };
let knowsOf = null;  // digest of the current mask, once the user was told that it is not the one that was edited

function askWhy() {
  const count = edits.changed;
  const ml = (count * Math.abs(volume.step[0] * volume.step[1] * volume.step[2])) / 1000;
  byId("changed").textContent = `${count} voxels (${ml.toFixed(1)} mL) have another label than in ${maskName(facts, facts.shown)}, on which this was drawn.`;
  byId("unsaved").textContent = "";
  byId("other-line").hidden = true;
  knowsOf = null;
  sayBusy(false);
  byId("saving").showModal();
}

function sayBusy(busy) {
  state.busy = busy;
  byId("send").disabled = byId("cancel").disabled = busy;
  byId("send").textContent = busy ? "Measuring\u2026" : knowsOf ? "Save as a further correction" : "Save";
}

// The first field that is empty, after saying so.
function emptyField() {
  const field = Object.keys(FIELDS).find((id) => !byId(id).value.trim());
  if (field) {
    byId("unsaved").textContent = FIELDS[field];
    byId(field).focus();
  }
  return field;
}

async function send() {
  if (emptyField()) return;
  sayBusy(true);
  let saved = null;
  try {
    saved = await sent();
  } catch (wrong) {
    byId("unsaved").textContent = `Not saved: ${wrong.message}`;
    if (!byId("saving").open) byId("saving").showModal();  // the Escape key closes it
  }
  sayBusy(false);
  if (saved === null) return;
  byId("saving").close();
  const line = note(`Correction ${saved.correction} is saved: ${saved.sentence} The automatic result is unchanged.`);
  byId("notes").prepend(line);
  await show(queryOf(Number(saved.correction)))
    .catch((wrong) => note(`The saved correction cannot be shown: ${wrong.message}. Reload the page.`, true));
}

// What the server says of the correction; null if it wants to be told first that the user knows of another one.
async function sent() {
  const { csrf } = await getJson("/session.json");
  const words = JSON.stringify({ reader: byId("reader").value, reason: byId("reason").value, drawn_on: facts.mask_sha256, knows_of: knowsOf });
  const answer = await fetch(`/cases/${caseId}/correction`, {
    method: "POST", body: new Blob([words, "\n", volume.labels]), headers: { "X-CSRF-Token": csrf },
  });
  const said = await answer.json();
  if (answer.ok) return said;
  if (said.code === "CORRECTED_MEANWHILE") tellOfOther(said);
  throw new Error([said.message ?? said.detail, said.hint].filter(Boolean).join(". "));
}

function tellOfOther(said) {
  knowsOf = said.mask_sha256;
  facts = { ...facts, corrections: said.corrections, current: said.current, reading_notes: said.reading_notes };
  sayReading(facts);
  byId("other-line").hidden = said.current === 0;
  byId("other").href = `/slices/${caseId}${queryOf(said.current)}`;
  byId("other").textContent = `Open ${maskName(facts, said.current)} in another tab`;
}
