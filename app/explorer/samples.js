/** Samples of a seed: the page's beginning, and where A and B usually come from. */

import { button, choice, field, h, save, slider } from "./dom.js";
import { changed } from "./history.js";
import { Live } from "./live.js";
import { roving, thumb } from "./thumbs.js";

const COUNTS = ["16", "36", "64", "144", "256"];
/** The slider's upper end stands for no truncation. */
const NO_TRUNCATION = 4;

/** @param {import("./session.js").Session} session */
export function samples(session) {
  if (!session.can("sample")) return null;
  return { id: "samples", title: "Samples", element: h("div", {}, controls(session), grid(session)) };
}

/** The wish in a state. */
const wishOf = ({ seed, count, temperature, truncation, label }) => ({ seed, count, temperature, truncation, label });

/**
 * Sampling anew, latest wins. What was wished for and has not come yet is part of the next wish.
 * @param {() => void} refused the controls go back to what is shown
 */
function resampler(session, refused) {
  let wanted = {};
  const live = new Live((error) => {
    wanted = {};
    session.failed(error);
    refused();
  });
  const resample = (patch, how = "commit") => {
    wanted = { ...wanted, ...patch };
    const wish = { ...wishOf(session.state), ...wanted };
    live.wish(
      (signal) => session.draw(wish, signal),
      (found) => {
        wanted = Object.fromEntries(Object.entries(wanted).filter(([name, value]) => value !== wish[name]));
        session.history[how]({ ...wish, grid: found });
      },
    );
  };
  return { resample, wanted: () => ({ ...wishOf(session.state), ...wanted }) };
}

function controls(session) {
  const { history, state } = session;
  const { resample, wanted } = resampler(session, () => sync());
  const seed = h("input", {
    type: "number",
    min: 0,
    max: Number.MAX_SAFE_INTEGER,
    step: 1,
    value: state.seed,
    required: true,
  });
  seed.addEventListener("change", () => seed.reportValidity() && resample({ seed: seed.valueAsNumber }));
  const temperature = slider({
    label: "Temperature",
    min: 0,
    max: 2,
    step: 0.05,
    value: state.temperature,
    words: (value) => value.toFixed(2),
    oninput: (value) => resample({ temperature: value }, "preview"),
    onchange: (value) => resample({ temperature: value }),
  });
  const truncation = slider({
    label: "Truncation",
    min: 0.25,
    max: NO_TRUNCATION,
    step: 0.25,
    value: state.truncation ?? NO_TRUNCATION,
    words: (value) => (value >= NO_TRUNCATION ? "none" : `within ±${value}`),
    oninput: (value) => resample({ truncation: value >= NO_TRUNCATION ? null : value }, "preview"),
    onchange: (value) => resample({ truncation: value >= NO_TRUNCATION ? null : value }),
  });
  const counts = COUNTS.includes(String(state.count)) ? COUNTS : [String(state.count), ...COUNTS];
  const count = choice(
    counts.map((number) => [number, number]),
    String(state.count),
    (value) => resample({ count: Number(value) }),
  );
  const label = labelChoice(session, resample);
  const sync = () => {
    const wish = wanted();
    seed.value = String(wish.seed);
    count.value = String(wish.count);
    temperature.set(wish.temperature);
    truncation.set(wish.truncation ?? NO_TRUNCATION);
  };
  history.on((now, was) => changed(now, was, "seed", "count", "temperature", "truncation", "label") && sync());
  const another = button("New seed", () => resample({ seed: Math.floor(Math.random() * 1e6) }));
  return h(
    "div.controls",
    {},
    field("Seed", seed, another),
    field("Images", count),
    label,
    temperature.element,
    truncation.element,
  );
}

function labelChoice(session, resample) {
  if (session.classes.length === 0) return null;
  const options = [["", "Any"], ...session.classes.map((name, index) => [String(index), name])];
  const select = choice(options, String(session.state.label ?? ""), (value) =>
    resample({ label: value === "" ? null : Number(value) }),
  );
  session.history.on((now) => (select.value = String(now.label ?? "")));
  return field("Class", select);
}

function grid(session) {
  const { history } = session;
  let end = "a";
  const list = h("div.grid", { role: "group", "aria-label": "Samples", "aria-describedby": "samples-help" });
  const pick = (at, to) => (to === "b" || end === "b" ? session.setB(at) : session.setA(at));
  const fill = (places) => {
    const items = places.map((at, index) =>
      thumb(session, at, { name: nameOf(session, at, index), pick: (to) => pick(at, to) }),
    );
    list.replaceChildren(...items);
    list.dataset.size = places.length > 64 ? "small" : places.length > 16 ? "medium" : "large";
    roving(list);
    mark(list, session.state);
  };
  history.on((now, was) => {
    if (changed(now, was, "grid")) fill(now.grid);
    else if (changed(now, was, "a", "b")) mark(list, now);
  });
  fill(session.state.grid);
  const sets = (value) =>
    h(
      "label.check",
      {},
      h("input", { type: "radio", name: "click-sets", value, checked: value === end, onchange: () => (end = value) }),
      `sets ${value.toUpperCase()}`,
    );
  const sheet = button("Save sheet as PNG", () => saveSheet(session), { className: "small" });
  return h(
    "div",
    {},
    h(
      "div.bar",
      {},
      h("fieldset.inline", {}, h("legend", {}, "A click"), sets("a"), sets("b")),
      h("p.quiet.help", { id: "samples-help" }, "Shift and click sets B. Drag pictures anywhere."),
      sheet,
    ),
    list,
  );
}

function saveSheet(session) {
  return session.attempt(async () => {
    const file = await session.client.samplePng(session.ref, wishOf(session.state));
    save(file, `${session.model.name}-seed-${session.state.seed}.png`);
  });
}

function nameOf({ classes }, at, index) {
  const label = at.label === null ? "" : `, ${classes[at.label] ?? at.label}`;
  return `Sample ${index}${label}`;
}

/** Say which of the pictures are A and B. */
function mark(list, { grid: places, a, b }) {
  [...list.children].forEach((item, index) => {
    const is = [places[index] === a && "A", places[index] === b && "B"].filter(Boolean);
    item.dataset.is = is.join("");
    if (is.length) item.setAttribute("aria-description", `is ${is.join(" and ")}`);
    else item.removeAttribute("aria-description");
  });
}
