/** The stage: the picture that is meant, and the way from A to B. */

import { button, checkbox, choice, h, inline, save, slider } from "./dom.js";
import { changed } from "./history.js";
import { Live } from "./live.js";
import { paint } from "./paint.js";
import { norm } from "./places.js";
import { Player } from "./player.js";
import { PLACED_BY } from "./session.js";
import { drop, drag, thumb } from "./thumbs.js";

const FORMATS = [
  ["gif", "GIF"],
  ["webp", "WebP"],
  ["apng", "APNG"],
];

/** @param {import("./session.js").Session} session @returns {HTMLElement} */
export function stage(session) {
  return h(
    "section.stage",
    { "aria-labelledby": "stage-title" },
    h("h2.visually-hidden", { id: "stage-title" }, "Stage"),
    screen(session),
    actions(session),
    glide(session),
  );
}

/** The picture, decoded live; `session.peek` shows another for a moment. */
function screen(session) {
  const canvas = h("canvas", { width: 1, height: 1, role: "img", "aria-label": "Nothing yet" });
  const caption = h("figcaption", {});
  const live = new Live(session.failed);
  let peeked = null;
  const show = () => {
    const at = peeked ?? session.shown();
    if (!at) return;
    session.names(peeked ? "A look at another place" : described(session), typicality(session, at));
    live.wish(
      (signal) => session.decode([at], signal).then(([pixels]) => pixels),
      (pixels) => paint(canvas, pixels),
    );
  };
  session.names = (words, aside = "") => {
    canvas.setAttribute("aria-label", words);
    caption.replaceChildren(h("span", {}, words), h("span.quiet", {}, aside));
  };
  session.peek = (at) => {
    peeked = at;
    show();
  };
  session.history.on((now, was) => {
    if (changed(now, was, "a", "b", "path")) session.attempt(() => session.prepare(now));
    if (!changed(now, was, ...PLACED_BY)) return;
    peeked = null;
    show();
  });
  session.screen = canvas;
  const figure = h("figure.screen", {}, canvas, caption);
  drag(canvas, () => session.shown());
  session.attempt(() => session.prepare(session.state));
  show();
  return figure;
}

function described({ state }) {
  if (state.via === "place") return "One place";
  if (state.via === "square") return `In the square: ${percent(state.x)} across, ${percent(state.y)} down`;
  if (!state.a || !state.b) return state.a || state.b ? "One place" : "Nothing yet";
  if (state.t === 0) return "At A";
  return state.t === 1 ? "At B" : `${percent(state.t)} of the way from A to B`;
}

/** How far out a place lies, against where the prior's mass is. */
function typicality({ model, size }, { latent }) {
  const typical = model.latent.prior === "standard_normal" ? ` · typical ${Math.sqrt(size).toFixed(1)}` : "";
  return `${norm(latent).toFixed(1)} from the centre${typical}`;
}

const percent = (share) => `${Math.round(100 * share)} %`;

/** A, the slider, B; and what moves it. */
function glide(session) {
  const { history } = session;
  const way = slider({
    label: "From A to B",
    min: 0,
    max: 1,
    step: 0.005,
    value: session.state.t,
    words: (t) => (t <= 0 ? "A" : t >= 1 ? "B" : percent(t)),
    oninput: (t) => {
      player.stop();
      history.preview({ t, via: "glide" });
    },
    onchange: (t) => history.commit({ t, via: "glide" }),
  });
  const player = new Player(session, way);
  history.on((now, was) => changed(now, was, "t") && !player.playing && way.set(now.t));
  const path = choice(session.paths, session.state.path, (kind) => history.commit({ path: kind }));
  history.on((now) => (path.value = now.path));
  const swap = () => history.commit({ a: session.state.b, b: session.state.a, t: 1 - session.state.t });
  return h(
    "div.glide",
    {},
    h("div.ends", {}, slot(session, "a"), way.element, slot(session, "b")),
    h(
      "div.bar",
      {},
      player.button,
      checkbox("Back and forth", false, (yes) => (player.pingPong = yes)),
      inline("Path", path),
      button("Swap", swap, { className: "small", "aria-label": "Swap A and B" }),
    ),
    h(
      "div.bar",
      { role: "group", "aria-label": "Save the way from A to B as an animation" },
      h("span.quiet", {}, "Save animation"),
      FORMATS.map(([format, text]) =>
        button(text, () => saveWalk(session, format), {
          className: "small",
          "aria-label": `Save animation as ${text}`,
        }),
      ),
    ),
  );
}

function saveWalk(session, format) {
  const { a, b, path } = session.state;
  if (!a || !b) return undefined;
  return session.attempt(async () => {
    const file = await session.animation([a, b], { format, steps: 24, loop: true, path });
    save(file, `${session.model.name}-walk.${format === "apng" ? "png" : format}`);
  });
}

/** The place of one end: click to go there, drop a picture to set it. */
function slot(session, end) {
  const name = end.toUpperCase();
  const element = h(`div.slot.is-${end}`, {}, h("span.badge", { "aria-hidden": "true" }, name));
  const put = (at) => (end === "a" ? session.setA(at) : session.setB(at));
  const fill = (at) => {
    element.querySelector("button, p")?.remove();
    if (!at) element.append(h("p.quiet", {}, "empty"));
    else
      element.append(
        thumb(session, at, {
          name: `Go to ${name}`,
          pick: () => session.history.commit({ t: end === "a" ? 0 : 1, via: "glide" }),
        }),
      );
  };
  drop(element, put);
  session.history.on((now, was) => changed(now, was, end) && fill(now[end]));
  fill(session.state[end]);
  return element;
}

/** What can be done with the place on the stage. */
function actions(session) {
  const withShown = (work) => () => {
    const at = session.shown();
    if (at) work(at);
  };
  const download = withShown((at) =>
    session.attempt(async () => save(await session.png(at), `${session.model.name}.png`)),
  );
  const does = (text, work) => button(text, work, { className: "small" });
  return h(
    "div.bar.actions",
    { role: "group", "aria-label": "With this picture" },
    does(
      "Set A",
      withShown((at) => session.setA(at)),
    ),
    does(
      "Set B",
      withShown((at) => session.setB(at)),
    ),
    does(
      "To film",
      withShown((at) => session.addToFilm(at)),
    ),
    does(
      "To sum",
      withShown((at) => session.addTerm(at)),
    ),
    does("Save PNG", download),
  );
}

/** Where the stage has been, newest first; and undo. */
export function recent(session) {
  const { history } = session;
  const undo = button("Undo", () => history.undo(), { "aria-keyshortcuts": "Control+Z" });
  const redo = button("Redo", () => history.redo(), { "aria-keyshortcuts": "Control+Shift+Z" });
  const list = h("ul.strip", { "aria-label": "Recent places" });
  const seen = [];
  const note = (now, was) => {
    undo.disabled = !history.canUndo;
    redo.disabled = !history.canRedo;
    const at = session.shown();
    if (!at || history.unsettled || (was && !changed(now, was, ...PLACED_BY) && seen[0])) return;
    seen.unshift(at);
    const item = h(
      "li",
      {},
      thumb(session, at, { name: `Show recent place ${seen.length}`, pick: () => session.show(at) }),
    );
    list.prepend(item);
    if (seen.length > MOST_RECENT) {
      seen.pop();
      list.lastElementChild.remove();
    }
  };
  history.on(note);
  note(session.state, null);
  return h(
    "section.recent",
    { "aria-labelledby": "recent-title" },
    h("div.bar", {}, h("h2", { id: "recent-title" }, "History"), undo, redo),
    list,
  );
}

const MOST_RECENT = 24;
