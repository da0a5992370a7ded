// Refreshes the page in place: fetches it again and changes only the nodes that differ, so that focus, selection and
// scroll stay where they are. Without this script the page reloads itself and the button is a plain form.
"use strict";

const EVERY_MS = 3000;

function sameKind(a, b) {
  return a.nodeType === b.nodeType && a.nodeName === b.nodeName && (a.id || "") === (b.id || "");
}

function matchAttributes(here, there) {
  for (const { name } of [...here.attributes]) if (!there.hasAttribute(name)) here.removeAttribute(name);
  for (const { name, value } of there.attributes) if (here.getAttribute(name) !== value) here.setAttribute(name, value);
}

function match(here, there) {
  if (here.nodeType !== Node.ELEMENT_NODE) {
    if (here.nodeValue !== there.nodeValue) here.nodeValue = there.nodeValue;
    return;
  }
  if (here.isEqualNode(there) || kept.has(here.id)) return;
  matchAttributes(here, there);
  const wanted = [...there.childNodes];
  wanted.forEach((node, place) => {
    const present = here.childNodes[place];
    if (!present) here.append(document.importNode(node, true));
    else if (sameKind(present, node)) match(present, node);
    else present.replaceWith(document.importNode(node, true));
  });
  while (here.childNodes.length > wanted.length) here.lastChild.remove();
}

// What this script itself writes into; the server's idea of them does not count while it runs.
const kept = new Set(["stale", "upload"]);
const stale = document.getElementById("stale");
let lastSeen = document.querySelector("#now time").textContent;

function tellStale(text) {
  if (stale.textContent !== text) stale.textContent = text;
  stale.hidden = !text;
}

async function refresh() {
  try {
    const answer = await fetch("/", { headers: { Accept: "text/html" }, cache: "no-store" });
    if (!answer.ok) throw new Error(String(answer.status));
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    for (const id of ["main", "now"]) match(document.getElementById(id), page.getElementById(id));
    if (document.title !== page.title) document.title = page.title;
    lastSeen = page.querySelector("#now time").textContent;
    tellStale("");
  } catch {
    tellStale(`The agent does not answer. What is shown is from ${lastSeen}.`);
  }
}

async function upload(event) {
  event.preventDefault();
  const button = event.submitter || event.target.querySelector("button");
  const outcome = document.getElementById("outcome");
  if (button.getAttribute("aria-disabled") === "true") return;
  button.setAttribute("aria-disabled", "true");
  outcome.className = "";
  outcome.textContent = "Uploading …";
  try {
    const answer = await fetch("/api/upload", { method: "POST", headers: { Accept: "application/json" } });
    const said = await answer.json();
    outcome.className = said.ok ? "good" : "bad";
    outcome.textContent = said.text;
  } catch {
    outcome.className = "bad";
    outcome.textContent = "The agent did not answer.";
  }
  button.removeAttribute("aria-disabled");
  await refresh();
}

document.addEventListener("submit", (event) => { if (event.target.id === "upload") upload(event); });
setInterval(() => { if (!document.hidden) refresh(); }, EVERY_MS);
document.addEventListener("visibilitychange", () => { if (!document.hidden) refresh(); });
