/**
 * Latest wins: of many wishes only the newest matters.
 *
 * One request is on its way at a time. A newer wish waits for it, replacing any that waits already; when the one on its
 * way has taken longer than answers usually take, it is aborted for the newer one.
 */
export class Live {
  #running = /** @type {AbortController|null} */ (null);
  #waiting = /** @type {(() => Promise<void>)|null} */ (null);
  #started = 0;
  #usual = 0;
  #timer = 0;

  /** @param {(error: Error) => void} failed told of anything but an abort @param {number} [patience] ms at least */
  constructor(failed, patience = 100) {
    this.failed = failed;
    this.patience = patience;
  }

  /** How long answers have usually taken, ms. */
  get usual() {
    return this.#usual;
  }

  /**
   * Do this, unless something newer comes.
   * @template T
   * @param {(signal: AbortSignal) => Promise<T>} ask @param {(answer: T) => void} show
   */
  wish(ask, show) {
    this.#waiting = () => this.#run(ask, show);
    if (this.#running === null) this.#next();
    else this.#timer ||= setTimeout(() => this.#running?.abort(), this.#remaining());
  }

  /** Forget everything: another source speaks now. */
  stop() {
    this.#waiting = null;
    this.#running?.abort();
  }

  #remaining() {
    return Math.max(0, this.#started + Math.max(this.patience, 2 * this.#usual) - performance.now());
  }

  #next() {
    const start = this.#waiting;
    this.#waiting = null;
    if (start) start();
  }

  async #run(ask, show) {
    const running = new AbortController();
    this.#running = running;
    this.#started = performance.now();
    try {
      const answer = await ask(running.signal);
      if (running.signal.aborted) return;
      const took = performance.now() - this.#started;
      this.#usual = this.#usual ? 0.8 * this.#usual + 0.2 * took : took;
      show(answer);
    } catch (error) {
      if (!running.signal.aborted) this.failed(error);
    } finally {
      clearTimeout(this.#timer);
      this.#timer = 0;
      this.#running = null;
      this.#next();
    }
  }
}
