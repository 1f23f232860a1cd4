// @ts-check
/**
 * A client of Dormouse in one file: no build step, no dependencies; for pages and for Node.js 20 or newer.
 *
 *     const dormouse = new Dormouse("https://…", { headers: … });
 *     const run = await dormouse.submit({ input: "A story, please." });
 *     console.log((await dormouse.wait(run)).text);
 *
 * Where a method takes a run or a batch it takes its id as well. Every method may throw `DormouseError`. What the
 * network or a busy server prevents is tried again; all calls are safe to repeat, a submit by its key.
 *
 * @module
 */

/** @typedef {import("./contract.js").Run} Run */
/** @typedef {import("./contract.js").RunBody} RunBody */
/** @typedef {import("./contract.js").RunList} RunList */
/** @typedef {import("./contract.js").RunStatus} RunStatus */
/** @typedef {import("./contract.js").Session} Session */
/** @typedef {import("./contract.js").AgentList} AgentList */
/** @typedef {import("./contract.js").AnswerBody} AnswerBody */
/** @typedef {import("./contract.js").Batch} Batch */
/** @typedef {import("./contract.js").BatchBody} BatchBody */
/** @typedef {import("./contract.js").BatchStatus} BatchStatus */
/** @typedef {import("./contract.js").BatchList} BatchList */
/** @typedef {import("./contract.js").BatchItemList} BatchItemList */
/** @typedef {import("./contract.js").ItemStatus} ItemStatus */
/** @typedef {import("./contract.js").ToolCall} ToolCall */
/** @typedef {import("./contract.js").Problem} Problem */

/**
 * Options of every call: `signal` ends it.
 * @typedef {{ signal?: AbortSignal }} CallOptions
 */

/**
 * `headers`: sent with every request, or a function that makes them (for tokens that expire). `fetch`: in place of the
 * platform's. `retries`: how often a request that failed is tried again.
 * @typedef {object} ClientOptions
 * @property {Record<string, string> | (() => Record<string, string> | Promise<Record<string, string>>)} [headers]
 * @property {typeof fetch} [fetch]
 * @property {number} [retries]
 */

/**
 * What a viewer of a run gets. `text` is the whole text so far; `stale`: it does not grow for now. `call` is
 * the tool call that the event is about, `id` where to go on from.
 * @typedef {object} View
 * @property {"state" | "status" | "snapshot" | "delta" | "annotation" | "hosted_call" | "reasoning" | "tool_started"
 *   | "tool_progress" | "tool_finished" | "stale" | "wake" | "end"} event
 * @property {Run} run
 * @property {string} text
 * @property {boolean} stale
 * @property {ToolCall} [call]
 * @property {string | undefined} id
 */

/** @typedef {{ id?: string, event?: string, data?: string, retry?: number }} ServerSentEvent */

const FINAL = new Set(["completed", "incomplete", "failed", "cancelled"]);
const RETRIED_STATUSES = new Set([429, 502, 503, 504]);
const MAX_WAIT_SECONDS = 30;
const SILENCE_MS = 45_000; // the server sends a ping every 15 seconds

/** Whether the run or batch has ended, for good. @param {{ status: RunStatus | BatchStatus }} one */
export const isFinal = (one) => FINAL.has(one.status);

/** A refusal, or a failure on the way. Programs go by `code`, people read the message. */
export class DormouseError extends Error {
  /**
   * @param {string} code
   * @param {string} message
   * @param {{ status?: number, problem?: Partial<Problem>, retryAfter?: number, cause?: unknown }} [more]
   */
  constructor(code, message, { status = 0, problem, retryAfter, cause } = {}) {
    super(message, { cause });
    this.name = "DormouseError";
    this.code = code;
    /** 0 when there was no answer. */
    this.status = status;
    /** The whole body of the refusal. */
    this.problem = problem;
    /** Seconds, when the server said so. */
    this.retryAfter = retryAfter;
  }
}

export class Dormouse {
  /** @type {string} */ #base;
  /** @type {Required<ClientOptions>} */ #options;
  /** @type {WeakMap<object, { etag: string | null, retryAfter: number | undefined }>} */ #known = new WeakMap();

  /**
   * @param {string} [base] where the app is, without `/api`; a page on the app's own site needs none
   * @param {ClientOptions} [options]
   */
  constructor(base = "", options = {}) {
    this.#base = base.replace(/\/+$/, "");
    this.#options = { headers: {}, fetch: (...given) => fetch(...given), retries: 4, ...options };
  }

  /**
   * Start a run. `key` is the Idempotency-Key, a fresh one unless you give yours; `wait`: seconds to wait for the end.
   * @param {RunBody} request
   * @param {CallOptions & { key?: string, wait?: number }} [options]
   * @returns {Promise<Run>}
   */
  async submit(request, { key = newKey(), wait, signal } = {}) {
    /** @type {Record<string, string>} */
    const headers = { "Idempotency-Key": key };
    if (wait !== undefined) headers.Prefer = `wait=${wait}`;
    return this.#remembered(await this.#call("POST", "/api/runs", { body: request, headers, signal }));
  }

  /**
   * The run as it stands now. Given a run, it is that same object again when nothing has changed.
   * @param {Run | string} run
   * @param {CallOptions & { wait?: number }} [options] `wait`: seconds to wait for a change
   * @returns {Promise<Run>}
   */
  async get(run, { wait, signal } = {}) {
    return this.#latest(run, `${path(run)}${wait === undefined ? "" : `?wait=${wait}`}`, signal);
  }

  /**
   * The run as soon as it has ended, or as `until` holds. Each `onChange` is for something that is new.
   * `hold`: how long the server may keep a request open, in seconds; 0 asks after `Retry-After` instead.
   * @param {Run | string} run
   * @param {CallOptions & { until?: (run: Run) => unknown, onChange?: (run: Run) => void, hold?: number }} [options]
   * @returns {Promise<Run>}
   */
  async wait(run, { until = isFinal, onChange = () => {}, hold = MAX_WAIT_SECONDS, signal } = {}) {
    let seen = await this.get(run, { signal });
    for (let isNew = true; ; ) {
      if (isNew) onChange(seen);
      if (until(seen) || isFinal(seen)) return seen;
      if (hold === 0) await sleep(this.#retryAfter(seen), signal);
      const begun = Date.now();
      const next = await this.get(seen, { wait: hold || undefined, signal });
      isNew = next !== seen && JSON.stringify(next) !== JSON.stringify(seen);
      // A proxy in between may have dropped `wait`: no second request without a pause.
      if (!isNew && hold && Date.now() - begun < 1_000) await sleep(Math.min(this.#retryAfter(next), hold), signal);
      seen = next;
    }
  }

  /**
   * A page of your runs, newest first; `next_cursor` of it is the `cursor` of the next.
   * @param {CallOptions & { status?: RunStatus[], agent?: string, limit?: number, cursor?: string }} [options]
   * @returns {Promise<RunList>}
   */
  async list({ signal, ...filter } = {}) {
    return content(await this.#call("GET", `/api/runs${query(filter)}`, { signal }));
  }

  /** @param {Run | string} run @param {CallOptions} [options] @returns {Promise<Run>} cancelled, unless it had ended */
  async cancel(run, { signal } = {}) {
    return this.#remembered(await this.#call("POST", `${path(run)}/cancel`, { signal }));
  }

  /**
   * Approve or refuse the calls in `run.required_action`, each by its `id`. A `call_id` that one call of the run that you
   * give has is sent as the `id` of that call: what you have seen is what you answer.
   * @param {Run | string} run
   * @param {Record<string, AnswerBody>} given
   * @param {CallOptions} [options]
   * @returns {Promise<Run>}
   */
  async answer(run, given, { signal } = {}) {
    const calls = typeof run === "string" ? [] : (run.required_action?.calls ?? []);
    const answers = Object.fromEntries(Object.entries(given).map(([name, answer]) => [idOf(name, calls), answer]));
    return this.#remembered(await this.#call("POST", `${path(run)}/answers`, { body: { answers }, signal }));
  }

  /** @param {Run | string} run @param {CallOptions} [options] @returns {Promise<void>} */
  async delete(run, { signal } = {}) {
    await this.#call("DELETE", path(run), { signal });
  }

  /**
   * The session with a page of its runs, newest first, and their messages, in the order in which they were said.
   * `next_cursor`, where it is there, is the `cursor` for the page of older ones.
   * @param {string} id
   * @param {CallOptions & { limit?: number, cursor?: string }} [options]
   * @returns {Promise<Session>}
   */
  async session(id, { limit, cursor, signal } = {}) {
    const page = query({ limit, cursor });
    return content(await this.#call("GET", `/api/sessions/${encodeURIComponent(id)}${page}`, { signal }));
  }

  /** @param {string} id @param {CallOptions} [options] @returns {Promise<void>} */
  async deleteSession(id, { signal } = {}) {
    await this.#call("DELETE", `/api/sessions/${encodeURIComponent(id)}`, { signal });
  }

  /**
   * Start a batch: many inputs, each of which becomes a run. `key` is as for `submit`.
   * @param {BatchBody} request
   * @param {CallOptions & { key?: string }} [options]
   * @returns {Promise<Batch>}
   */
  async submitBatch(request, { key = newKey(), signal } = {}) {
    const headers = { "Idempotency-Key": key };
    return this.#remembered(await this.#call("POST", "/api/batches", { body: request, headers, signal }));
  }

  /**
   * The batch as it stands now. Given a batch, it is that same object again when nothing has changed.
   * @param {Batch | string} batch
   * @param {CallOptions} [options]
   * @returns {Promise<Batch>}
   */
  async batch(batch, { signal } = {}) {
    return this.#latest(batch, batchPath(batch), signal);
  }

  /**
   * The batch as soon as it has ended, asked for after `Retry-After` each time. Each `onChange` is for something new.
   * @param {Batch | string} batch
   * @param {CallOptions & { onChange?: (batch: Batch) => void }} [options]
   * @returns {Promise<Batch>}
   */
  async waitBatch(batch, { onChange = () => {}, signal } = {}) {
    let seen = await this.batch(batch, { signal });
    for (let isNew = true; ; ) {
      if (isNew) onChange(seen);
      if (isFinal(seen)) return seen;
      await sleep(this.#retryAfter(seen), signal);
      const next = await this.batch(seen, { signal });
      isNew = next !== seen;
      seen = next;
    }
  }

  /**
   * A page of the batch's items, in order, with what became of them. It ends early where texts are long: go on while
   * there is a `next_cursor`.
   * @param {Batch | string} batch
   * @param {CallOptions & { status?: ItemStatus[], limit?: number, cursor?: string }} [options]
   * @returns {Promise<BatchItemList>}
   */
  async batchItems(batch, { signal, ...filter } = {}) {
    return content(await this.#call("GET", `${batchPath(batch)}/items${query(filter)}`, { signal }));
  }

  /**
   * A page of your batches, newest first.
   * @param {CallOptions & { limit?: number, cursor?: string }} [options]
   * @returns {Promise<BatchList>}
   */
  async batches({ signal, ...filter } = {}) {
    return content(await this.#call("GET", `/api/batches${query(filter)}`, { signal }));
  }

  /** @param {Batch | string} batch @param {CallOptions} [options] @returns {Promise<Batch>} being cancelled, or over */
  async cancelBatch(batch, { signal } = {}) {
    return this.#remembered(await this.#call("POST", `${batchPath(batch)}/cancel`, { signal }));
  }

  /** With its runs. @param {Batch | string} batch @param {CallOptions} [options] @returns {Promise<void>} */
  async deleteBatch(batch, { signal } = {}) {
    await this.#call("DELETE", batchPath(batch), { signal });
  }

  /** @param {CallOptions} [options] @returns {Promise<AgentList>} */
  async agents({ signal } = {}) {
    return content(await this.#call("GET", "/api/agents", { signal }));
  }

  /**
   * Everything that happens to the run, as it happens, to its end. Connections that are lost or end are made again,
   * from where they stood. To go on after a reload, give `after` (the `id` of the last view) and its `text`.
   * @param {Run | string} run
   * @param {CallOptions & { after?: string, text?: string }} [options]
   * @returns {AsyncGenerator<View, void, void>}
   */
  async *watch(run, { after, text = "", signal } = {}) {
    /** @type {Run | undefined} */
    let seen = typeof run === "string" ? undefined : run;
    let [id, stale, failures, pause] = [after, false, 0, 1_000];
    for (;;) {
      const connection = new Watchdog(signal);
      try {
        /** @type {Record<string, string>} */
        const headers = { Accept: "text/event-stream", ...(id === undefined ? {} : { "Last-Event-ID": id }) };
        const reply = await this.#call("GET", `${path(run)}/events`, { headers, signal: connection.signal });
        if (reply.status === 204 || !reply.body) return;
        for await (const message of messages(reply.body, connection)) {
          pause = message.retry ?? pause;
          if (message.event === undefined || message.data === undefined) continue;
          const event = /** @type {View["event"]} */ (message.event);
          const data = JSON.parse(message.data);
          failures = 0;
          id = message.id ?? id;
          if (event === "state" || event === "status" || event === "end") seen = /** @type {Run} */ (data);
          if (event === "snapshot") [text, stale] = [data.text, false];
          if (event === "delta") text += data.text;
          if (event === "stale") stale = true;
          if (event === "wake" && seen) seen = { ...seen, ...data };
          if (!seen) continue;
          yield { event, run: seen, text, stale, id, ...(event.startsWith("tool_") ? { call: data } : {}) };
          if (event === "end") return;
        }
      } catch (error) {
        signal?.throwIfAborted();
        const refused = error instanceof DormouseError && error.status !== 0;
        if (refused || ++failures > this.#options.retries) throw error;
      } finally {
        connection.end();
      }
      await sleep((pause / 1_000) * 2 ** Math.min(Math.max(failures - 1, 0), 4), signal);
    }
  }

  /**
   * What is there now; the same object again when the server says that it has not changed.
   * @template {Run | Batch} One
   * @param {One | string} one
   * @param {string} where
   * @param {AbortSignal} [signal]
   * @returns {Promise<One>}
   */
  async #latest(one, where, signal) {
    const etag = typeof one === "string" ? null : this.#known.get(one)?.etag;
    /** @type {Record<string, string>} */
    const headers = etag ? { "If-None-Match": etag } : {};
    const reply = await this.#call("GET", where, { headers, signal });
    if (reply.status !== 304 || typeof one === "string") return this.#remembered(reply);
    this.#known.set(one, { etag: etag ?? null, retryAfter: seconds(reply) });
    return one;
  }

  /** @param {Response} reply @returns {Promise<any>} a run or a batch; what its headers said is remembered */
  async #remembered(reply) {
    const one = await content(reply);
    this.#known.set(one, { etag: reply.headers.get("ETag"), retryAfter: seconds(reply) });
    return one;
  }

  /** @param {Run | Batch} one */
  #retryAfter(one) {
    return this.#known.get(one)?.retryAfter ?? Math.max(1, one.retry_after ?? 1); // a page may not see the header
  }

  /**
   * One request, again and again where that may help; an answer that is good, or 304.
   * @param {string} method
   * @param {string} where
   * @param {{ body?: unknown, headers?: Record<string, string>, signal?: AbortSignal }} more
   * @returns {Promise<Response>}
   */
  async #call(method, where, { body, headers = {}, signal }) {
    const { headers: given, fetch: send, retries } = this.#options;
    for (let failures = 0; ; failures++) {
      const own = typeof given === "function" ? await given() : given;
      const json = body === undefined ? {} : { "Content-Type": "application/json" };
      const init = { method, headers: { ...own, ...json, ...headers }, signal, body: body && JSON.stringify(body) };
      /** @type {DormouseError} */
      let error;
      try {
        const reply = await send(this.#base + where, /** @type {RequestInit} */ (init));
        if (reply.ok || reply.status === 304) return reply;
        if (method === "DELETE" && reply.status === 404 && failures) return reply; // gone by the try before
        error = await refusal(reply);
      } catch (cause) {
        signal?.throwIfAborted();
        const message = "The server could not be reached, or does not let pages of this origin call it (CORS).";
        error = new DormouseError("network_error", message, { cause });
      }
      if (failures >= retries || (error.status && !RETRIED_STATUSES.has(error.status))) throw error;
      await sleep(error.retryAfter ?? 0.25 * 2 ** failures * (1 + Math.random()), signal);
    }
  }
}

/** Ends a connection that has been silent for too long, or that is not needed any more. */
class Watchdog {
  #controller = new AbortController();
  /** @type {ReturnType<typeof setTimeout> | undefined} */ #timer;
  #outer;

  /** @param {AbortSignal} [outer] */
  constructor(outer) {
    this.#outer = outer;
    outer?.addEventListener("abort", this.#abort);
    if (outer?.aborted) this.#abort();
    this.heard();
  }

  get signal() {
    return this.#controller.signal;
  }

  heard() {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(this.#abort, SILENCE_MS);
  }

  end() {
    clearTimeout(this.#timer);
    this.#outer?.removeEventListener("abort", this.#abort);
    this.#abort();
  }

  #abort = () => this.#controller.abort(this.#outer?.reason);
}

/**
 * The events of a stream (WHATWG HTML, section 9.2.6).
 * @param {ReadableStream<Uint8Array>} body
 * @param {Watchdog} connection
 * @returns {AsyncGenerator<ServerSentEvent, void, void>}
 */
async function* messages(body, connection) {
  const reader = body.getReader();
  const decoder = new TextDecoder();
  let rest = "";
  /** @type {ServerSentEvent} */
  let message = {};
  for (;;) {
    const { done, value: chunk } = await reader.read();
    if (done) return;
    connection.heard();
    const lines = (rest + decoder.decode(chunk, { stream: true })).split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines.map((each) => each.replace(/\r$/, ""))) {
      if (line === "") {
        yield message;
        message = {};
        continue;
      }
      const [, name, value = ""] = /^([^:]*)(?:: ?(.*))?$/.exec(line) ?? [];
      if (name === "id" || name === "event") message[name] = value;
      if (name === "data") message.data = message.data === undefined ? value : `${message.data}\n${value}`;
      if (name === "retry" && /^\d+$/.test(value)) message.retry = Number(value);
    }
  }
}

/** @param {Response} reply @returns {Promise<DormouseError>} */
async function refusal(reply) {
  /** @type {Partial<Problem>} */
  const problem = await reply.json().catch(() => ({}));
  const code = problem.code ?? `http_${reply.status}`;
  const message = problem.detail ?? `The server answered ${reply.status}.`;
  return new DormouseError(code, message, { status: reply.status, problem, retryAfter: seconds(reply) });
}

/** @param {Response} reply */
function seconds(reply) {
  const given = reply.headers.get("Retry-After");
  return given !== null && /^\d+$/.test(given) ? Number(given) : undefined;
}

/** @param {Response} reply @returns {Promise<any>} */
async function content(reply) {
  try {
    return await reply.json();
  } catch (cause) {
    const message = "The answer is not Dormouse's: a proxy or gateway in between may have given it.";
    throw new DormouseError("unexpected_response", message, { status: reply.status, cause });
  }
}

/** @param {Run | string} run */
const path = (run) => `/api/runs/${encodeURIComponent(typeof run === "string" ? run : run.id)}`;

/** @param {Batch | string} batch */
const batchPath = (batch) => `/api/batches/${encodeURIComponent(typeof batch === "string" ? batch : batch.id)}`;

/**
 * The name of an answer as it is sent: the id of the only one of these calls that it can mean, else as it was given.
 * @param {string} name
 * @param {{ id: string, call_id: string }[]} calls
 */
function idOf(name, calls) {
  const [meant, ...more] = calls.filter((call) => call.call_id === name);
  return meant && more.length === 0 ? meant.id : name;
}

/** A list's parameters; several statuses are joined. @param {Record<string, unknown>} filter */
function query(filter) {
  const given = Object.entries(filter).filter(([, value]) => value !== undefined && String(value) !== "");
  return given.length ? `?${new URLSearchParams(given.map(([name, value]) => [name, String(value)]))}` : "";
}

/** A key that nobody else has; `crypto.randomUUID` is not there on plain http. */
function newKey() {
  const bytes = [...crypto.getRandomValues(new Uint8Array(16))];
  return bytes.map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** @param {number} duration in seconds @param {AbortSignal} [signal] @returns {Promise<void>} */
function sleep(duration, signal) {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(signal.reason);
    const stop = () => (clearTimeout(timer), reject(signal?.reason));
    const timer = setTimeout(() => (signal?.removeEventListener("abort", stop), resolve()), duration * 1_000);
    signal?.addEventListener("abort", stop, { once: true });
  });
}
