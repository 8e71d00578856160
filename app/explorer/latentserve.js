/**
 * A client of LatentServe: one module, no dependencies, for browsers and anything else that has `fetch`.
 *
 *     import { LatentServe } from "http://127.0.0.1:8000/explorer/latentserve.js";
 *
 *     const service = new LatentServe("http://127.0.0.1:8000/");
 *     const { images } = await service.sample("mnist_vae", { count: 2, seed: 7 });
 *     const points = images.map(({ latent }) => ({ latent }));
 *     const gif = await service.interpolate("mnist_vae", points, { steps: 24, loop: true, format: "gif" });
 *
 * Every method takes `signal`, an AbortSignal; an aborted call rejects with the signal's reason, as fetch does. Every
 * refusal is a `Problem` that says what was wrong and carries the request id that the service's log has.
 *
 * @typedef {{latent: number[]} | {seed: number, index?: number} | {image: string} | {mean: Point[]}} Point
 *   A place in latent space: coordinates, a seed, a picture as base64, or the mean of places.
 * @typedef {{data: Uint8Array, width: number, height: number, channels: number}} Pixels
 *   A picture of 8-bit numbers, row by row, channels last.
 * @typedef {Blob | Pixels} Picture
 *   A PNG, JPEG or WebP file, or pixels.
 * @typedef {{weight?: number, point: Point | {direction: string}}} Term
 */

/** Why a call was refused, or that nobody answered (`status` 0). */
export class Problem extends Error {
  /**
   * @param {{title: string, detail?: string, status?: number, code?: string, request_id?: string|null,
   *   errors?: object[]}} said
   */
  constructor({ title, detail = "", status = 0, code = "unreachable", request_id = null, errors = [] }) {
    super(detail ? `${title}: ${detail}` : title);
    this.name = "Problem";
    this.title = title;
    this.detail = detail;
    this.status = status;
    this.code = code;
    this.requestId = request_id;
    this.errors = errors;
  }

  /** What an answer that is not a success says. @param {Response} response @returns {Promise<Problem>} */
  static async of(response) {
    const { status } = response;
    const request_id = response.headers.get("X-Request-ID");
    const said = await response.json().catch(() => null);
    if (typeof said?.title === "string") return new Problem({ request_id, ...said, status });
    return new Problem({ title: `The service answered ${status}`, status, code: "unknown", request_id });
  }
}

/** The service at one address. */
export class LatentServe {
  /**
   * @param {string | URL} [base] where the service lives, with a slash at its end; the page's own folder when absent
   * @param {{key?: string | null}} [options] an API key, where the service asks for one
   */
  constructor(base = globalThis.document?.baseURI ?? "http://127.0.0.1:8000/", { key = null } = {}) {
    this.base = new URL(base, globalThis.location?.href);
    this.key = key;
  }

  /** Every published model. @returns {Promise<object[]>} */
  async models({ signal } = {}) {
    const { models } = await this.#json("v1/models", { signal });
    return models;
  }

  /** One model whole: what the list says, its manifest and its card. @returns {Promise<object>} */
  model(name, { signal } = {}) {
    return this.#json(path(name), { signal });
  }

  /** Held-out pictures as points: `{projection, classes, points: [{x, y, label, latent}]}`. */
  map(name, { signal } = {}) {
    return this.#json(path(name, "map"), { signal });
  }

  /**
   * Images of a seed. Image i is the same bytes at any count.
   * @param {string} name the model, `name` or `name@version`
   * @param {{count?: number, seed?: number|null, temperature?: number, truncation?: number|null,
   *   label?: number|string|null, signal?: AbortSignal}} [wish]
   * @returns {Promise<{seed: number, images: {index: number, png: string, latent: number[], label?: *}[]}>}
   */
  sample(name, { signal, ...wish } = {}) {
    return this.#json(path(name, "sample"), { signal, body: present(wish) });
  }

  /** The same as one PNG: the image, or a sheet of several, with its receipt. @returns {Promise<Blob>} */
  samplePng(name, { signal, ...wish } = {}) {
    return this.#blob(path(name, "sample"), { signal, body: present(wish), query: { format: "png" } });
  }

  /**
   * Latents to pixels: the quick way, raw numbers both ways.
   * @param {string} name
   * @param {ArrayLike<number>[]} latents
   * @param {{labels?: (number|string)[] | null, signal?: AbortSignal}} [options] labels: one each, on conditional models
   * @returns {Promise<Pixels[]>}
   */
  async decode(name, latents, { labels = null, signal } = {}) {
    const query = { format: "raw", label: labels?.join(",") };
    const response = await this.#send(path(name, "decode"), { signal, body: floats(latents), query });
    const [count, height, width, channels] = response.headers.get("X-Shape").split(",").map(Number);
    const all = new Uint8Array(await response.arrayBuffer());
    const size = height * width * channels;
    return Array.from({ length: count }, (_, index) => {
      return { data: all.subarray(index * size, (index + 1) * size), width, height, channels };
    });
  }

  /** Latents as one PNG, or a sheet of several, with its receipt. @returns {Promise<Blob>} */
  decodePng(name, latents, { labels = null, signal } = {}) {
    const query = { format: "png", label: labels?.join(",") };
    return this.#blob(path(name, "decode"), { signal, body: floats(latents), query });
  }

  /** Where pictures lie: `{mean, scale, draws}` each. @returns {Promise<object[]>} */
  async encode(name, picture, { signal, ...options } = {}) {
    const { latents } = await this.#json(path(name, "encode"), { signal, body: pictureBody(picture), query: options });
    return latents;
  }

  /** A picture, encoded and decoded again: `{png, latent, mse}`. @returns {Promise<object>} */
  async reconstruct(name, picture, { signal, ...options } = {}) {
    const wish = { signal, body: pictureBody(picture), query: options };
    return (await this.#json(path(name, "reconstruct"), wish)).images[0];
  }

  /**
   * The frames of a walk through points; with `format` "gif", "webp", "apng" or "png" the file.
   * @param {string} name
   * @param {Point[]} points
   * @param {{steps?: number, path?: string, loop?: boolean, label?: number|string|null, format?: string,
   *   signal?: AbortSignal}} [wish]
   * @returns {Promise<object | Blob>}
   */
  interpolate(name, points, { signal, format = "json", ...wish } = {}) {
    const call = { signal, body: { points, ...present(wish) }, query: { format } };
    return format === "json"
      ? this.#json(path(name, "interpolate"), call)
      : this.#blob(path(name, "interpolate"), call);
  }

  /**
   * The image at a weighted sum of points: `{png, latent, log_prior_nats}`.
   * @param {string} name
   * @param {Term[]} terms
   * @param {{renormalize?: "none" | "typical", label?: number|string|null, signal?: AbortSignal}} [wish]
   */
  async arithmetic(name, terms, { signal, ...wish } = {}) {
    const body = { terms, ...present(wish) };
    return (await this.#json(path(name, "arithmetic"), { signal, body })).images[0];
  }

  /** How likely the model finds a picture: bounds in nats, their parts, percentile, outlier test. */
  async score(name, picture, { signal, ...options } = {}) {
    const { scores } = await this.#json(path(name, "score"), { signal, body: pictureBody(picture), query: options });
    return scores[0];
  }

  /** How real the discriminator finds a picture: `{logit}`, positive for real. */
  async realism(name, picture, { signal, ...options } = {}) {
    const wish = { signal, body: pictureBody(picture), query: options };
    return (await this.#json(path(name, "realism"), wish)).realism[0];
  }

  /** Which class a picture is of: `{label, probabilities}`, in the order of the model's `classes`. */
  async classify(name, picture, { signal, ...options } = {}) {
    const wish = { signal, body: pictureBody(picture), query: options };
    return (await this.#json(path(name, "classify"), wish)).classifications[0];
  }

  /** A PNG made here, made again from its receipt; a Problem when the bytes would differ. @returns {Promise<Blob>} */
  replay(png, { signal } = {}) {
    return this.#blob("v1/replay", { signal, body: new Blob([png], { type: "image/png" }) });
  }

  async #json(address, call) {
    return (await this.#send(address, call)).json();
  }

  async #blob(address, call) {
    return (await this.#send(address, call)).blob();
  }

  /** @returns {Promise<Response>} a success; anything else is thrown as a Problem */
  async #send(address, { signal, body, query = {} }) {
    const url = new URL(address, this.base);
    for (const [name, value] of Object.entries(present(query))) url.searchParams.set(name, String(value));
    const headers = this.key ? { Authorization: `Bearer ${this.key}` } : {};
    const response = await fetch(url, { ...payload(body, headers), signal }).catch((error) => {
      if (signal?.aborted) throw signal.reason;
      throw new Problem({ title: "The service does not answer", detail: error.message });
    });
    if (!response.ok) throw await Problem.of(response);
    return response;
  }
}

/** @returns {RequestInit} a GET without a body; a POST of bytes, of a file, or of anything else as JSON */
function payload(body, headers) {
  if (body === undefined) return { headers };
  if (body instanceof Blob) return { method: "POST", body, headers: { ...headers, "Content-Type": body.type } };
  const raw = body instanceof Uint8Array;
  const type = raw ? "application/octet-stream" : "application/json";
  return { method: "POST", body: raw ? body : JSON.stringify(body), headers: { ...headers, "Content-Type": type } };
}

function path(name, operation) {
  const model = `v1/models/${encodeURIComponent(name).replace("%40", "@")}`;
  return operation ? `${model}/${operation}` : model;
}

function present(options) {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== null && value !== undefined));
}

/** float32, little-endian, one latent after another. @returns {Uint8Array} */
function floats(latents) {
  const size = latents[0].length;
  const view = new DataView(new ArrayBuffer(4 * size * latents.length));
  latents.forEach((latent, row) => {
    for (let column = 0; column < size; column += 1) view.setFloat32(4 * (row * size + column), latent[column], true);
  });
  return new Uint8Array(view.buffer);
}

/** @param {Picture} picture @returns {Blob} */
function pictureBody(picture) {
  return picture instanceof Blob ? picture : new Blob([npy(picture)], { type: "application/x-npy" });
}

/** Pixels as a `.npy` file of uint8 (1, H, W, C): numpy's format, version 1. @param {Pixels} pixels */
export function npy({ data, height, width, channels }) {
  const described = `{'descr': '|u1', 'fortran_order': False, 'shape': (1, ${height}, ${width}, ${channels}), }`;
  const header = `${described.padEnd(127 - 10)}\n`;
  const file = new Uint8Array(10 + header.length + data.length);
  file.set([0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59, 1, 0, header.length, 0]);
  file.set(new TextEncoder().encode(header), 10);
  file.set(data, 10 + header.length);
  return file;
}
