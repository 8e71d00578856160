/** Places as little pictures: buttons that can be dragged, and where they may be dropped. */

import { h } from "./dom.js";
import { paint } from "./paint.js";

const KIND = "application/x-latentserve-place";
/** What is being dragged: the browser's own carrier holds text only. */
let dragged = null;

/**
 * A button with a place's picture. Click is A, Shift and click is B; so are Enter, and the letters A and B on it;
 * F adds it to the film and S to the sum.
 * @param {import("./session.js").Session} session @param {import("./places.js").Place} at
 * @param {{name: string, pick?: (to: "a"|"b") => void}} options
 */
export function thumb(session, at, { name, pick = (to) => (to === "a" ? session.setA(at) : session.setB(at)) }) {
  const onclick = (event) => pick(event.shiftKey ? "b" : "a");
  const element = h(
    "button.thumb",
    { type: "button", draggable: true, onclick, "aria-label": name },
    picture(session, at),
  );
  element.addEventListener("keydown", (event) => pressed(session, at, event));
  drag(element, () => at);
  return element;
}

/** A place's picture alone: the PNG that came with it, receipt and all, or pixels. */
export function picture(session, at) {
  if (at.png) return h("img", { src: at.png, alt: "", draggable: false });
  const canvas = h("canvas", { width: 1, height: 1 });
  session.pixels(at).then(
    (pixels) => paint(canvas, pixels),
    (error) => error.name !== "AbortError" && session.failed(error),
  );
  return canvas;
}

function pressed(session, at, event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const action = {
    a: () => session.setA(at),
    b: () => session.setB(at),
    f: () => session.addToFilm(at),
    s: () => session.addTerm(at),
  }[event.key.toLowerCase()];
  if (action) {
    event.preventDefault();
    action();
  }
}

/** Let an element be dragged as a place. @param {() => import("./places.js").Place|null} placeOf */
export function drag(element, placeOf) {
  element.draggable = true;
  element.addEventListener("dragstart", (event) => {
    dragged = placeOf();
    event.dataTransfer.setData(KIND, "place");
    event.dataTransfer.effectAllowed = "copy";
  });
  element.addEventListener("dragend", () => (dragged = null));
}

/** Let places be dropped on an element. @param {(at: import("./places.js").Place) => void} take */
export function drop(element, take) {
  const over = (yes) => element.classList.toggle("over", yes);
  element.addEventListener("dragover", (event) => {
    if (!dragged) return;
    event.preventDefault();
    event.stopPropagation();
    over(true);
  });
  element.addEventListener("dragleave", () => over(false));
  element.addEventListener("drop", (event) => {
    over(false);
    if (!dragged) return;
    event.preventDefault();
    event.stopPropagation();
    take(dragged);
  });
}

/** Arrow keys move within a grid of buttons; Tab passes it by. @param {HTMLElement} grid */
export function roving(grid) {
  const items = () => /** @type {HTMLElement[]} */ ([...grid.querySelectorAll("button.thumb")]);
  const focusable = (chosen) => items().forEach((item) => (item.tabIndex = item === chosen ? 0 : -1));
  focusable(items()[0]);
  grid.addEventListener("focusin", (event) => focusable(event.target.closest("button.thumb") ?? items()[0]));
  grid.addEventListener("keydown", (event) => {
    const all = items();
    const at = all.indexOf(event.target);
    const columns = all.filter((item) => item.offsetTop === all[0].offsetTop).length;
    const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns, ArrowUp: -columns }[event.key];
    const to = { Home: 0, End: all.length - 1 }[event.key] ?? (step === undefined ? undefined : at + step);
    if (at < 0 || to === undefined) return;
    event.preventDefault();
    all[to]?.focus();
  });
}
