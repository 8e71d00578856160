/** What the page just did, as curl, Python and fetch. */

import { asTerm } from "./arithmetic.js";
import { button, choice, h, inline } from "./dom.js";
import { asPoint } from "./places.js";
import { LANGUAGES } from "./snippets.js";

const CALLS = {
  samples: [
    "These samples",
    "sample",
    ({ seed, count, temperature, truncation, label }) => ({
      body: defined({ seed, count, temperature, truncation, label }),
    }),
  ],
  stage: ["The picture on the stage", "decode", (state, session) => stageCall(session)],
  walk: [
    "The way from A to B",
    "interpolate",
    ({ a, b, path }, session) =>
      a &&
      b && {
        body: defined({ points: [asPoint(a), asPoint(b)], steps: 24, loop: true, path, label: session.labelOf(a) }),
        query: "?format=gif",
        save: "walk.gif",
      },
  ],
  film: [
    "The film",
    "interpolate",
    ({ film, steps, loop, path }, session) =>
      film.length > 1 && {
        body: defined({ points: film.map(asPoint), steps, loop, path, label: session.labelOf(film[0]) }),
        query: "?format=gif",
        save: "film.gif",
      },
  ],
  sum: ["The sum", "arithmetic", (state, session) => sumCall(state, session)],
  score: ["Scoring a picture", "score", () => ({ file: "picture.png" })],
};

const USUAL = {
  samples: "samples",
  square: "stage",
  sliders: "stage",
  map: "stage",
  yours: "score",
  arithmetic: "sum",
  film: "film",
};

/** The call of one kind in a session's state; null where there is none. @returns {import("./snippets.js").Call|null} */
export function callOf(session, kind) {
  const [, operation, build] = CALLS[kind];
  const { query = "", ...call } = build(session.state, session) || { missing: true };
  if (call.missing || !session.can(operation)) return null;
  const url = new URL(`v1/models/${session.ref}/${operation}${query}`, session.client.base).href;
  return { url, ...call, key: Boolean(session.client.key) };
}

function stageCall(session) {
  const at = session.shown();
  if (!at) return null;
  return {
    body: defined({ latents: [Array.from(at.latent)], label: session.labelOf(at) }),
    query: "?format=png",
    save: "picture.png",
  };
}

function sumCall({ terms, typical }, session) {
  const first = terms.find(({ places }) => places.length);
  if (!first) return null;
  const scaled = typical && session.model.latent.prior === "standard_normal";
  const body = {
    terms: terms.map(asTerm),
    renormalize: scaled ? "typical" : "none",
    label: session.labelOf(first.places[0]),
  };
  return { body: defined(body), query: "?format=png", save: "sum.png" };
}

function defined(wish) {
  return Object.fromEntries(Object.entries(wish).filter(([, value]) => value !== null));
}

/** @param {import("./session.js").Session} session @param {import("./notices.js").Notices} notices */
export function code(session, notices) {
  const text = h("pre", { tabIndex: 0, "aria-label": "Code" });
  const kinds = Object.keys(CALLS).filter((kind) => session.can(CALLS[kind][1]));
  const what = choice(
    kinds.map((kind) => [kind, CALLS[kind][0]]),
    kinds[0],
    () => write(),
  );
  const language = choice(
    Object.entries(LANGUAGES).map(([id, { name }]) => [id, name]),
    "curl",
    () => write(),
  );
  const details = h("details.code", { ontoggle: () => write() }, h("summary", {}, "Copy as curl, Python or fetch"));
  const write = () => {
    if (!details.open) return;
    const call = callOf(session, what.value);
    text.textContent = call ? LANGUAGES[language.value].write(call) : "Nothing of that kind on the page yet.";
  };
  session.history.on((now, was) => {
    if (now.tool !== was.tool && kinds.includes(USUAL[now.tool])) what.value = USUAL[now.tool];
    write();
  });
  const copy = button("Copy", () => toClipboard(text).then(() => notices.say("Copied.")));
  details.append(h("div.bar", {}, inline("What", what), inline("Language", language), copy), text);
  return details;
}

/** The clipboard's own interface wants a secure page; elsewhere the text is selected and copied as by hand. */
async function toClipboard(element) {
  if (navigator.clipboard) return navigator.clipboard.writeText(element.textContent);
  getSelection().selectAllChildren(element);
  document.execCommand("copy");
  return undefined;
}
