// @ts-check
import { Linked, isVisible } from "./timing.js";

/** @typedef {import("./view.js").Known} Known */
/** @typedef {import("./view.js").Message} Message */

/**
 * What a tab does for its watch, and its watch for the tabs.
 * @typedef {object} Sharer
 * @property {Known} known
 * @property {boolean} ended
 * @property {(message: Message) => void} push
 * @property {(signal: AbortSignal) => Promise<void>} follow
 * @property {() => void} wakeUp
 */

/**
 * What tabs say to each other. `ask`: a tab wants to know what the leader knows, beyond what it `has`. `look`: the run
 * has just been changed. Else it is the leader's: its message number `n`, or only that it is there.
 * @typedef {{ ask: true, isVisible: boolean, has: string } | { look: true }
 *   | { leader: string, n: number, message: Message | undefined }} Said
 */

const ASK_MS = 20_000;
const ANSWER_MS = 5_000; // within which a leader answers; one whose tab is frozen does not
const GATHER_MS = 1_000;
const WANTED_MS = 45_000; // two questions and an answer

/** Whether tabs can share a stream here: a page, in a browser that has what it takes, on https or this machine. */
export const canShare = () =>
  Boolean(globalThis.document && globalThis.navigator?.locks && globalThis.BroadcastChannel);

/**
 * One tab of those that watch the same run. Whoever holds the lock leads: it follows the run and passes on what it
 * hears, numbered. The others take it in; who misses a number asks for all. When the leader goes, the next in the queue
 * for the lock goes on exactly where it stands itself.
 */
export class Tabs {
  #name;
  #watch;
  #channel;
  #me = crypto.randomUUID();
  #leads = false;
  #n = 0;
  /** Whom and how far this tab has heard. */
  #has = "";
  #heardAt = 0;
  /** @type {ReturnType<typeof setTimeout> | undefined} */ #askingSoon;
  #wantedUntil = 0;
  /** Gives up waiting in the queue. */ #waiting = new Linked();
  #steals = false;

  /** @param {string} name @param {Sharer} watch */
  constructor(name, watch) {
    this.#name = name;
    this.#watch = watch;
    this.#channel = new BroadcastChannel(name);
    this.#channel.onmessage = ({ data }) => this.#hear(data);
  }

  /** Whether another tab that people look at has asked lately. */
  get isWanted() {
    return Date.now() < this.#wantedUntil;
  }

  close() {
    clearTimeout(this.#askingSoon);
    this.#channel.close();
  }

  look() {
    this.#say({ look: true });
  }

  /** Pass a message on, if this tab leads. @param {Message} message */
  send(message) {
    if (this.#leads) this.#speak(message);
  }

  /** Lead, or take in what the leader says, to the end of the run. @param {AbortSignal} signal */
  async run(signal) {
    const asks = setInterval(() => this.#ask(), ASK_MS);
    document.addEventListener("visibilitychange", () => this.#ask(), { signal });
    try {
      while (!this.#watch.ended) {
        const leading = new Linked(signal);
        this.#waiting = new Linked(signal);
        const options = this.#steals ? { steal: true } : { signal: this.#waiting.signal };
        this.#steals = false;
        const turn = navigator.locks.request(this.#name, options, () => this.#lead(leading.signal));
        this.#ask();
        try {
          await turn;
        } catch (error) {
          signal.throwIfAborted();
          const { name } = /** @type {Error} */ (error);
          if (name === "SecurityError") return await this.#watch.follow(signal); // a page that may share nothing
          // Taken by another tab, or no longer waited for. Anything else is the watch's own.
          if (name !== "AbortError") throw error;
        } finally {
          this.#leads = false;
          leading.end();
          this.#waiting.end();
        }
      }
    } finally {
      clearInterval(asks);
    }
  }

  /** @param {AbortSignal} signal */
  async #lead(signal) {
    this.#steals = false;
    if (this.#watch.ended || signal.aborted) return; // taken away before it could begin
    this.#leads = true;
    this.#speak(this.#all());
    await this.#watch.follow(signal);
  }

  /** @param {Said} said */
  #hear(said) {
    if ("look" in said) {
      if (this.#leads) this.#watch.wakeUp();
    } else if ("ask" in said) {
      if (!this.#leads) return;
      const wasWanted = this.isWanted;
      if (said.isVisible) this.#wantedUntil = Date.now() + WANTED_MS;
      if (this.isWanted && !wasWanted) this.#watch.wakeUp();
      this.#speak(said.has === `${this.#me} ${this.#n}` ? undefined : this.#all());
    } else if (!this.#leads) {
      const { leader, n, message } = said;
      this.#heardAt = Date.now();
      const isNext = this.#has === `${leader} ${n - 1}`;
      if (message && (isNext || message.event === "sync")) {
        this.#has = `${leader} ${n}`;
        this.#watch.push(message);
        if (this.#watch.ended) this.#waiting.abort();
      } else if (this.#has !== `${leader} ${n}`) {
        // Not for each of the messages that it cannot place: one answer makes all of them good.
        this.#askingSoon ??= setTimeout(() => this.#ask(), GATHER_MS);
      }
    }
  }

  /** Ask the leader; a tab that people look at takes the lead where there is no answer. */
  #ask() {
    clearTimeout(this.#askingSoon);
    this.#askingSoon = undefined;
    if (this.#leads || this.#watch.ended) return;
    this.#say({ ask: true, isVisible: isVisible(), has: this.#has });
    const now = Date.now();
    const { signal } = this.#waiting;
    setTimeout(() => {
      if (!isVisible() || this.#leads || this.#heardAt >= now || signal.aborted) return;
      this.#steals = true;
      this.#waiting.abort();
    }, ANSWER_MS * (1 + Math.random())); // not all at once: the others hear whoever was first
  }

  /** @returns {Message} all that this tab knows */
  #all() {
    return { event: "sync", data: this.#watch.known };
  }

  /** As the leader: the next message, or only that it is there. @param {Message} [message] */
  #speak(message) {
    if (message) this.#n++;
    this.#say({ leader: this.#me, n: this.#n, message });
  }

  /** @param {Said} said */
  #say(said) {
    this.#channel.postMessage(said);
  }
}
