/** The map: held-out pictures where the encoder puts them, each drawn as the short name of its class. */

import { button, checkbox, h, slider } from "./dom.js";
import { paintGrid } from "./paint.js";
import { place } from "./places.js";

const REACH_PX = 24;
const MANIFOLD_SIDE = 17;

/** @param {import("./session.js").Session} session */
export function map(session) {
  if (!session.manifest.map || !session.can("decode")) return null;
  const element = h("div", {});
  let chart = null;
  const load = () =>
    session.attempt(async () => {
      const found = await session.client.map(session.ref, { signal: session.stopped.signal });
      chart = new Chart(session, found);
      element.replaceChildren(chart.element);
    });
  let loading = null;
  return { id: "map", title: "Map", element, shown: () => (loading ??= load()) };
}

class Chart {
  #hidden = new Set();
  #chosen = null;

  constructor(session, { points, classes, projection }) {
    this.session = session;
    this.classes = classes ?? [];
    this.plane = projection === "latent" && session.size === 2;
    this.points = points
      .map((point) => ({ ...point, place: place(point.latent, session.classes.length ? point.label : null) }))
      .sort((one, other) => one.label - other.label || one.x - other.x);
    this.box = bounds(points);
    this.canvas = h("canvas", { "aria-hidden": "true" });
    this.manifold = h("canvas.manifold", { hidden: true, width: 1, height: 1, "aria-hidden": "true" });
    this.element = h("div", {}, this.#help(projection), this.#surface(), this.#legend(), this.#walk());
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw(), {
      signal: session.stopped.signal,
    });
    new ResizeObserver(() => this.draw()).observe(this.canvas);
  }

  #help(projection) {
    const what =
      projection === "latent" ? "their two latent numbers" : "the two directions in which their latents vary most";
    return h(
      "p.quiet.help",
      {},
      `${this.points.length} held-out pictures by ${what}. Point at one to decode it; a click sets A, Shift and click B.`,
    );
  }

  #surface() {
    const surface = h("div.map", {}, this.manifold, this.canvas);
    surface.addEventListener("pointermove", (event) => this.#look(this.#near(event)));
    surface.addEventListener("pointerleave", () => this.#look(null));
    surface.addEventListener("click", (event) => {
      const at = this.#near(event);
      if (at) this.#take(at.place, event.shiftKey ? "b" : "a");
    });
    return surface;
  }

  /** Where a pointer is: the nearest picture in reach; on a plane any place. */
  #near(event) {
    const box = this.canvas.getBoundingClientRect();
    const [x, y] = [event.clientX - box.left, event.clientY - box.top];
    const distance = (point) => Math.hypot(this.#x(point.x) - x, this.#y(point.y) - y);
    const visible = this.points.filter(({ label }) => !this.#hidden.has(label));
    const nearest = visible.reduce((best, point) => (best && distance(best) <= distance(point) ? best : point), null);
    if (nearest && distance(nearest) <= (this.plane ? 5 : REACH_PX)) return nearest;
    if (!this.plane) return null;
    const at = [this.box.left + (x / box.width) * this.box.width, this.box.top - (y / box.height) * this.box.height];
    return { x: at[0], y: at[1], label: null, place: place(at) };
  }

  #look(point) {
    if (point === this.#chosen) return;
    this.#chosen = point;
    this.session.peek(point?.place ?? null);
    this.draw();
  }

  #take(at, end) {
    if (end === "a") this.session.setA(at);
    else this.session.setB(at);
  }

  /** The classes, with their marks: each can be hidden. */
  #legend() {
    if (this.classes.length === 0) return null;
    const toggle = (label) => (yes) => {
      if (yes) this.#hidden.delete(label);
      else this.#hidden.add(label);
      this.draw();
    };
    const items = this.classes.map((name, label) => {
      const glyph = this.#glyph(label);
      const item = checkbox(glyph === name ? "" : name, true, toggle(label));
      item.firstChild.after(h(`span.mark.class-${label % 10}`, { "aria-hidden": String(glyph !== name) }, glyph));
      return h("li", {}, item);
    });
    const manifold =
      this.plane && checkbox("Show the images of the whole plane", false, (yes) => this.#showManifold(yes));
    return h("div", {}, h("ul.legend", { "aria-label": "Classes" }, ...items), manifold);
  }

  /** A class name where it is short, else its number. */
  #glyph(label) {
    const name = this.classes[label] ?? String(label);
    return name.length <= 2 ? name : String(label);
  }

  /** The same by keyboard: a slider from picture to picture, and buttons that set the ends. */
  #walk() {
    const words = (index) =>
      `${this.classes[this.points[index].label] ?? "picture"}, ${index + 1} of ${this.points.length}`;
    const go = (index) => this.#look(this.points[index]);
    const walk = slider({
      label: "Picture",
      min: 0,
      max: this.points.length - 1,
      step: 1,
      value: 0,
      words,
      oninput: go,
    });
    const chosen = () => this.points[walk.input.valueAsNumber].place;
    return h(
      "div.controls",
      {},
      walk.element,
      h(
        "div.bar",
        {},
        button("Set A to it", () => this.#take(chosen(), "a")),
        button("Set B to it", () => this.#take(chosen(), "b")),
      ),
    );
  }

  #showManifold(yes) {
    this.manifold.hidden = !yes;
    if (!yes || this.manifold.width > 1) return;
    const steps = Array.from({ length: MANIFOLD_SIDE }, (_, index) => (index + 0.5) / MANIFOLD_SIDE);
    const { left, top, width, height } = this.box;
    const places = steps.flatMap((down) => steps.map((across) => place([left + across * width, top - down * height])));
    const chunks = [places.slice(0, 144), places.slice(144)];
    this.session.attempt(async () => {
      const signal = this.session.stopped.signal;
      const pictures = await Promise.all(chunks.map((chunk) => this.session.decode(chunk, signal)));
      paintGrid(this.manifold, pictures.flat(), MANIFOLD_SIDE);
    });
  }

  #x(x) {
    return ((x - this.box.left) / this.box.width) * this.canvas.clientWidth;
  }

  #y(y) {
    return ((this.box.top - y) / this.box.height) * this.canvas.clientHeight;
  }

  draw() {
    const { canvas } = this;
    if (canvas.clientWidth === 0) return;
    const scale = devicePixelRatio;
    canvas.width = Math.round(canvas.clientWidth * scale);
    canvas.height = Math.round(canvas.clientHeight * scale);
    const context = canvas.getContext("2d");
    context.scale(scale, scale);
    Object.assign(context, { textAlign: "center", textBaseline: "middle" });
    const style = getComputedStyle(this.element);
    this.halo = style.getPropertyValue("--card");
    const color = (label) => style.getPropertyValue(`--class-${label % 10}`);
    for (const point of this.points)
      if (!this.#hidden.has(point.label)) this.#mark(context, point, color(point.label), "600 12px");
    if (this.#chosen) this.#ring(context, this.#chosen, style.color);
  }

  #mark(context, point, color, font) {
    context.font = `${font} system-ui, sans-serif`;
    Object.assign(context, { fillStyle: color, strokeStyle: this.halo, lineWidth: 3 });
    context.strokeText(this.#glyph(point.label), this.#x(point.x), this.#y(point.y));
    context.fillText(this.#glyph(point.label), this.#x(point.x), this.#y(point.y));
  }

  #ring(context, point, color) {
    context.strokeStyle = color;
    context.lineWidth = 2;
    context.beginPath();
    context.arc(this.#x(point.x), this.#y(point.y), 11, 0, 2 * Math.PI);
    context.stroke();
  }
}

/** What the points cover, with a margin. */
function bounds(points) {
  const [xs, ys] = [points.map(({ x }) => x), points.map(({ y }) => y)];
  const [left, right, low, high] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
  const [marginX, marginY] = [0.05 * (right - left) || 1, 0.05 * (high - low) || 1];
  return {
    left: left - marginX,
    top: high + marginY,
    width: right - left + 2 * marginX,
    height: high - low + 2 * marginY,
  };
}
