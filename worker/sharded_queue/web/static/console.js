// Keeps the page as it is in Redis. Without this script, every page works by reloading it.
"use strict";

const live = document.getElementById("live");
const announce = document.getElementById("announce");
const link = document.getElementById("link");
let lines = [];
let said = key();

// The key of the sentence: it stays the same while only numbers in the sentence change.
function key() {
  return live.querySelector("[data-announce]")?.dataset.announce;
}

function show() {
  const next = document.createElement("div");
  next.innerHTML = lines.join("\n");
  patch(live, next);
  const now = key();
  if (now !== said) {
    said = now;
    announce.textContent = live.querySelector("[data-announce]")?.textContent.trim() ?? "";
  }
}

// Makes the children of *here* those of *there*, and leaves alone what is the same: the focus, a selection, and what a
// person has opened stay.
function patch(here, there) {
  const wanted = [...there.childNodes];
  wanted.forEach((node, index) => {
    const old = here.childNodes[index];
    if (!old) here.append(node);
    else if (old.nodeType !== node.nodeType || old.nodeName !== node.nodeName || old.id !== node.id) old.replaceWith(node);
    else if (node.nodeType === Node.TEXT_NODE) old.data === node.data || (old.data = node.data);
    else if (node.nodeType === Node.ELEMENT_NODE) {
      attributes(old, node);
      patch(old, node);
    }
  });
  while (here.childNodes.length > wanted.length) here.lastChild.remove();
}

function attributes(old, node) {
  for (const { name } of [...old.attributes]) {
    if (!node.hasAttribute(name) && !(name === "open" && old.nodeName === "DETAILS")) old.removeAttribute(name);
  }
  for (const { name, value } of node.attributes) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
}

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
