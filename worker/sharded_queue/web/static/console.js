// Keeps the page as it is in Redis. Without this script, every page works by reloading it.
"use strict";

const live = document.getElementById("live");
const announce = document.getElementById("announce");
const link = document.getElementById("link");
let lines = [];
let said = key();
let pressed = false;

// The key of the sentence: it stays the same while only numbers in the sentence change.
function key() {
  return live.querySelector("[data-announce]")?.dataset.announce;
}

function show() {
  if (pressed) return;
  const next = document.createElement("div");
  next.innerHTML = lines.join("\n");
  const focused = document.activeElement;
  patch(live, next);
  if (focused !== document.activeElement && focused.isConnected) focused.focus({ preventScroll: true });
  const now = key();
  if (now !== said) {
    said = now;
    announce.textContent = live.querySelector("[data-announce]")?.textContent.trim() ?? "";
  }
}

// What a node is among its siblings. Those of one identity are told apart by their order only, so whatever comes and
// goes and holds something of a person's has a key.
function identity(node) {
  if (node.nodeType !== Node.ELEMENT_NODE) return node.nodeName;
  return `${node.nodeName} ${node.dataset.key || node.id || node.classList[0] || ""}`;
}

// Makes the children of *here* those of *there*. What stays is the same node afterwards, wherever it stands, so that a
// tick, the focus, a selection, and what a person has opened belong to what they belonged to.
function patch(here, there) {
  const known = Map.groupBy(here.childNodes, identity);
  const pairs = [...there.childNodes].map((node) => [node, known.get(identity(node))?.shift()]);
  for (const gone of [...known.values()].flat()) gone.remove();
  let place = here.firstChild;
  for (const [node, old] of pairs) {
    // A text can be moved without a loss.
    while (old?.nodeType === Node.ELEMENT_NODE && place?.nodeType === Node.TEXT_NODE) place = place.nextSibling;
    if (old === place) place = place.nextSibling;
    else here.insertBefore(old ?? node, place);
    if (old?.nodeType === Node.ELEMENT_NODE) {
      attributes(old, node);
      patch(old, node);
    } else if (old && old.data !== node.data) old.data = node.data;
  }
}

function attributes(old, node) {
  for (const { name } of [...old.attributes]) {
    if (!node.hasAttribute(name) && !(name === "open" && old.nodeName === "DETAILS")) old.removeAttribute(name);
  }
  for (const { name, value } of node.attributes) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
}

// What a person presses stays under the pointer until it is released: a click counts only where both ends of it meet the
// same thing.
function press() {
  pressed = true;
}

function release() {
  if (!pressed) return;
  pressed = false;
  if (lines.length) setTimeout(show); // after the click
}

addEventListener("pointerdown", press, true);
for (const end of ["pointerup", "pointercancel", "blur"]) addEventListener(end, release, true);

function follow() {
  const { page, query } = live.dataset;
  const source = new EventSource(`live?${new URLSearchParams({ page, query })}`);
  source.addEventListener("whole", (event) => {
    lines = JSON.parse(event.data);
    show();
  });
  source.addEventListener("part", (event) => {
    for (const [begin, count, put] of JSON.parse(event.data)) lines.splice(begin, count, ...put);
    show();
  });
  source.onopen = () => (link.textContent = "live");
  source.onerror = () => {
    link.textContent = "the console does not answer; trying again";
    // A browser gives up for good where the console answered with an error, as while it is started again.
    if (source.readyState === EventSource.CLOSED) setTimeout(follow, 3000);
  };
  addEventListener("pagehide", () => source.close(), { once: true });
}

if (live.dataset.page) follow();
addEventListener("pageshow", (event) => event.persisted && location.reload());
