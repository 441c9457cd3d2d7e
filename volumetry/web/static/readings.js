"use strict";
// Which mask of a scan is shown: the result's own, or a reader's correction by its number (0 is the result's own).

const timeOf = (written) => written.replace(/^(\S{10})T(\d\d:\d\d).*$/, "$1 $2 UTC");
const correctionOf = (facts, number) => facts.corrections.find((one) => one.number === number);
const queryOf = (number) => `?reading=${number || "automatic"}`;
const capital = (text) => text[0].toUpperCase() + text.slice(1);

function maskName(facts, number) {
  const one = correctionOf(facts, number);
  return one ? `correction ${one.number} by ${one.reader} of ${timeOf(one.written)}` : facts.base;
}

// What the address asks for: nothing is the current mask.
function askedReading() {
  const asked = new URLSearchParams(location.search).get("reading");
  return asked === null ? "" : `?reading=${encodeURIComponent(asked)}`;
}

// Every finding: first those that a reader must look at, then those that ask for nobody.
const FINDINGS = { review: "A reader must look", look: "Noted" };
const linesOf = (flags) => Object.entries(FINDINGS).flatMap(([severity, what]) =>
  flags.filter((flag) => flag.severity === severity).map((flag) => `${what}: ${flag.message} (${flag.code})`));

// The line that says which mask is shown, and the list of all masks.
function sayReading(facts) {
  document.getElementById("reading").hidden = !facts.corrections.length && !facts.reading_notes.length;
  const one = correctionOf(facts, facts.shown);
  const parts = [`${capital(maskName(facts, facts.shown))} is shown, with its numbers.`];
  if (one) parts.push(`Reason: ${one.reason}.`);
  if (facts.shown !== facts.current) parts.push(`It is not the current mask: that is ${maskName(facts, facts.current)}.`);
  document.getElementById("reading-said").textContent = [...parts, ...facts.reading_notes].join(" ");
  const list = document.getElementById("readings");
  list.replaceChildren(...[0, ...facts.corrections.map((each) => each.number)].map((number) => {
    const choice = document.createElement("option");
    choice.value = number;
    const by = correctionOf(facts, number);
    const name = by ? `Correction ${number} by ${by.reader}, ${by.written.slice(0, 10)}` : capital(facts.base);
    choice.textContent = name + (number === facts.current ? " (current)" : "");
    return choice;
  }));
  list.value = facts.shown;
}
