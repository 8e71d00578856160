/**
 * What was, and what was undone: snapshots of one immutable state.
 *
 * `preview` changes the present without a snapshot, while a slider is on its way; `commit` takes one.
 */

const MOST_SNAPSHOTS = 200;

/** @template S */
export class History {
  #past = /** @type {S[]} */ ([]);
  #future = /** @type {S[]} */ ([]);
  #committed;
  #listeners = new Set();

  /** @param {S} state */
  constructor(state) {
    this.state = state;
    this.#committed = state;
  }

  get canUndo() {
    return this.#past.length > 0;
  }

  get canRedo() {
    return this.#future.length > 0;
  }

  /** Whether the present is on its way: previewed, not committed. */
  get unsettled() {
    return this.state !== this.#committed;
  }

  /** Change the present only. @param {Partial<S>} patch */
  preview(patch) {
    this.#become({ ...this.state, ...patch });
  }

  /** Change the present for good: undo comes back to what was committed before. @param {Partial<S>} [patch] */
  commit(patch = {}) {
    const next = { ...this.state, ...patch };
    if (same(next, this.#committed)) {
      if (this.unsettled) this.#become(this.#committed);
      return;
    }
    this.#past = [...this.#past, this.#committed].slice(-MOST_SNAPSHOTS);
    this.#future = [];
    this.#committed = next;
    this.#become(next);
  }

  /** Change the present and what is committed, without a snapshot: what is only known later. @param {Partial<S>} patch */
  amend(patch) {
    const settled = !this.unsettled;
    this.#committed = { ...this.#committed, ...patch };
    this.#become(settled ? this.#committed : { ...this.state, ...patch });
  }

  undo() {
    this.#step(this.#past, this.#future);
  }

  redo() {
    this.#step(this.#future, this.#past);
  }

  /** Call `listener(now, was)` after every change. @param {(now: S, was: S) => void} listener */
  on(listener) {
    this.#listeners.add(listener);
  }

  #step(from, to) {
    if (from.length === 0) return;
    to.push(this.#committed);
    this.#committed = from.pop();
    this.#become(this.#committed);
  }

  #become(next) {
    const was = this.state;
    this.state = next;
    for (const listener of this.#listeners) listener(next, was);
  }
}

/** Whether any of `names` differs between two states. */
export function changed(now, was, ...names) {
  return names.some((name) => now[name] !== was[name]);
}

function same(one, other) {
  return Object.keys(one).every((name) => one[name] === other[name]);
}
