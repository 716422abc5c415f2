// Refreshes the page in place: the parts marked data-live are swapped where the server has sent
// something else than before. Without this the page works, and reloads by hand.
"use strict";
(() => {
  const body = document.body;
  const status = document.getElementById("status");
  const every = Number(body.dataset.every) * 1000;
  const served = new Map();
  const parts = () => document.querySelectorAll("[data-live]");
  parts().forEach((part) => served.set(part.id, part.outerHTML));
  let paused = false;
  let failures = 0;
  let answered = performance.now();
  let timer;

  const place = (element) => {
    if (!element || element === body) return null;
    if (element.id) return () => document.getElementById(element.id);
    const href = element.getAttribute("href");
    if (!href) return null;
    const same = (root) => [...root.querySelectorAll("a")].filter((link) => link.getAttribute("href") === href);
    const at = same(document).indexOf(element);
    return () => same(document)[at];
  };

  const swap = (fresh) => {
    const focus = place(document.activeElement);
    for (const part of parts()) {
      const next = fresh.getElementById(part.id);
      if (!next || served.get(part.id) === next.outerHTML) continue;
      served.set(part.id, next.outerHTML);
      const scrolled = [...part.querySelectorAll(".scroll")].map((box) => box.scrollLeft);
      part.replaceWith(document.importNode(next, true));
      document.getElementById(part.id).querySelectorAll(".scroll").forEach((box, at) => { box.scrollLeft = scrolled[at] || 0; });
    }
    const found = focus && focus();
    if (found && document.activeElement !== found) found.focus({ preventScroll: true });
    pauseButton();
  };

  const say = (text) => {
    if (status.textContent !== text) status.textContent = text;
    status.hidden = !text;
    document.documentElement.classList.toggle("lost", Boolean(text));
  };

  const isBusy = () => {
    const of = document.activeElement;
    const writes = of && ["INPUT", "SELECT", "TEXTAREA"].includes(of.tagName);
    return paused || writes || document.hidden || String(getSelection()) !== "";
  };

  const later = () => {
    clearTimeout(timer);
    if (every > 0) timer = setTimeout(refresh, Math.min(every * 2 ** Math.max(0, failures - 1), 60000));
  };

  const failed = () => {
    failures += 1;
    const time = document.querySelector("#head time");
    if (failures > 1) say("The agent does not answer. What is shown is of " + (time ? time.textContent.trim() : "before") + "; trying again.");
    later();
  };

  const refresh = () => {
    if (isBusy()) return later();
    const request = new XMLHttpRequest();
    request.open("GET", location.href);
    // What is no browser gets the list of endpoints at /.
    request.setRequestHeader("Accept", "text/html");
    request.responseType = "document";
    request.timeout = 10000;
    request.onload = () => {
      const fresh = request.response;
      if (request.status !== 200 || !fresh || !fresh.getElementById("head")) return failed();
      failures = 0;
      answered = performance.now();
      say("");
      swap(fresh);
      later();
    };
    request.onerror = request.ontimeout = failed;
    request.send();
  };

  const pauseButton = () => {
    const button = document.querySelector("[data-pause]");
    if (!button || every === 0) return;
    button.hidden = false;
    button.textContent = paused ? "Go on" : "Pause";
    button.onclick = () => { paused = !paused; pauseButton(); };
  };

  // A box of the map under the pointer or the focus: all but its lines and partners is dimmed.
  const light = (event) => {
    const map = document.querySelector(".map > svg");
    if (!map) return;
    const box = event && event.target.closest && event.target.closest("[data-box]");
    const at = box && box.dataset.box;
    const lines = [...map.querySelectorAll("[data-ends]")].map((line) => [line, line.dataset.ends.split(" ")]);
    const near = new Set(lines.filter(([, ends]) => ends.includes(at)).flatMap(([, ends]) => ends));
    lines.forEach(([line, ends]) => line.classList.toggle("dim", Boolean(box) && !ends.includes(at)));
    map.querySelectorAll("[data-box]").forEach((of) => of.classList.toggle("dim", near.size > 0 && !near.has(of.dataset.box)));
  };
  ["mouseover", "focusin"].forEach((name) => document.addEventListener(name, light));

  // The age goes on from what the server said, whatever this machine's clock says.
  setInterval(() => {
    const age = document.querySelector("[data-age]");
    if (age) age.textContent = Number(age.dataset.age) + Math.floor((performance.now() - answered) / 1000) + " s old";
  }, 1000);

  pauseButton();
  later();
})();
