/** Your picture: where the model puts it, what it keeps of it, and how likely it finds it. */

import { button, checkbox, choice, field, h, signed } from "./dom.js";
import { Live } from "./live.js";
import { difference, paint } from "./paint.js";
import { drawing } from "./drawing.js";
import { place } from "./places.js";
import { prepared, suggested } from "./preparation.js";
import { classification, elboBars, realism, verdict } from "./verdict.js";

/** Pictures are read at this size at most: far above any model's. */
const MOST_SIDE = 512;
const FILES = "image/png,image/jpeg,image/webp";
const SCORE_SEED = 1;

/** @param {import("./session.js").Session} session */
export function yours(session) {
  if (!["encode", "score", "realism"].some((capability) => session.can(capability))) return null;
  const panel = new Yours(session);
  return { id: "yours", title: "Your picture", element: panel.element, take: (file) => panel.take(file) };
}

class Yours {
  #source = null;
  #label = 0;

  constructor(session) {
    this.session = session;
    this.live = new Live(session.failed);
    this.space = { ...session.model.image, background: session.manifest.image.background ?? [0, 0, 0] };
    this.results = h("div.results", { "aria-live": "polite" });
    this.treatment = { invert: false, cutOut: false };
    this.treatments = h("div.bar", { hidden: true });
    this.element = h("div", {}, this.#sources(), this.treatments, this.results);
  }

  #sources() {
    const file = h("input", { type: "file", accept: FILES, onchange: () => file.files[0] && this.take(file.files[0]) });
    const shown = button("Take the picture on the stage", () =>
      this.session.attempt(async () => {
        const at = this.session.shown();
        if (at) await this.take(await this.session.png(at));
      }),
    );
    const conditional = this.session.takesLabel("image_to_latent", "image_to_evidence", "latent_to_image");
    const classes = this.session.model.classes ?? [];
    const label =
      conditional &&
      classes.length > 0 &&
      field(
        "Its class",
        choice(
          classes.map((name, index) => [String(index), name]),
          "0",
          (value) => {
            this.#label = Number(value);
            this.#read();
          },
        ),
      );
    return h(
      "div.sources",
      {},
      h(
        "div",
        {},
        h(
          "p.quiet.help",
          {},
          "Drop a photo anywhere on the page, paste one, pick a file, or draw. It leaves this page only for the service that you see it from.",
        ),
        field("Picture file", file),
        label,
        shown,
      ),
      drawing((canvas) => this.#begin(canvas, canvas.width, canvas.height)),
    );
  }

  /** A picture file. @param {Blob} file */
  take(file) {
    return this.session.attempt(async () => {
      const bitmap = await createImageBitmap(file).catch(() => {
        throw Object.assign(new Error("It is not a picture that this browser can read."), {
          title: "That file cannot be shown",
        });
      });
      this.#begin(bitmap, bitmap.width, bitmap.height);
    });
  }

  #begin(drawable, width, height) {
    const scale = Math.min(1, MOST_SIDE / Math.max(width, height));
    const canvas = new OffscreenCanvas(Math.max(1, Math.round(width * scale)), Math.max(1, Math.round(height * scale)));
    const context = canvas.getContext("2d", { willReadFrequently: true });
    Object.assign(context, { imageSmoothingQuality: "high" }).drawImage(drawable, 0, 0, canvas.width, canvas.height);
    this.#source = context.getImageData(0, 0, canvas.width, canvas.height);
    this.treatment = suggested(this.#source, this.space);
    this.#offerTreatments();
    this.#read();
  }

  #offerTreatments() {
    const set = (name) => (yes) => {
      this.treatment = { ...this.treatment, [name]: yes };
      this.#read();
    };
    const cut =
      this.space.channels === 1 && checkbox("Cut out and centre what is drawn", this.treatment.cutOut, set("cutOut"));
    this.treatments.replaceChildren(
      ...[checkbox("Swap light and dark", this.treatment.invert, set("invert")), cut].filter(Boolean),
    );
    this.treatments.hidden = false;
  }

  /** Ask the model about the picture, as it is treated now. */
  #read() {
    if (!this.#source) return;
    const pixels = prepared(this.#source, this.space, this.treatment);
    this.live.wish(
      (signal) => this.#ask(pixels, signal),
      (answer) => this.#show(pixels, answer),
    );
  }

  async #ask(pixels, signal) {
    const { session } = this;
    const { client, ref } = session;
    const label = (role) => (session.takesLabel(role) ? this.#label : null);
    const [encoded, score, judged, classified] = await Promise.all([
      session.can("encode") ? client.encode(ref, pixels, { signal, label: label("image_to_latent") }) : null,
      session.can("score")
        ? client.score(ref, pixels, { signal, label: label("image_to_evidence"), seed: SCORE_SEED })
        : null,
      session.can("realism") ? client.realism(ref, pixels, { signal }) : null,
      session.can("classify") ? client.classify(ref, pixels, { signal }) : null,
    ]);
    const at = encoded && place(encoded[0].mean, session.classes.length ? this.#label : null);
    const back = at && session.can("decode") ? await session.pixels(at) : null;
    return { at, back, score, judged, classified };
  }

  #show(pixels, { at, back, score, judged, classified }) {
    const pictures = [figure("What the model sees", pixels)];
    if (back)
      pictures.push(
        figure("What it gives back", back),
        figure("Where they differ", difference(seen(pixels, this.session.manifest.image), back), "difference"),
      );
    const use =
      back &&
      h(
        "div.bar",
        {},
        ...["A", "B"].map((end) => button(`Set ${end} to it`, () => this.session[`set${end}`](at))),
        button("To sum", () => this.session.addTerm(at)),
        button("Show on the stage", () => this.session.show(at)),
      );
    const parts = [
      score && verdictCard(score),
      h("div.figures", {}, ...pictures),
      use,
      classified && h("p", {}, classification(classified)),
      judged && h("p", {}, realism(judged.logit, judged.probability)),
      score && elbo(score, this.session.manifest),
    ];
    this.results.replaceChildren(...parts.filter(Boolean));
  }
}

/** The picture as it is scored: some models read every pixel as black or white. */
function seen(pixels, { observation, threshold }) {
  if (observation !== "threshold") return pixels;
  return { ...pixels, data: pixels.data.map((value) => (value / 255 >= threshold ? 255 : 0)) };
}

function figure(text, pixels, kind = "plain") {
  const canvas = h(`canvas.${kind}`, { role: "img", "aria-label": text });
  paint(canvas, pixels);
  return h("figure", {}, canvas, h("figcaption", {}, text));
}

function verdictCard(score) {
  const { word, title, sentence } = verdict(score);
  return h(`div.verdict.is-${word}`, {}, h("strong", {}, title), h("p", {}, sentence));
}

/** The bound and its parts: a table with a bar in each row. */
function elbo(score, { likelihood }) {
  const rows = elboBars(score).map(({ name, nats, from, to }, index) => {
    const bar = h(`div.bar-of.part-${index}`, {});
    bar.style.marginInlineStart = `${100 * from}%`;
    bar.style.inlineSize = `${Math.max(0.5, 100 * (to - from))}%`;
    return h("tr", {}, h("th", { scope: "row" }, name), h("td.number", {}, signed(nats, 1)), h("td.axis", {}, bar));
  });
  const tighter =
    typeof score.importance_weighted_nats === "number"
      ? ` With importance weights: ${signed(score.importance_weighted_nats, 1)}.`
      : "";
  const of = likelihood ? `, nats of the ${likelihood.nats_of}` : " in nats";
  const assumed = likelihood?.assumption ? ` Assumed: ${likelihood.assumption}.` : "";
  const caption = `The evidence lower bound${of}.${tighter}${assumed}`;
  return h("table.elbo", {}, h("caption", {}, caption), h("tbody", {}, ...rows));
}
