// A server and a page that are played, and a clock that the tests move.
import { mock } from "node:test";

export const RUN = `run_${"0a".repeat(16)}_1`;

/** A run as the server shows it, with what is another. */
export const run = (more = {}) => ({
  id: RUN, object: "run", url: `https://app.test/api/runs/${RUN}`, status: "in_progress", text: "", turn: 1, wakes: 1,
  tool_calls: [], progress: null, required_action: null, retry_after: 2, wake_at: null, annotations: [], hosted_calls: [], reasoning: [],
  ...more,
});

export const json = (body, { status = 200, ...headers } = {}) =>
  new Response(JSON.stringify(body), { status, headers: { "Content-Type": "application/json", ...headers } });

export const problem = (status, code, headers = {}) => json({ code, detail: `It is ${code}.` }, { status, ...headers });

/** One event as it is sent. */
export const sse = (event, data, id) => `${id ? `id: ${id}\n` : ""}event: ${event}\ndata: ${JSON.stringify(data)}\n\n`;

/** A stream that a test writes to, ends or breaks. */
export class Stream {
  constructor(signal) {
    this.body = new ReadableStream({ start: (controller) => (this.controller = controller) });
    signal?.addEventListener("abort", () => this.cut(signal.reason));
    this.isOpen = true;
  }

  send(...events) {
    this.controller.enqueue(new TextEncoder().encode(events.join("")));
  }

  cut(error = new TypeError("terminated")) {
    if (this.isOpen) this.controller.error(error);
    this.isOpen = false;
  }

  end() {
    if (this.isOpen) this.controller.close();
    this.isOpen = false;
  }
}

/** A server: `answer(path, init)` gives a reply, or nothing for the usual; `down` drops every connection. */
export class Server {
  asked = [];
  streams = [];
  down = false;
  run = run();
  answer = () => undefined;

  fetch = async (url, init = {}) => {
    const { pathname, search } = new URL(url, "https://page.test");
    this.asked.push({ method: init.method ?? "GET", path: pathname + search, headers: init.headers ?? {}, at: Date.now(), init });
    init.signal?.throwIfAborted();
    if (this.down) throw new TypeError("fetch failed");
    const given = this.answer(pathname, init);
    if (given) return given;
    if (!pathname.endsWith("/events")) return json(this.run);
    const stream = new Stream(init.signal);
    this.streams.push(stream);
    stream.send("retry: 1000\n\n", sse("state", this.run));
    return new Response(stream.body, { headers: { "Content-Type": "text/event-stream; charset=utf-8" } });
  };

  get last() {
    return this.streams.at(-1);
  }

  get open() {
    return this.streams.filter((each) => each.isOpen);
  }

  paths(end = "") {
    return this.asked.map((each) => each.path).filter((path) => path.endsWith(end));
  }
}

/** Let everything go on that waits for no clock. */
export async function settle(turns = 12) {
  for (let n = 0; n < turns; n++) await new Promise((resolve) => setImmediate(resolve));
}

/** Move the clock, in steps in which nothing of this client would happen twice. */
export async function move(seconds, step = Math.max(0.25, seconds / 400)) {
  await settle();
  for (let at = 0; at < seconds; at += step) {
    mock.timers.tick(step * 1_000);
    await settle(6);
  }
}

export const freezeClock = () => mock.timers.enable({ apis: ["setTimeout", "setInterval", "Date"], now: 1_000_000 });

/** Read all views of a watch, in the background. */
export function viewsOf(watch) {
  const seen = { views: [], error: undefined, isOver: false };
  (async () => {
    for await (const view of watch) seen.views.push(view);
  })()
    .catch((error) => (seen.error = error))
    .finally(() => (seen.isOver = true));
  return seen;
}

const define = (name, value) => Object.defineProperty(globalThis, name, { value, configurable: true, writable: true });

/** A page: what of a browser this client asks for. Returns how to leave it again. */
export class Page {
  #before = ["document", "window", "navigator", "location", "BroadcastChannel"].map((name) => [name, Object.getOwnPropertyDescriptor(globalThis, name)]);

  constructor({ origin = "https://page.test", locks = true } = {}) {
    define("document", Object.assign(new EventTarget(), { visibilityState: "visible" }));
    define("window", new EventTarget());
    define("BroadcastChannel", Channel);
    define("location", { origin });
    define("navigator", { onLine: true, ...(locks && { locks: new Locks() }) });
  }

  show(visibilityState) {
    document.visibilityState = visibilityState;
    document.dispatchEvent(new Event("visibilitychange"));
  }

  leave() {
    for (const [name, before] of this.#before) {
      if (before) Object.defineProperty(globalThis, name, before);
      else delete globalThis[name];
    }
  }
}

/** BroadcastChannel, whose messages arrive in the next turn of the loop: the real one takes real time. */
class Channel {
  static #all = new Set();

  constructor(name) {
    this.name = name;
    Channel.#all.add(this);
  }

  postMessage(message) {
    if (!Channel.#all.has(this)) throw new DOMException("closed", "InvalidStateError");
    for (const each of Channel.#all) {
      const data = structuredClone(message);
      if (each !== this && each.name === this.name) setImmediate(() => Channel.#all.has(each) && each.onmessage?.({ data }));
    }
  }

  close() {
    Channel.#all.delete(this);
  }
}

/** Web Locks: one exclusive lock a name, a queue, `signal` and `steal`. */
class Locks {
  #held = new Map();
  #queues = new Map();

  request(name, { signal, steal = false }, work) {
    return new Promise((resolve, reject) => {
      const one = { work, resolve, reject };
      const queue = this.#queues.get(name) ?? [];
      this.#queues.set(name, queue);
      if (signal?.aborted) return reject(signal.reason);
      signal?.addEventListener("abort", () => {
        const at = queue.indexOf(one);
        if (at >= 0) queue.splice(at, 1), reject(signal.reason);
      });
      if (steal) {
        this.#held.get(name)?.reject(new DOMException("stolen", "AbortError"));
        this.#held.delete(name);
        queue.unshift(one);
      } else queue.push(one);
      this.#next(name);
    });
  }

  #next(name) {
    if (this.#held.has(name)) return;
    const one = this.#queues.get(name).shift();
    if (!one) return;
    this.#held.set(name, one);
    setImmediate(async () => {
      try {
        one.resolve(await one.work());
      } catch (error) {
        one.reject(error);
      }
      if (this.#held.get(name) !== one) return;
      this.#held.delete(name);
      this.#next(name);
    });
  }
}
