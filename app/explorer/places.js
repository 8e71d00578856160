/**
 * Latent space, as pure functions: places, the ways between them, and the neighbourhood of one.
 *
 * @typedef {{latent: Float32Array, label: number|null, origin?: Origin, png?: string}} Place
 *   Coordinates, the class on conditional models, what drew it, and its picture where that came along.
 * @typedef {{seed: number, index: number, temperature: number, truncation: number|null, label: number|null}} Origin
 * @typedef {"linear" | "spherical" | "prior"} PathKind
 */

/** Below this sine of the angle between two ends, no great circle through both is well defined. */
const DEGENERATE_SINE = 1e-6;

/** @param {ArrayLike<number>} latent @param {number|null} [label] @param {object} [more] @returns {Place} */
export function place(latent, label = null, more = {}) {
  return { latent: Float32Array.from(latent), label, ...more };
}

/** The share of each end at t: straight, or along the arc (Shoemake 1985), straight where there is no arc. */
export function shares(a, b, t, kind) {
  if (kind !== "spherical") return [1 - t, t];
  const norms = norm(a) * norm(b);
  const angle = norms > 0 ? Math.acos(Math.min(1, Math.max(-1, dot(a, b) / norms))) : 0;
  const sine = Math.sin(angle);
  if (sine < DEGENERATE_SINE) return [1 - t, t];
  return [Math.sin((1 - t) * angle) / sine, Math.sin(t * angle) / sine];
}

/** The latent at t between two; the ends are exact. @returns {Float32Array} */
export function mix(a, b, t, kind) {
  if (t <= 0) return a;
  if (t >= 1) return b;
  const [first, second] = shares(a, b, t, kind);
  return a.map((value, index) => first * value + second * b[index]);
}

/** The latent at t along a chain of latents that lie evenly on a curve. @param {Float32Array[]} chain */
export function along(chain, t) {
  const position = Math.min(Math.max(t, 0), 1) * (chain.length - 1);
  const leg = Math.min(Math.floor(position), chain.length - 2);
  return mix(chain[leg], chain[leg + 1], position - leg, "linear");
}

/** The place at t between A and B: a mixed latent with the nearer end's label. @param {Float32Array[]|null} [chain] */
export function between(a, b, t, kind, chain = null) {
  const latent = chain ? along(chain, t) : mix(a.latent, b.latent, t, kind);
  if (latent === a.latent) return a;
  return latent === b.latent ? b : place(latent, t < 0.5 ? a.label : b.label);
}

/** The place at (x, y) of a square with a, b at its top and c, d at its bottom. */
export function inSquare([a, b, c, d], x, y, kind) {
  const flat = kind === "spherical" ? "spherical" : "linear";
  return between(between(a, b, x, flat), between(c, d, x, flat), y, flat);
}

/**
 * A neighbour of a latent: √(1−d²)·z + d·ε, which leaves a standard normal prior as it is, d from 0 (the same) to
 * 1 (a stranger). Locked dimensions stay.
 * @param {Float32Array} latent @param {number} distance @param {Set<number>} locked @param {() => number} draw standard normal
 */
export function child(latent, distance, locked, draw) {
  const kept = Math.sqrt(1 - distance * distance);
  return latent.map((value, index) => {
    const drawn = kept * value + distance * draw();
    return locked.has(index) ? value : drawn;
  });
}

/** A standard normal number (Box and Muller 1958). */
export function normal(uniform = Math.random) {
  return Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform());
}

/** A latent with one number changed. @param {Float32Array} latent */
export function withValue(latent, dimension, value) {
  const changed = latent.slice();
  changed[dimension] = value;
  return changed;
}

/** How far a latent lies from the origin. @param {Float32Array} latent */
export function norm(latent) {
  return Math.sqrt(dot(latent, latent));
}

function dot(a, b) {
  let sum = 0;
  for (let index = 0; index < a.length; index += 1) sum += a[index] * b[index];
  return sum;
}

/** A place as the API takes it: its seed where that says all, else its coordinates. @param {Place} from */
export function asPoint({ latent, label, origin }) {
  if (origin && label === null && origin.temperature === 1 && origin.truncation === null) {
    return { seed: origin.seed, index: origin.index };
  }
  return { latent: Array.from(latent) };
}
