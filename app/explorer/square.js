/** Four corners: a square of places between A, B, C and D. */

import { h, slider } from "./dom.js";
import { changed } from "./history.js";
import { Live } from "./live.js";
import { paintGrid } from "./paint.js";
import { inSquare } from "./places.js";
import { drop, thumb } from "./thumbs.js";

const SIDE = 7;
const CORNERS = ["a", "b", "c", "d"];

/** @param {import("./session.js").Session} session */
export function square(session) {
  if (!session.can("decode")) return null;
  const pad = h("div.pad", {}, backdrop(session), h("div.handle", { "aria-hidden": "true" }));
  steer(session, pad);
  const corners = CORNERS.map((name) => corner(session, name));
  const element = h(
    "div",
    {},
    h(
      "p.quiet.help",
      {},
      "Drag across the square, or use the two sliders. Drop pictures on the corners, or set them to what the stage shows.",
    ),
    h("div.square", {}, ...corners, pad),
    h("div.controls", {}, axis(session, "x", "Across"), axis(session, "y", "Down")),
  );
  return { id: "square", title: "Four corners", element };
}

/** One corner: what lies there, and how to change it. */
function corner(session, name) {
  const letter = name.toUpperCase();
  const at = { a: [0, 0], b: [1, 0], c: [0, 1], d: [1, 1] }[name];
  const element = h(`div.slot.corner.is-${name}`, {}, h("span.badge", { "aria-hidden": "true" }, letter));
  const put = (found) => session.history.commit({ [name]: found });
  const set = h(
    "button.small",
    {
      type: "button",
      onclick: () => session.shown() && put(session.shown()),
      "aria-label": `Set ${letter} to the stage`,
    },
    "Set",
  );
  const go = () => session.history.commit({ x: at[0], y: at[1], via: "square" });
  const fill = (found) => {
    element.querySelector(".thumb")?.remove();
    if (found) element.append(thumb(session, found, { name: `Go to corner ${letter}`, pick: go }));
    element.append(set);
  };
  drop(element, put);
  session.history.on((now, was) => changed(now, was, name) && fill(now[name]));
  fill(session.state[name]);
  return element;
}

/** The square's pictures, as a sheet behind the handle. */
function backdrop(session) {
  const canvas = h("canvas", { width: 1, height: 1, "aria-hidden": "true" });
  const live = new Live(session.failed);
  let drawn = [];
  const draw = (state) => {
    const ends = CORNERS.map((name) => state[name]);
    const wanted = [...ends, state.path];
    const visible = state.tool === "square" && ends.every(Boolean);
    if (!visible || wanted.every((part, index) => part === drawn[index])) return;
    drawn = wanted;
    const steps = Array.from({ length: SIDE }, (_, index) => index / (SIDE - 1));
    const places = steps.flatMap((y) => steps.map((x) => inSquare(ends, x, y, state.path)));
    live.wish(
      (signal) => session.decode(places, signal),
      (pictures) => paintGrid(canvas, pictures, SIDE),
    );
  };
  session.history.on(draw);
  draw(session.state);
  return canvas;
}

/** Pointers move the handle. */
function steer(session, pad) {
  const { history } = session;
  const handle = pad.querySelector(".handle");
  const place = ({ x, y }) => {
    handle.style.left = `${100 * x}%`;
    handle.style.top = `${100 * y}%`;
  };
  const spot = (event) => {
    const box = pad.getBoundingClientRect();
    const share = (value, low, length) => Math.round(100 * Math.min(1, Math.max(0, (value - low) / length))) / 100;
    return {
      x: share(event.clientX, box.left, box.width),
      y: share(event.clientY, box.top, box.height),
      via: "square",
    };
  };
  pad.addEventListener("pointerdown", (event) => {
    pad.setPointerCapture(event.pointerId);
    history.preview(spot(event));
  });
  pad.addEventListener(
    "pointermove",
    (event) => pad.hasPointerCapture(event.pointerId) && history.preview(spot(event)),
  );
  pad.addEventListener("pointerup", (event) => history.commit(spot(event)));
  history.on((now, was) => changed(now, was, "x", "y") && place(now));
  place(session.state);
}

function axis(session, name, label) {
  const { history } = session;
  const made = slider({
    label,
    min: 0,
    max: 1,
    step: 0.01,
    value: session.state[name],
    words: (value) => `${Math.round(100 * value)} %`,
    oninput: (value) => history.preview({ [name]: value, via: "square" }),
    onchange: (value) => history.commit({ [name]: value, via: "square" }),
  });
  history.on((now, was) => changed(now, was, name) && made.set(now[name]));
  return made.element;
}
