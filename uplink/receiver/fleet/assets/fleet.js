// Refreshes the page's figures in place: fetches it again and puts in what changed, so that what is being typed stays; and lets
// the keyboard find a site. Without this script all works, and is as old as the page. Forms and links are plain ones.
"use strict";

const EVERY_MS = 10000;
const PARTS = ["now", "summary", "live"];

async function refresh() {
  try {
    const answer = await fetch(location.href, { headers: { Accept: "text/html" }, cache: "no-store" });
    // The session has ended, or the receiver is not well: what is shown stays, with its time.
    if (!answer.ok || answer.redirected) return;
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    for (const id of PARTS) {
      const [here, there] = [document.getElementById(id), page.getElementById(id)];
      if (!here || !there || here.isEqualNode(there) || here.contains(document.activeElement)) continue;
      here.replaceWith(document.importNode(there, true));
    }
    if (document.title !== page.title) document.title = page.title;
  } catch {
    // Not reachable: the time that is shown says how old the figures are.
  }
}

function step(by) {
  const sites = [...document.querySelectorAll("#live tbody th a")];
  if (!sites.length) return;
  const at = sites.findIndex((site) => site.closest("tr").contains(document.activeElement));
  sites[at < 0 ? (by > 0 ? 0 : sites.length - 1) : Math.min(Math.max(at + by, 0), sites.length - 1)].focus();
}

function turn(rel) {
  document.querySelector(`a[rel="${rel}"]`)?.click();
}

const KEYS = {
  "/": () => { const q = document.getElementById("q"); q?.focus(); q?.select(); },
  j: () => step(1),
  k: () => step(-1),
  n: () => turn("next"),
  p: () => turn("prev"),
};

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.matches("input, select, textarea")) {
    if (event.key === "Escape") event.target.blur();
    return;
  }
  const act = KEYS[event.key];
  if (!act) return;
  event.preventDefault();
  act();
});

for (const hint of document.querySelectorAll(".keys")) hint.hidden = false;
if (document.getElementById("live")) setInterval(() => { if (!document.hidden) refresh(); }, EVERY_MS);
