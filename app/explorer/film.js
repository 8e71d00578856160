/** The film: keyframes in order, and the animation through them. */

import { button, checkbox, choice, h, inline, refill, slider } from "./dom.js";
import { changed } from "./history.js";
import { drop, thumb } from "./thumbs.js";

const FORMATS = { gif: ["GIF", "gif"], webp: ["WebP", "webp"], apng: ["APNG", "png"] };

/** How many frames an animation has. */
export function frameCount(keyframes, steps, loop) {
  if (keyframes < 2) return 0;
  return loop ? keyframes * (steps - 1) : (keyframes - 1) * (steps - 1) + 1;
}

/** A list with one element moved by some places, kept inside. @template T @param {T[]} list @returns {T[]} */
export function moved(list, from, by) {
  const to = Math.min(list.length - 1, Math.max(0, from + by));
  const rest = list.filter((_, index) => index !== from);
  return [...rest.slice(0, to), list[from], ...rest.slice(to)];
}

/** @param {import("./session.js").Session} session */
export function film(session) {
  if (!session.can("interpolate")) return null;
  const { history } = session;
  const strip = h("ol.film", { "aria-label": "Keyframes" });
  const empty = "No keyframes yet. Add the stage’s picture, drag pictures here, or press F on one.";
  const fill = (now) => {
    const frames = now.film.map((at, index) => keyframe(session, at, index));
    refill(strip, frames.length ? frames : [h("li.quiet.empty", {}, empty)]);
  };
  history.on((now, was) => changed(now, was, "film") && fill(now));
  fill(session.state);
  drop(strip, (at) => session.addToFilm(at));
  const element = h(
    "div",
    {},
    h("p.quiet.help", {}, "An animation that glides through its keyframes in order."),
    strip,
    h(
      "div.bar",
      {},
      button("Add the stage’s picture", () => session.shown() && session.addToFilm(session.shown())),
      button("Add A and B", () =>
        history.commit({ film: [...session.state.film, session.state.a, session.state.b].filter(Boolean) }),
      ),
      button("Clear", () => history.commit({ film: [] })),
    ),
    settings(session),
    cutting(session),
  );
  return { id: "film", title: "Film", element };
}

function keyframe(session, at, index) {
  const { history } = session;
  const number = index + 1;
  const shift = (by) => history.commit({ film: moved(session.state.film, index, by) });
  const last = session.state.film.length - 1;
  return h(
    "li",
    {},
    thumb(session, at, { name: `Show keyframe ${number}`, pick: () => session.show(at) }),
    h(
      "div.bar",
      {},
      button("←", () => shift(-1), {
        className: "small",
        disabled: index === 0,
        "aria-label": `Move keyframe ${number} earlier`,
      }),
      button("→", () => shift(1), {
        className: "small",
        disabled: index === last,
        "aria-label": `Move keyframe ${number} later`,
      }),
      button("✕", () => history.commit({ film: session.state.film.filter((_, other) => other !== index) }), {
        className: "small",
        "aria-label": `Remove keyframe ${number}`,
      }),
    ),
  );
}

function settings(session) {
  const { history, state } = session;
  const count = h("output", {});
  const steps = slider({
    label: "Frames a leg",
    min: 2,
    max: 64,
    step: 1,
    value: state.steps,
    words: String,
    oninput: (value) => history.preview({ steps: value }),
    onchange: (value) => history.commit({ steps: value }),
  });
  const loop = checkbox("Loop back to the first", state.loop, (yes) => history.commit({ loop: yes }));
  const say = (now) => {
    const frames = frameCount(now.film.length, now.steps, now.loop);
    count.textContent = frames ? `${frames} frames` : "two keyframes at least";
  };
  history.on((now) => {
    steps.set(now.steps);
    loop.firstChild.checked = now.loop;
    say(now);
  });
  say(state);
  return h(
    "div.controls",
    {},
    steps.element,
    h("div.field", {}, h("span", {}, "Together"), h("div.row", {}, count)),
    h("div.field", {}, h("span", {}, "End"), h("div.row", {}, loop)),
  );
}

/** Make the file, show it, save it. */
function cutting(session) {
  const preview = h("img.cut", { hidden: true, alt: "The animation through the keyframes" });
  const make = h("button.primary", { type: "button" }, "Make the animation");
  const format = choice(
    Object.entries(FORMATS).map(([value, [text]]) => [value, text]),
    "gif",
    () => {},
  );
  const link = h("a.button", { hidden: true }, "Save it");
  const enable = ({ film: frames }) => (make.disabled = frames.length < 2);
  session.history.on(enable);
  enable(session.state);
  make.addEventListener("click", () =>
    session.attempt(async () => {
      const { film: places, steps, loop, path } = session.state;
      const file = await session.animation(places, { format: format.value, steps, loop, path }, session.stopped.signal);
      if (preview.src) URL.revokeObjectURL(preview.src);
      preview.src = URL.createObjectURL(file);
      Object.assign(link, {
        href: preview.src,
        download: `${session.model.name}-film.${FORMATS[format.value][1]}`,
        hidden: false,
      });
      preview.hidden = false;
    }),
  );
  return h("div", {}, h("div.bar", {}, inline("Format", format), make, link), preview);
}
