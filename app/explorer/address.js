/**
 * The state as the part of the address behind `#`, and back: a link shows the same.
 *
 * A place of the grid is `i` and its index; any other is `z` and its float32 numbers, little-endian, as base64url, and
 * its label, where it has one, behind `~`.
 *
 * @typedef {import("./places.js").Place} Place
 * @typedef {import("./session.js").State} State
 */

import { place } from "./places.js";

const NUMBERS = ["seed", "count", "temperature", "truncation", "label", "t", "x", "y", "steps", "distance"];
const WORDS = ["path", "via", "tool"];
const PLACES = ["a", "b", "c", "d", "here"];
/** Where the ends and corners lie at first: on the first of the grid. */
const USUAL = { a: "i0", b: "i1", c: "i2", d: "i3" };
const FLAGS = ["loop", "typical"];
/** What is accepted of each number, from … to. */
const BOUNDS = {
  seed: [0, Number.MAX_SAFE_INTEGER],
  count: [1, 256],
  temperature: [0, 10],
  truncation: [0.01, 10],
  label: [0, 1e6],
  t: [0, 1],
  x: [0, 1],
  y: [0, 1],
  steps: [2, 64],
  distance: [0, 1],
};
const WHOLE = new Set(["seed", "count", "label", "steps"]);
const CHOICES = { path: ["linear", "spherical", "prior"], via: ["glide", "square", "place"] };

/** The address of a state: what differs from the start. @param {string} model @param {State} state @param {State} start */
export function write(model, state, start) {
  const said = [["model", model]];
  for (const name of [...NUMBERS, ...WORDS]) {
    if (state[name] !== start[name] && state[name] !== null) said.push([name, String(state[name])]);
  }
  for (const name of FLAGS) if (state[name] !== start[name]) said.push([name, state[name] ? "yes" : "no"]);
  for (const name of PLACES) {
    const text = state[name] && code(state[name], state);
    if (text && text !== USUAL[name]) said.push([name, text]);
  }
  if (state.film.length) said.push(["film", state.film.map((at) => code(at, state)).join(".")]);
  if (state.terms.length) said.push(["terms", state.terms.map((term) => termCode(term, state)).join(".")]);
  if (state.locked.length) said.push(["locked", state.locked.join(".")]);
  return said.map(([name, value]) => `${name}=${encodeURIComponent(value)}`).join("&");
}

/** What an address says, places still as codes; what it says wrongly is left out. @param {string} hash */
export function read(hash) {
  const said = new URLSearchParams(hash.replace(/^#/, ""));
  const found = {
    model: said.get("model"),
    values: {},
    codes: {},
    film: list(said, "film"),
    terms: list(said, "terms"),
  };
  for (const name of NUMBERS) {
    const number = Number(said.get(name) ?? NaN);
    const [low, high] = BOUNDS[name];
    if (number >= low && number <= high && (!WHOLE.has(name) || Number.isInteger(number))) found.values[name] = number;
  }
  for (const name of WORDS) {
    const word = said.get(name);
    if (word && (CHOICES[name]?.includes(word) ?? /^[a-z]+$/.test(word))) found.values[name] = word;
  }
  for (const name of FLAGS) if (said.has(name)) found.values[name] = said.get(name) === "yes";
  for (const name of PLACES) if (said.has(name)) found.codes[name] = said.get(name);
  const locked = list(said, "locked")
    .map(Number)
    .filter((number) => Number.isInteger(number) && number >= 0);
  if (locked.length) found.values.locked = locked;
  return found;
}

/**
 * The part of a state that an address says, its places found in the grid or read from their numbers.
 * @param {ReturnType<typeof read>} said @param {Place[]} grid @param {number} size numbers a latent
 */
export function restore(said, grid, size) {
  const patch = { ...said.values };
  for (const [name, text] of Object.entries(said.codes)) {
    const found = decode(text, grid, size);
    if (found) patch[name] = found;
  }
  const film = said.film.map((text) => decode(text, grid, size)).filter(Boolean);
  const terms = said.terms.map((text) => decodeTerm(text, grid, size)).filter(Boolean);
  if (patch.via === "place" && !patch.here) delete patch.via;
  if (patch.locked) patch.locked = patch.locked.filter((dimension) => dimension < size);
  return { ...patch, ...(film.length ? { film } : {}), ...(terms.length ? { terms } : {}) };
}

/** @param {Place} at @param {State} state */
function code(at, state) {
  const label = at.label === null ? "" : `~${at.label}`;
  return isOfGrid(at, state) ? `i${at.origin.index}` : `z${toText(at.latent)}${label}`;
}

function isOfGrid({ origin }, { seed, count, temperature, truncation, label }) {
  return (
    Boolean(origin) &&
    origin.seed === seed &&
    origin.index < count &&
    origin.label === label &&
    origin.temperature === temperature &&
    origin.truncation === truncation
  );
}

function decode(text, grid, size) {
  const [body, label] = text.split("~");
  if (body.startsWith("i")) return grid[Number(body.slice(1))] ?? null;
  const latent = body.startsWith("z") ? fromText(body.slice(1)) : null;
  if (latent?.length !== size || !latent.every((number) => Math.abs(number) <= 1e3)) return null;
  return place(latent, label === undefined ? null : Number(label));
}

/** A term: its weight, then its places or the name of its direction, all behind `*`. */
function termCode({ weight, places, direction }, state) {
  const parts = direction
    ? [`d${toBase64Url(new TextEncoder().encode(direction))}`]
    : places.map((at) => code(at, state));
  return [String(weight).replace(".", "_"), ...parts].join("*");
}

function decodeTerm(text, grid, size) {
  const [weightText, ...parts] = text.split("*");
  const weight = Number(weightText.replace("_", "."));
  if (!Number.isFinite(weight) || Math.abs(weight) > 10 || parts.length === 0) return null;
  if (parts[0].startsWith("d")) {
    const bytes = fromBase64Url(parts[0].slice(1));
    return bytes && { weight, places: [], direction: new TextDecoder().decode(bytes) };
  }
  const places = parts.map((part) => decode(part, grid, size)).filter(Boolean);
  return places.length ? { weight, places } : null;
}

function list(said, name) {
  return (said.get(name) ?? "").split(".").filter(Boolean);
}

/** @param {Float32Array} latent */
function toText(latent) {
  const view = new DataView(new ArrayBuffer(4 * latent.length));
  latent.forEach((number, index) => view.setFloat32(4 * index, number, true));
  return toBase64Url(new Uint8Array(view.buffer));
}

function fromText(text) {
  const bytes = fromBase64Url(text);
  if (!bytes || bytes.length % 4 || bytes.length === 0) return null;
  const view = new DataView(bytes.buffer);
  return Float32Array.from({ length: bytes.length / 4 }, (_, index) => view.getFloat32(4 * index, true));
}

function toBase64Url(bytes) {
  return btoa(String.fromCharCode(...bytes))
    .replaceAll("+", "-")
    .replaceAll("/", "_")
    .replaceAll("=", "");
}

function fromBase64Url(text) {
  try {
    return Uint8Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), (letter) => letter.charCodeAt(0));
  } catch {
    return null;
  }
}
