// @ts-check
import { DormouseError, isPassing } from "./errors.js";
import { messages } from "./stream.js";
import { Tabs } from "./tabs.js";
import { Linked, Watchdog, backoff, isVisible, sleep } from "./timing.js";
import { unexpected } from "./transport.js";
import { after, begun, shown } from "./view.js";

/** @typedef {import("./contract.js").Run} Run */
/** @typedef {import("./view.js").View} View */
/** @typedef {import("./view.js").Known} Known */
/** @typedef {import("./view.js").Message} Message */
/** @typedef {import("./view.js").Connection} Connection */

/**
 * What a watch asks of the client. Each tries once.
 * @typedef {object} Server
 * @property {(headers: Record<string, string>, signal: AbortSignal) => Promise<Response>} events
 * @property {(run: Run | undefined, signal: AbortSignal) => Promise<Run>} read
 * @property {(one: Run) => number} retryAfter
 * @property {string} id of the run
 * @property {string} name of it, the same in every tab
 */

const FINAL = new Set(["completed", "incomplete", "failed", "cancelled"]);
const LINGER_MS = 15_000; // a tab that is left for a moment, an answer that comes soon: no reason to hang up
const CHECK_MS = 5_000;
const STEADY_MS = 5_000;
const LEAST_POLL_SECONDS = 5;
const LEAST_HIDDEN_POLL_SECONDS = 30;

/** Whether the run or batch has ended, for good. @param {{ status: string }} one */
export const isFinal = (one) => FINAL.has(one.status);

/** One watch of one run, to its end. Failures that may pass are lived through; only a refusal ends it. */
export class Watch {
  #server;
  /** @type {Known} */ known;
  ended = false;
  /** End a pause, if there is one. */ wakeUp = () => {};
  #onConnection;
  /** @type {Tabs | undefined} */ #tabs;
  /** @type {View[]} */ #views = [];
  #failures = 0;
  /** The run as it was polled: the client knows its ETag. @type {Run | undefined} */ #polled;
  /** Since when it would be enough to ask now and then. @type {number | undefined} */ #idleSince;
  #hasViews = () => {};

  /**
   * @param {Server} server
   * @param {{ run: Run | undefined, text: string | undefined, id: string | undefined }} start
   * @param {((connection: Connection) => void) | undefined} onConnection
   * @param {boolean} share
   */
  constructor(server, start, onConnection, share) {
    this.#server = server;
    this.known = { ...begun(start), run: start.run, id: start.id, stale: false, connection: { state: "connecting" } };
    this.#onConnection = onConnection;
    if (!isVisible()) this.#idleSince = 0; // a tab that was opened in the background
    if (share) this.#tabs = new Tabs(server.name, this);
  }

  /** Look at once, instead of waiting for the next time: this run was answered or cancelled here. @param {string} id */
  look(id) {
    if (id !== this.#server.id) return;
    this.#tabs?.look();
    this.wakeUp();
  }

  /** @param {AbortSignal} [signal] @returns {AsyncGenerator<View, void, void>} */
  async *views(signal) {
    const all = new Linked(signal);
    const listener = { signal: all.signal };
    globalThis.document?.addEventListener("visibilitychange", () => this.wakeUp(), listener);
    globalThis.window?.addEventListener("online", () => this.wakeUp(), listener);
    /** @type {{ error?: unknown } | undefined} */
    let over;
    // Pumped, not pulled: other tabs, and the server, need not wait for whoever is slow with a view.
    const work = this.#run(all.signal)
      .then(
        () => (over = {}),
        (error) => (over = { error }),
      )
      .then(() => this.#hasViews());
    try {
      for (;;) {
        for (let view; !signal?.aborted && (view = this.#views.shift()); ) yield view;
        signal?.throwIfAborted();
        if (over) break;
        /** @type {Promise<void>} */
        const some = new Promise((resolve) => (this.#hasViews = resolve));
        if (!over && this.#views.length === 0) await some;
      }
      if ("error" in over) throw over.error;
    } finally {
      all.end();
      await work;
      this.#tabs?.close();
    }
  }

  /** Take a message in, show it, and pass it on to the other tabs. @param {Message} message */
  push(message) {
    const next = after(this.known, message);
    if (!next) return;
    const { event, call, ...known } = next;
    const before = this.known.connection;
    this.known = known;
    this.#tabs?.send(message);
    if (event === "end") this.ended = true;
    const { run, connection } = known;
    if (event === "connection" || connection.state !== before.state) this.#onConnection?.(connection);
    // That a connection was made at first is no news: the run comes with it.
    const isFirst = event === "connection" && before.state === "connecting" && connection.state !== "lost";
    if (!run || isFirst) return;
    this.#views.push({ ...shown({ ...known, run }), event, call });
    this.#hasViews();
  }

  /** Follow the run with connections of this watch's own, to its end. @param {AbortSignal} signal */
  async follow(signal) {
    while (!this.ended) {
      signal.throwIfAborted();
      if (!this.#rests()) {
        await this.#trying(() => this.#stream(signal), signal);
        continue;
      }
      const isOld = this.known.connection.state === "polling";
      if (isOld) await this.#pause(this.#gap(), signal);
      if (!isOld || this.#rests()) await this.#trying(() => this.#poll(signal), signal);
    }
  }

  /** @param {AbortSignal} signal */
  async #run(signal) {
    if (!this.#tabs) return this.follow(signal);
    // Each tab asks once for itself: what it may not read it is not to learn from another.
    while (!this.known.run) await this.#trying(() => this.#poll(signal), signal);
    if (!this.ended) await this.#tabs.run(signal);
  }

  /**
   * Do it, then pause for the seconds that it says; where it fails for now, report it and pause for longer each time.
   * @param {() => Promise<number>} work
   * @param {AbortSignal} signal
   */
  async #trying(work, signal) {
    try {
      const pause = await work();
      if (pause && !this.ended) await this.#pause(pause, signal);
    } catch (cause) {
      signal.throwIfAborted();
      const isKnown = cause instanceof DormouseError;
      if (isKnown && !isPassing(cause)) throw cause;
      const { code, message } = isKnown ? cause : { code: "network_error", message: "The connection was lost." };
      const retryIn = (isKnown && cause.retryAfter) || backoff(++this.#failures);
      this.#report({ state: "lost", error: { code, message }, retryIn });
      await this.#pause(retryIn, signal);
    }
  }

  /** @param {AbortSignal} signal */
  async #stream(signal) {
    const connection = new Watchdog(signal);
    const begun = Date.now();
    let [pause, hasHungUp] = [1, false];
    const checks = setInterval(() => {
      hasHungUp ||= this.#rests();
      if (hasHungUp) connection.end();
    }, CHECK_MS);
    try {
      const { id: before } = this.known;
      const headers = { Accept: "text/event-stream", ...(before === undefined ? {} : { "Last-Event-ID": before }) };
      const reply = await this.#server.events(headers, connection.signal);
      this.ended = reply.status === 204;
      if (this.ended) return 0;
      if (!reply.body || !reply.headers.get("Content-Type")?.startsWith("text/event-stream")) throw unexpected(reply);
      const heard = () => {
        connection.heard();
        if (Date.now() - begun > STEADY_MS) this.#failures = 0;
      };
      for await (const { id, event, data, retry } of messages(reply.body, heard)) {
        if (retry) pause = Math.max(Number(retry) / 1_000 || 1, 0.1);
        if (event === undefined || data === undefined) continue;
        this.#report({ state: "open" });
        this.push({ event, data: parsed(data), id });
        // A stream that breaks again and again before it brings anything new is asked for more and more seldom.
        if (id !== undefined && id !== before) this.#failures = 0;
        if (this.ended) return 0;
      }
      return pause;
    } catch (error) {
      if (hasHungUp) return 0;
      throw error;
    } finally {
      clearInterval(checks);
      connection.end();
    }
  }

  /** @param {AbortSignal} signal */
  async #poll(signal) {
    const connection = new Watchdog(signal);
    try {
      const run = await this.#server.read(this.#polled, connection.signal);
      const isNew = run !== this.#polled;
      this.#polled = run;
      this.#failures = 0;
      if (this.#rests()) this.#report({ state: "polling" });
      if (isFinal(run)) this.push({ event: "end", data: run, id: "end" });
      else if (isNew) this.push({ event: "state", data: run });
      return 0;
    } finally {
      connection.end();
    }
  }

  /** Whether it is enough to ask now and then: nobody looks, or the run waits for a person, and has for a while. */
  #rests() {
    const isIdle = this.known.run?.status === "requires_action" || !this.#isSeen();
    this.#idleSince = isIdle ? (this.#idleSince ?? Date.now()) : undefined;
    return this.#idleSince !== undefined && Date.now() - this.#idleSince >= LINGER_MS;
  }

  /** Whether people look, at this tab or at one that it leads. */
  #isSeen() {
    return isVisible() || this.#tabs?.isWanted;
  }

  /** Seconds from one poll to the next. */
  #gap() {
    const asked = this.#polled ? this.#server.retryAfter(this.#polled) : 0;
    return Math.max(asked, this.#isSeen() ? LEAST_POLL_SECONDS : LEAST_HIDDEN_POLL_SECONDS);
  }

  /** @param {Connection} connection */
  #report(connection) {
    if (connection.state === "lost" || connection.state !== this.known.connection.state) {
      this.push({ event: "connection", data: connection });
    }
  }

  /** Wait so many seconds, or less: until something may have changed. @param {number} seconds @param {AbortSignal} signal */
  async #pause(seconds, signal) {
    const pause = new Linked(signal);
    this.wakeUp = () => pause.abort();
    await sleep(seconds, pause.signal).catch(() => {});
    pause.end();
    signal.throwIfAborted();
  }
}

/** @param {string} data of an event; an unknown one may be anything */
function parsed(data) {
  try {
    return JSON.parse(data);
  } catch {
    return undefined;
  }
}
