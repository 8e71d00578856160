/** Playing the way from A to B: its frames are fetched at once, so that it runs smoothly whatever the network. */

import { h } from "./dom.js";
import { paint } from "./paint.js";

const FRAMES = 48;
/** Numbers that one playing may fetch; models with large pictures play in fewer frames. */
const MOST_NUMBERS = 8_000_000;
const LEG_MS = 2400;
/** For who asked their system for less motion: a few still steps instead of a glide. */
const CALM_STEPS = 6;
const CALM_LEG_MS = 6000;

export class Player {
  pingPong = false;
  playing = false;
  #direction = 1;

  /** @param {import("./session.js").Session} session @param {{set: (t: number) => void}} way the slider */
  constructor(session, way) {
    this.session = session;
    this.way = way;
    this.button = h("button.play", { type: "button", onclick: () => this.toggle() }, "Play");
  }

  toggle() {
    return this.playing ? this.stop() : this.session.attempt(() => this.#play());
  }

  /** Stay where it is, and mean that. */
  stop() {
    if (!this.playing) return;
    this.playing = false;
    this.button.textContent = "Play";
    this.session.history.commit({ t: this.t, via: "glide" });
    this.session.peek(null); // the words of where it rests, even where that is where it began
  }

  async #play() {
    const { session } = this;
    const { a, b, t } = session.state;
    if (!a || !b) return;
    this.playing = true;
    this.button.textContent = "Pause";
    this.t = t >= 1 ? 0 : t;
    this.#direction = 1;
    this.ends = [a, b];
    await session.prepare(session.state);
    const frames = await this.#frames().catch((error) => {
      this.stop();
      throw error;
    });
    if (this.playing) session.names("On the way from A to B");
    this.#run(frames);
  }

  #frames() {
    const count = Math.max(8, Math.min(FRAMES, Math.floor(MOST_NUMBERS / this.session.pictureSize)));
    const start = { ...this.session.state, via: "glide" };
    const places = Array.from({ length: count }, (_, index) =>
      this.session.shown({ ...start, t: index / (count - 1) }),
    );
    return this.session.decode(places, this.session.stopped.signal);
  }

  #run(frames) {
    const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
    let last = performance.now();
    const step = (now) => {
      const { a, b } = this.session.state;
      if (!this.playing || this.session.stopped.signal.aborted) return;
      if (a !== this.ends[0] || b !== this.ends[1]) return void this.stop();
      this.#advance((now - last) / (calm ? CALM_LEG_MS : LEG_MS));
      last = now;
      const shown = calm ? Math.round(this.t * CALM_STEPS) / CALM_STEPS : this.t;
      paint(this.session.screen, frames[Math.round(shown * (frames.length - 1))]);
      this.way.set(shown);
      requestAnimationFrame(step);
    };
    requestAnimationFrame(step);
  }

  #advance(by) {
    // A frame's time is that of its beginning, which for the first may lie before the moment that playing began.
    this.t = Math.min(1, Math.max(0, this.t + this.#direction * Math.max(0, by)));
    if (this.#direction > 0 ? this.t < 1 : this.t > 0) return;
    if (this.pingPong) this.#direction = this.t === 1 ? -1 : 1;
    else this.stop();
  }
}
