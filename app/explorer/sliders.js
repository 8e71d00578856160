/** Sliders: the dimensions that change a picture most, named directions, and children of a place. */

import { button, checkbox, choice, h, inline, signed, slider } from "./dom.js";
import { changed } from "./history.js";
import { child, normal, place, withValue } from "./places.js";
import { PLACED_BY } from "./session.js";
import { roving, thumb } from "./thumbs.js";

const EXTENT = 4;
const SHOWN_AT_FIRST = 8;
const CHILDREN = 8;
/** Dimensions that may be tried one by one where none were measured. */
const MOST_TRIED = 120;
const PROBE = 1.5;

/** @param {import("./session.js").Session} session */
export function sliders(session) {
  if (!session.can("decode")) return null;
  const element = h("div", {}, dimensions(session), directions(session), children(session));
  return { id: "sliders", title: "Sliders", element, shown: () => element.dispatchEvent(new Event("shown")) };
}

/** The dimensions, most telling first: the manifest's, else ranked by what each changes around the stage's place. */
async function ranking(session) {
  const measured = session.manifest.latent.active_dimensions ?? [];
  const all = Array.from({ length: session.size }, (_, index) => index);
  if (measured.length) return measured;
  const at = session.shown();
  if (!at || session.size > MOST_TRIED) return all;
  const tried = all.flatMap((dimension) =>
    [-PROBE, PROBE].map((value) => place(withValue(at.latent, dimension, value), at.label)),
  );
  const pictures = await session.decode(tried, session.stopped.signal);
  const change = all.map((dimension) => unlikeness(pictures[2 * dimension], pictures[2 * dimension + 1]));
  return all.sort((one, other) => change[other] - change[one]);
}

function unlikeness(one, other) {
  return one.data.reduce((sum, value, index) => sum + (value - other.data[index]) ** 2, 0);
}

function dimensions(session) {
  const list = h("div.dimensions", {});
  let order = null;
  let count = SHOWN_AT_FIRST;
  const fill = () =>
    list.replaceChildren(...order.slice(0, count).map((dimension, rank) => dimensionRow(session, dimension, rank)));
  const more = choice(
    [
      ["8", "8"],
      ["16", "16"],
      ["64", "64"],
    ],
    "8",
    (value) => {
      count = Number(value);
      if (order) fill();
    },
  );
  const start = () =>
    session.attempt(async () => {
      if (order || session.state.tool !== "sliders" || !session.shown()) return;
      order = [];
      order = await ranking(session);
      fill();
    });
  session.history.on(start);
  start();
  const centre = () => {
    const at = session.shown();
    const locked = new Set(session.state.locked);
    if (at)
      session.show(
        place(
          at.latent.map((value, index) => (locked.has(index) ? value : 0)),
          at.label,
        ),
      );
  };
  return h(
    "section",
    { "aria-labelledby": "dimensions-title" },
    h(
      "div.bar",
      {},
      h("h3", { id: "dimensions-title" }, "Dimensions, most telling first"),
      inline("Show", more),
      button("Reset all", centre),
    ),
    list,
  );
}

function dimensionRow(session, dimension, rank) {
  const { history } = session;
  const move = (value, how) => {
    const at = session.shown();
    if (at) history[how]({ here: place(withValue(at.latent, dimension, value), at.label), via: "place" });
  };
  const made = slider({
    label: `Dimension ${dimension}`,
    min: -EXTENT,
    max: EXTENT,
    step: 0.05,
    value: session.shown()?.latent[dimension] ?? 0,
    words: (value) => signed(value, 2),
    oninput: (value) => move(value, "preview"),
    onchange: (value) => move(value, "commit"),
  });
  const lock = checkbox("Lock", session.state.locked.includes(dimension), (yes) => {
    const others = session.state.locked.filter((other) => other !== dimension);
    history.commit({ locked: yes ? [...others, dimension] : others });
  });
  lock.firstChild.setAttribute("aria-label", `Lock dimension ${dimension}`);
  const zero = button("Reset", () => move(0, "commit"), {
    "aria-label": `Reset dimension ${dimension}`,
    className: "small",
  });
  history.on((now, was) => {
    if (changed(now, was, ...PLACED_BY)) made.set(session.shown(now)?.latent[dimension] ?? 0);
    if (changed(now, was, "locked")) lock.firstChild.checked = now.locked.includes(dimension);
  });
  const row = h("div.dimension", {}, made.element, lock, zero);
  row.dataset.rank = String(rank);
  return row;
}

/** Directions that have a name, where the model has any: so far along it from the stage's place. */
function directions(session) {
  if (session.directions.length === 0) return null;
  const rows = session.directions.map((name) => {
    let from = null;
    const made = slider({
      label: name,
      min: -3,
      max: 3,
      step: 0.1,
      value: 0,
      words: (value) => signed(value, 1),
      onchange: (weight) =>
        session.attempt(async () => {
          from ??= session.shown();
          const terms = [{ point: { latent: Array.from(from.latent) } }, { weight, point: { direction: name } }];
          const { latent } = await session.client.arithmetic(session.ref, terms, { label: session.labelOf(from) });
          session.show(place(latent, from.label));
        }),
    });
    made.input.addEventListener("blur", () => {
      from = null;
      made.set(0);
    });
    return made.element;
  });
  return h(
    "section",
    { "aria-labelledby": "directions-title" },
    h("h3", { id: "directions-title" }, "Directions"),
    ...rows,
  );
}

function children(session) {
  const { history } = session;
  const far = slider({
    label: "Distance",
    min: 0.05,
    max: 1,
    step: 0.05,
    value: session.state.distance,
    words: (value) => value.toFixed(2),
    onchange: (distance) => history.commit({ distance }),
  });
  history.on((now, was) => changed(now, was, "distance") && far.set(now.distance));
  const list = h("div.grid", { role: "group", "aria-label": "Children" });
  const make = () => {
    const at = session.shown();
    if (!at) return;
    const locked = new Set(session.state.locked);
    const born = Array.from({ length: CHILDREN }, () =>
      place(
        child(at.latent, session.state.distance, locked, () => normal()),
        at.label,
      ),
    );
    list.replaceChildren(
      ...born.map((one, index) =>
        thumb(session, one, {
          name: `Child ${index + 1}`,
          pick: (to) => (to === "b" ? session.setB(one) : session.show(one)),
        }),
      ),
    );
    roving(list);
  };
  return h(
    "section",
    { "aria-labelledby": "children-title" },
    h("h3", { id: "children-title" }, "Children"),
    h("p.quiet.help", {}, "Eight neighbours of the picture on the stage; locked dimensions stay. A click shows one."),
    h("div.controls", {}, far.element, h("div.bar", {}, button("Make children", make))),
    list,
  );
}
