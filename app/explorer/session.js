/**
 * One model being explored: what it can do, its state and its pictures.
 *
 * @typedef {import("./places.js").Place} Place
 * @typedef {import("./latentserve.js").Pixels} Pixels
 * @typedef {object} State
 * @property {number} seed @property {number} count @property {number} temperature
 * @property {number|null} truncation @property {number|null} label
 * @property {Place[]} grid what the seed gave
 * @property {Place|null} a @property {Place|null} b @property {Place|null} c @property {Place|null} d
 * @property {import("./places.js").PathKind} path
 * @property {number} t between A (0) and B (1)
 * @property {number} x @property {number} y within the square of A, B, C, D
 * @property {"glide"|"square"|"place"} via what the stage shows: a place between A and B, in the square, or `here`
 * @property {Place|null} here
 * @property {{weight: number, places: Place[], direction?: string}[]} terms
 * @property {boolean} typical scale a sum to the typical length
 * @property {Place[]} film @property {number} steps frames a leg @property {boolean} loop
 * @property {readonly number[]} locked dimensions that children keep @property {number} distance of children
 * @property {string} tool
 * @property {{a: Place, b: Place, latents: Float32Array[]}|null} chain a path that only the service knows, from A to B
 */

import { History } from "./history.js";
import { asPoint, between, inSquare, place } from "./places.js";
import { pixelsOf } from "./paint.js";

/** Latents a request: the service's own default limit. */
const MOST_IMAGES = 256;
/** How many latents of a prior path are asked for; what lies between two of them is mixed straight. */
const CHAIN_STEPS = 33;

export const INITIAL = Object.freeze({
  seed: 7,
  count: 16,
  temperature: 1,
  truncation: null,
  label: null,
  grid: [],
  a: null,
  b: null,
  c: null,
  d: null,
  path: "linear",
  t: 0,
  x: 0.5,
  y: 0.5,
  via: "glide",
  here: null,
  terms: [],
  typical: true,
  film: [],
  steps: 16,
  loop: true,
  locked: [],
  distance: 0.4,
  tool: "samples",
  chain: null,
});

/** What the place on the stage depends on. */
export const PLACED_BY = ["a", "b", "c", "d", "path", "t", "x", "y", "via", "here", "chain"];

export class Session {
  #waiting = /** @type {{place: Place, resolve: Function, reject: Function}[]} */ ([]);
  #pictures = new WeakMap();
  #shown = new WeakMap();

  /**
   * @param {import("./latentserve.js").LatentServe} client
   * @param {object} model as `GET /v1/models/{model}` describes it
   * @param {(error: Error) => void} failed where problems are shown
   */
  constructor(client, model, failed) {
    this.client = client;
    this.model = model;
    this.manifest = model.manifest;
    this.ref = `${model.name}@${model.version}`;
    this.failed = failed;
    this.history = new History({ ...INITIAL, path: this.paths[0][0] });
    this.stopped = new AbortController();
    /** Show a place for as long as a pointer rests on it; null ends that. The stage sets it. */
    this.peek = (/** @type {Place|null} */ _place) => {};
    /** Say what the stage shows. The stage sets it. */
    this.names = (/** @type {string} */ _words) => {};
  }

  get state() {
    return this.history.state;
  }

  get size() {
    return this.model.latent.size;
  }

  /** Numbers a picture. */
  get pictureSize() {
    const { height, width, channels } = this.model.image;
    return height * width * channels;
  }

  can(capability) {
    return this.model.capabilities.includes(capability);
  }

  /** The paths that this model knows, the usual one first. @returns {[string, string][]} */
  get paths() {
    const arc = ["spherical", "Along the sphere"];
    const straight = ["linear", "Straight"];
    const normal = this.model.latent.prior === "standard_normal";
    const through = this.manifest.graphs.some(({ role }) => role === "latent_to_noise");
    return [...(normal ? [arc, straight] : [straight, arc]), ...(through ? [["prior", "Through the prior"]] : [])];
  }

  /** Class names, where images are made of a class. @returns {string[]} */
  get classes() {
    return this.takesLabel("latent_to_image", "noise_to_latent") ? (this.model.classes ?? []) : [];
  }

  /** Whether any of these graphs is conditional. */
  takesLabel(...roles) {
    const graphs = this.manifest.graphs.filter(({ role }) => roles.includes(role));
    return graphs.some(({ inputs }) => inputs.some(({ name }) => name === "label"));
  }

  /** The class of a place, as a request for an image of it says it. */
  labelOf(at) {
    return this.classes.length ? (at.label ?? 0) : null;
  }

  /** Named directions, where the API lists any. @returns {string[]} */
  get directions() {
    const listed = this.model.directions ?? [];
    return listed.map((direction) => direction.name ?? direction);
  }

  /** The place that the stage shows in a state; the same object for the same state. @returns {Place|null} */
  shown(state = this.state) {
    if (!this.#shown.has(state)) this.#shown.set(state, placeIn(state));
    return this.#shown.get(state);
  }

  /** Fetch what the path needs before the places on it can be known. @param {State} state */
  async prepare({ a, b, path, chain }) {
    if (path !== "prior" || !a || !b || (chain?.a === a && chain.b === b)) return;
    const points = [a, b].map(({ latent }) => ({ latent: Array.from(latent) }));
    const wish = { steps: CHAIN_STEPS, path, label: this.labelOf(a), signal: this.stopped.signal };
    const { images } = await this.client.interpolate(this.ref, points, wish);
    this.history.amend({ chain: { a, b, latents: images.map(({ latent }) => Float32Array.from(latent)) } });
  }

  /** Places that a seed gives. @returns {Promise<Place[]>} */
  async draw({ seed, count, temperature, truncation, label }, signal) {
    const answer = await this.client.sample(this.ref, { seed, count, temperature, truncation, label, signal });
    return placesOf(answer, this.model.classes, { temperature, truncation, label });
  }

  /** Decode places at once, past the cache. @param {Place[]} places @returns {Promise<Pixels[]>} */
  decode(places, signal) {
    const labels = this.classes.length ? places.map((at) => this.labelOf(at)) : null;
    return this.client.decode(
      this.ref,
      places.map(({ latent }) => latent),
      { labels, signal },
    );
  }

  /** The picture at a place; those that are asked for together travel together. @returns {Promise<Pixels>} */
  pixels(at) {
    if (!this.#pictures.has(at)) this.#pictures.set(at, this.#fetchPixels(at));
    return this.#pictures.get(at);
  }

  #fetchPixels(at) {
    if (at.png) return pixelsOf(at.png, this.model.image.channels);
    return new Promise((resolve, reject) => {
      this.#waiting.push({ place: at, resolve, reject });
      if (this.#waiting.length === 1) queueMicrotask(() => this.#decodeWaiting());
    });
  }

  async #decodeWaiting() {
    const waiting = this.#waiting;
    this.#waiting = [];
    for (let start = 0; start < waiting.length; start += MOST_IMAGES) {
      const some = waiting.slice(start, start + MOST_IMAGES);
      try {
        const pictures = await this.decode(
          some.map(({ place: at }) => at),
          this.stopped.signal,
        );
        some.forEach(({ resolve }, index) => resolve(pictures[index]));
      } catch (error) {
        for (const { place: at, reject } of some) {
          this.#pictures.delete(at);
          reject(error);
        }
      }
    }
  }

  /** The picture at a place as a PNG with its receipt. @returns {Promise<Blob>} */
  async png(at) {
    if (at.png) return (await fetch(at.png)).blob();
    return this.client.decodePng(this.ref, [at.latent], { labels: this.classes.length ? [this.labelOf(at)] : null });
  }

  /** A walk as a file. @param {Place[]} places @returns {Promise<Blob>} */
  animation(places, { format, steps, loop, path }, signal) {
    const label = this.labelOf(places[0]);
    return this.client.interpolate(this.ref, places.map(asPoint), { format, steps, loop, path, label, signal });
  }

  /** Do something that may be refused; a refusal is shown. @param {() => Promise<void>} work */
  async attempt(work) {
    try {
      await work();
    } catch (error) {
      if (error.name !== "AbortError") this.failed(error);
    }
  }

  // What every panel can do with a place.

  setA(a) {
    this.history.commit({ a, t: 0, via: "glide" });
  }

  setB(b) {
    this.history.commit({ b, t: 1, via: "glide" });
  }

  show(here) {
    this.history.commit({ here, via: "place" });
  }

  addToFilm(at) {
    this.history.commit({ film: [...this.state.film, at] });
  }

  addTerm(at) {
    this.history.commit({ terms: [...this.state.terms, { weight: 1, places: [at] }] });
  }

  /** End whatever is on its way. */
  close() {
    this.stopped.abort();
  }
}

/** @param {State} state @returns {Place|null} */
function placeIn({ a, b, c, d, t, x, y, path, via, here, chain }) {
  if (via === "place") return here;
  if (via === "square" && a && b && c && d) return inSquare([a, b, c, d], x, y, path);
  if (!a || !b) return a ?? b ?? here;
  return between(a, b, t, path, chain?.a === a && chain.b === b ? chain.latents : null);
}

/** The places of a `sample` answer. @returns {Place[]} */
export function placesOf({ seed, images }, classes, { temperature, truncation, label }) {
  return images.map(({ index, latent, png, label: drawn }) =>
    place(latent, indexOf(classes, drawn), {
      origin: { seed, index, temperature, truncation, label: label ?? null },
      png: `data:image/png;base64,${png}`,
    }),
  );
}

/** The index of a class that an answer names. @returns {number|null} */
export function indexOf(classes, label) {
  const index = typeof label === "number" ? label : (classes ?? []).indexOf(label);
  return index >= 0 ? index : null;
}
