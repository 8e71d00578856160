/** Arithmetic: a sum of places, each with a weight; several places in one term are their mean. */

import { button, checkbox, choice, h, refill, signed } from "./dom.js";
import { changed } from "./history.js";
import { Live } from "./live.js";
import { asPoint, place } from "./places.js";
import { drop, picture, thumb } from "./thumbs.js";

/** @typedef {import("./session.js").State["terms"][number]} Term */

/** @param {import("./session.js").Session} session */
export function arithmetic(session) {
  if (!session.can("arithmetic")) return null;
  const { history } = session;
  const tray = h("ol.terms", { "aria-label": "Terms of the sum" });
  const change = (terms) => history.commit({ terms });
  const fill = ({ terms }) => {
    const rows = terms.map((term, index) => termRow(session, term, index, change));
    refill(tray, rows.length ? rows : [h("li.quiet.empty", {}, "The sum is empty.")]);
  };
  history.on((now, was) => changed(now, was, "terms") && fill(now));
  fill(session.state);
  drop(tray, (at) => session.addTerm(at));
  const element = h(
    "div",
    {},
    h(
      "p.quiet.help",
      {},
      "Add pictures with “To sum”, by dragging, or with S on a picture. Give some a negative weight: smile − neutral + face.",
    ),
    tray,
    h(
      "div.bar",
      {},
      button("Add the stage’s picture", () => session.shown() && session.addTerm(session.shown())),
      directionChoice(session),
      button("Clear", () => change([])),
      typical(session),
    ),
    answer(session),
  );
  return { id: "arithmetic", title: "Arithmetic", element };
}

/** @param {Term} term */
function termRow(session, term, index, change) {
  const { terms } = session.state;
  const replace = (changedTerm) => change(session.state.terms.map((other, at) => (at === index ? changedTerm : other)));
  const weight = h("input", {
    type: "number",
    step: 0.1,
    min: -10,
    max: 10,
    value: term.weight,
    required: true,
    "aria-label": `Weight of term ${index + 1}`,
  });
  weight.addEventListener(
    "change",
    () => weight.reportValidity() && replace({ ...term, weight: weight.valueAsNumber }),
  );
  const what = term.direction
    ? h("span.direction", {}, term.direction)
    : h(
        "span.places",
        {},
        ...term.places.map((at, number) =>
          thumb(session, at, { name: `Term ${index + 1}, picture ${number + 1}`, pick: () => session.show(at) }),
        ),
      );
  const more =
    !term.direction &&
    button(
      "Mean with the stage",
      () => session.shown() && replace({ ...term, places: [...term.places, session.shown()] }),
      { className: "small" },
    );
  const row = h(
    "li.term",
    {},
    weight,
    h("span", { "aria-hidden": "true" }, "×"),
    what,
    term.places.length > 1 && h("span.quiet", {}, `mean of ${term.places.length}`),
    more,
    button("Remove", () => change(terms.filter((_, at) => at !== index)), {
      className: "small",
      "aria-label": `Remove term ${index + 1}`,
    }),
  );
  if (!term.direction) drop(row, (at) => replace({ ...term, places: [...term.places, at] }));
  return row;
}

function directionChoice(session) {
  if (session.directions.length === 0) return null;
  const options = [["", "Add a direction …"], ...session.directions.map((name) => [name, name])];
  const select = choice(options, "", (direction) => {
    select.value = "";
    session.history.commit({ terms: [...session.state.terms, { weight: 1, places: [], direction }] });
  });
  select.setAttribute("aria-label", "Add a direction");
  return select;
}

function typical(session) {
  const { history } = session;
  if (session.model.latent.prior !== "standard_normal") return null;
  const box = checkbox("Scale to the typical length", session.state.typical, (yes) => history.commit({ typical: yes }));
  history.on((now) => (box.firstChild.checked = now.typical));
  return box;
}

/** A term as the API takes it. @param {Term} term */
export function asTerm({ weight, places, direction }) {
  if (direction) return { weight, point: { direction } };
  return { weight, point: places.length === 1 ? asPoint(places[0]) : { mean: places.map(asPoint) } };
}

function answer(session) {
  const { history } = session;
  const live = new Live(session.failed);
  const result = h("div.answer", { "aria-live": "polite" });
  const show = ({ latent, log_prior_nats: density }, label) => {
    const at = place(latent, label);
    result.replaceChildren(
      h("div.slot.is-sum", {}, h("span.badge", { "aria-hidden": "true" }, "="), picture(session, at)),
      h(
        "div",
        {},
        h(
          "p",
          {},
          typeof density === "number" ? `Log prior ${signed(density, 1)} nats${compared(session, density)}` : "",
        ),
        h(
          "div.bar",
          {},
          button("Show on the stage", () => session.show(at)),
          button("Set A to it", () => session.setA(at)),
          button("Set B to it", () => session.setB(at)),
        ),
      ),
    );
  };
  const ask = ({ terms, typical: scaled }) => {
    if (terms.every(({ direction }) => direction)) return void result.replaceChildren();
    const normal = session.model.latent.prior === "standard_normal";
    const label = session.labelOf(terms.find(({ places }) => places.length).places[0]);
    const options = { renormalize: scaled && normal ? "typical" : "none", label };
    live.wish(
      (signal) => session.client.arithmetic(session.ref, terms.map(asTerm), { ...options, signal }),
      (found) => show(found, label),
    );
  };
  history.on((now, was) => changed(now, was, "terms", "typical") && ask(now));
  ask(session.state);
  return result;
}

/** What a log prior is next to that of a usual place: E[log p(z)] = −D/2 (1 + log 2π) under a standard normal. */
function compared({ model, size }, density) {
  if (model.latent.prior !== "standard_normal") return ".";
  const usual = (-size / 2) * (1 + Math.log(2 * Math.PI));
  const words =
    Math.abs(density - usual) < 0.5 ? "as usual places have" : `usual places have about ${signed(usual, 1)}`;
  const where =
    density - usual > 0.5
      ? ": this one lies nearer to the centre"
      : usual - density > 0.5
        ? ": this one lies further out"
        : "";
  return `, ${words}${where}.`;
}
