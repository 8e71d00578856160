/** A canvas to draw on, in light ink on dark, as the models were shown theirs. */

import { button, h } from "./dom.js";

const SIDE = 280;
const PEN = 20;

/** @param {(canvas: HTMLCanvasElement) => void} drawn called after every stroke */
export function drawing(drawn, { ink = "#fff", paper = "#000" } = {}) {
  const canvas = h("canvas.drawing", {
    width: SIDE,
    height: SIDE,
    role: "img",
    "aria-label": "A place to draw with a pointer; without one, pick a file",
  });
  const context = canvas.getContext("2d");
  let strokes = [];
  const repaint = () => {
    Object.assign(context, { fillStyle: paper, strokeStyle: ink, lineWidth: PEN, lineCap: "round", lineJoin: "round" });
    context.fillRect(0, 0, SIDE, SIDE);
    for (const stroke of strokes) line(context, stroke);
  };
  const spot = (event) => {
    const box = canvas.getBoundingClientRect();
    return [((event.clientX - box.left) / box.width) * SIDE, ((event.clientY - box.top) / box.height) * SIDE];
  };
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    strokes = [...strokes, [spot(event)]];
    repaint();
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!canvas.hasPointerCapture(event.pointerId)) return;
    strokes.at(-1).push(spot(event));
    repaint();
  });
  canvas.addEventListener("pointerup", () => drawn(canvas));
  const keep = (kept) => {
    strokes = kept;
    repaint();
    if (kept.length) drawn(canvas);
  };
  repaint();
  return h(
    "div.draw",
    {},
    h("p.quiet", { "aria-hidden": "true" }, "Draw here"),
    canvas,
    h(
      "div.bar",
      {},
      button("Undo stroke", () => keep(strokes.slice(0, -1))),
      button("Clear", () => keep([])),
    ),
  );
}

function line(context, [first, ...rest]) {
  context.beginPath();
  context.moveTo(...first);
  for (const point of rest.length ? rest : [first]) context.lineTo(...point);
  context.stroke();
}
