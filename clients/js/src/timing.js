// @ts-check
/** @param {number} duration in seconds @param {AbortSignal} [signal] @returns {Promise<void>} */
export function sleep(duration, signal) {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(signal.reason);
    const stop = () => (clearTimeout(timer), reject(signal?.reason));
    const timer = setTimeout(() => (signal?.removeEventListener("abort", stop), resolve()), duration * 1_000);
    signal?.addEventListener("abort", stop, { once: true });
  });
}

/**
 * Seconds before the next try, after so many failures in a row: about 0.25, 0.5, 1, … and 30 at most; spread, so that
 * clients that lost the same server do not come back together.
 * @param {number} failures
 */
export const backoff = (failures) => Math.min(30, 0.125 * 2 ** Math.min(failures, 9)) * (1 + Math.random() / 2);

/** Whether people can see the page; there is always somebody who waits for a program. */
export const isVisible = () => globalThis.document?.visibilityState !== "hidden";

/** A controller that is aborted with another signal. `end` takes it off that signal, and aborts it. */
export class Linked extends AbortController {
  #outer;

  /** @param {AbortSignal} [outer] */
  constructor(outer) {
    super();
    this.#outer = outer;
    outer?.addEventListener("abort", this.#abort);
    if (outer?.aborted) this.#abort();
  }

  end() {
    this.#outer?.removeEventListener("abort", this.#abort);
    this.abort();
  }

  #abort = () => this.abort(this.#outer?.reason);
}

/** Ends a connection that has been silent for too long, or that is not needed any more. */
export class Watchdog extends Linked {
  /** @type {ReturnType<typeof setTimeout> | undefined} */ #timer;

  /** @param {AbortSignal} [outer] */
  constructor(outer) {
    super(outer);
    this.heard();
  }

  /** Something came. The server sends a ping every 15 seconds. */
  heard() {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.abort(), 45_000);
  }

  end() {
    clearTimeout(this.#timer);
    super.end();
  }
}
