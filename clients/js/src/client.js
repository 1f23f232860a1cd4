// @ts-check
import { DormouseError, isPassing } from "./errors.js";
import { canShare } from "./tabs.js";
import { backoff, sleep } from "./timing.js";
import { Transport, content, seconds } from "./transport.js";
import { Watch, isFinal } from "./watch.js";

/** @typedef {import("./contract.js").Run} Run */
/** @typedef {import("./contract.js").RunBody} RunBody */
/** @typedef {import("./contract.js").RunList} RunList */
/** @typedef {import("./contract.js").RunStatus} RunStatus */
/** @typedef {import("./contract.js").RunSummary} RunSummary */
/** @typedef {import("./contract.js").Session} Session */
/** @typedef {import("./contract.js").AgentList} AgentList */
/** @typedef {import("./contract.js").AnswerBody} AnswerBody */
/** @typedef {import("./contract.js").Batch} Batch */
/** @typedef {import("./contract.js").BatchBody} BatchBody */
/** @typedef {import("./contract.js").BatchList} BatchList */
/** @typedef {import("./contract.js").BatchItem} BatchItem */
/** @typedef {import("./contract.js").BatchItemList} BatchItemList */
/** @typedef {import("./contract.js").BatchTokenBody} BatchTokenBody */
/** @typedef {import("./contract.js").Deliveries} Deliveries */
/** @typedef {import("./contract.js").RunToken} RunToken */
/** @typedef {import("./contract.js").TokenBody} TokenBody */
/** @typedef {import("./contract.js").ItemStatus} ItemStatus */
/** @typedef {import("./view.js").View} View */
/** @typedef {import("./view.js").Connection} Connection */
/** @typedef {import("./transport.js").RequestOptions} RequestOptions */

/**
 * Options of every call: `signal` ends it.
 * @typedef {{ signal?: AbortSignal | undefined }} CallOptions
 */

/**
 * How to call the app.
 * @typedef {object} ClientOptions
 * @property {string | undefined} [url] where the app is, without `/api`; a page on the app's own site needs none
 * @property {string | (() => string | Promise<string>) | undefined} [token] a run token, or a function that gets one
 *   that is still good: this client then reads, watches, answers and cancels that run or batch and nothing else
 * @property {string | undefined} [onBehalfOf] whose calls these are, from a server that signs its own people in: 1 to
 *   128 of `A-Za-z0-9._~@-`
 * @property {Record<string, string> | (() => Record<string, string> | Promise<Record<string, string>>) | undefined}
 *   [headers] sent with every request, or a function that makes them
 * @property {typeof globalThis.fetch | undefined} [fetch] in place of the platform's
 * @property {number | undefined} [retries] how often a request that failed is tried again, 4 unless given
 */

/**
 * Options of a watch. To go on after a reload give `after`, the `id` of the last view, and its `text`.
 * @typedef {object} WatchOptions
 * @property {AbortSignal | undefined} [signal]
 * @property {string | undefined} [after]
 * @property {string | undefined} [text]
 * @property {((connection: Connection) => void) | undefined} [onConnection] called at each change of the connection,
 *   also before the run is known
 * @property {boolean | undefined} [share] one stream for all tabs that watch the run; where browsers can, unless false
 */

/**
 * Which page of a list: `limit` entries at most, from the `next_cursor` of the page before.
 * @typedef {{ limit?: number | undefined, cursor?: string | undefined }} Page
 */

/** @typedef {{ status?: RunStatus[] | undefined, agent?: string | undefined }} RunFilter */

/** @typedef {{ status?: ItemStatus[] | undefined }} ItemFilter */

/**
 * Until when to wait, the end of the run unless given; what to do at each change; and for how many seconds the server
 * may keep a request open, 30 unless given: 0 asks after `Retry-After` instead.
 * @typedef {object} WaitOptions
 * @property {((run: Run) => unknown) | undefined} [until]
 * @property {((run: Run) => void) | undefined} [onChange]
 * @property {number | undefined} [hold]
 */

const USER_ID = /^[A-Za-z0-9._~@-]{1,128}$/;

/**
 * A client of one app. Where a method takes a run or a batch it takes its id as well. Every method may throw
 * `DormouseError`. What the network or a busy server prevents is tried again; all calls are safe to repeat, a submit by
 * its key.
 */
export class Dormouse {
  #transport;
  /** @type {WeakMap<object, { etag: string | undefined, retryAfter: number | undefined }>} */ #known = new WeakMap();
  /** What is being watched, by the run's id. @type {Map<string, Set<Watch>>} */ #watches = new Map();

  /** @param {string | ClientOptions} [url] where the app is, or all options @param {ClientOptions} [options] */
  constructor(url = "", options = {}) {
    const given = typeof url === "string" ? { ...options, url } : { ...options, ...url };
    const { onBehalfOf, token, headers = {}, retries = 4, fetch = (...all) => globalThis.fetch(...all) } = given;
    if (onBehalfOf !== undefined && !(typeof onBehalfOf === "string" && USER_ID.test(onBehalfOf))) {
      throw new DormouseError("invalid_user", `onBehalfOf must match ${USER_ID}`);
    }
    const base = (given.url ?? "").replace(/\/+$/, "");
    this.#transport = new Transport({ url: base, onBehalfOf, token, headers, retries, fetch });
  }

  /**
   * Start a run. `key` is the Idempotency-Key, a fresh one unless you give yours; `wait`: seconds to wait for the end.
   * @param {RunBody} request
   * @param {CallOptions & { key?: string | undefined, wait?: number | undefined }} [options]
   * @returns {Promise<Run>}
   */
  async submit(request, { key = newKey(), wait, signal } = {}) {
    /** @type {Record<string, string>} */
    const headers = { "Idempotency-Key": key };
    if (wait !== undefined) headers.Prefer = `wait=${wait}`;
    return this.#one("POST", "/api/runs", { body: request, headers, signal });
  }

  /**
   * The run as it stands now. Given a run, it is that same object again when nothing has changed.
   * @param {Run | string} run
   * @param {CallOptions & { wait?: number | undefined }} [options] `wait`: seconds to wait for a change
   * @returns {Promise<Run>}
   */
  async get(run, { wait, signal } = {}) {
    return this.#latest(run, `${this.#shared("runs", run)}${query({ wait })}`, { signal });
  }

  /**
   * The run as soon as it has ended, or as `until` holds. Each `onChange` is for something that is new. Once the run was
   * read, no failure that may pass ends the wait; `signal` does.
   * @param {Run | string} run
   * @param {CallOptions & WaitOptions} [options]
   * @returns {Promise<Run>}
   */
  async wait(run, { hold = 30, ...options } = {}) {
    return this.#waited("runs", run, { ...options, hold });
  }

  /**
   * A page of your runs, newest first; `next_cursor` of it is the `cursor` of the next.
   * @param {CallOptions & RunFilter & Page} [options]
   * @returns {Promise<RunList>}
   */
  async list({ signal, ...filter } = {}) {
    return this.#read(`/api/runs${query(filter)}`, { signal });
  }

  /**
   * All your runs, newest first, page after page: the next page, of `limit` runs, is asked for when it is needed.
   * @param {CallOptions & RunFilter & Page} [options]
   * @returns {AsyncGenerator<RunSummary, void, void>}
   */
  runs({ cursor, ...options } = {}) {
    return entries((cursor) => this.list({ ...options, cursor }), cursor);
  }

  /** @param {Run | string} run @param {CallOptions} [options] @returns {Promise<Run>} cancelled, unless it had ended */
  async cancel(run, options) {
    return this.#changed("POST", `${this.#shared("runs", run)}/cancel`, options);
  }

  /**
   * Approve or refuse the calls in `run.required_action`, each by its `id`. A `call_id` that one call of the run that you
   * give has is sent as the `id` of that call: what you have seen is what you answer.
   * @param {Run | string} run
   * @param {Record<string, AnswerBody>} given
   * @param {CallOptions} [options]
   * @returns {Promise<Run>}
   */
  async answer(run, given, options) {
    const calls = typeof run === "string" ? [] : (run.required_action?.calls ?? []);
    const answers = Object.fromEntries(Object.entries(given).map(([name, answer]) => [questionOf(name, calls), answer]));
    const where = `${this.#shared("runs", run)}/answers`;
    return this.#changed("POST", where, { ...options, body: { answers } });
  }

  /** @param {Run | string} run @param {CallOptions} [options] @returns {Promise<void>} */
  async delete(run, options) {
    await this.#call("DELETE", path("runs", run), options);
  }

  /**
   * The session with a page of its runs, newest first, and their messages, in the order in which they were said.
   * `next_cursor`, where it is there, is the `cursor` for the page of older ones.
   * @param {string} id
   * @param {CallOptions & Page} [options]
   * @returns {Promise<Session>}
   */
  async session(id, { signal, ...page } = {}) {
    return this.#read(path("sessions", id) + query(page), { signal });
  }

  /** @param {string} id @param {CallOptions} [options] @returns {Promise<void>} */
  async deleteSession(id, options) {
    await this.#call("DELETE", path("sessions", id), options);
  }

  /**
   * Start a batch: many inputs, each of which becomes a run. `key` is as for `submit`.
   * @param {BatchBody} request
   * @param {CallOptions & { key?: string | undefined }} [options]
   * @returns {Promise<Batch>}
   */
  async submitBatch(request, { key = newKey(), signal } = {}) {
    const headers = { "Idempotency-Key": key };
    return this.#one("POST", "/api/batches", { body: request, headers, signal });
  }

  /**
   * The batch as it stands now. Given a batch, it is that same object again when nothing has changed.
   * @param {Batch | string} batch
   * @param {CallOptions} [options]
   * @returns {Promise<Batch>}
   */
  async batch(batch, options) {
    return this.#latest(batch, this.#shared("batches", batch), options);
  }

  /**
   * The batch as soon as it has ended, asked for after `Retry-After` each time. Each `onChange` is for something new.
   * @param {Batch | string} batch
   * @param {CallOptions & { until?: ((batch: Batch) => unknown) | undefined, onChange?: ((batch: Batch) => void) | undefined }} [options]
   * @returns {Promise<Batch>}
   */
  async waitBatch(batch, options) {
    return this.#waited("batches", batch, { ...options, hold: 0 });
  }

  /**
   * A page of the batch's items, in order, with what became of them. It ends early where texts are long: go on while
   * there is a `next_cursor`.
   * @param {Batch | string} batch
   * @param {CallOptions & ItemFilter & Page} [options]
   * @returns {Promise<BatchItemList>}
   */
  async batchItems(batch, { signal, ...filter } = {}) {
    return this.#read(`${path("batches", batch)}/items${query(filter)}`, { signal });
  }

  /**
   * All items of the batch, in order, page after page, as `runs`.
   * @param {Batch | string} batch
   * @param {CallOptions & ItemFilter & Page} [options]
   * @returns {AsyncGenerator<BatchItem, void, void>}
   */
  items(batch, { cursor, ...options } = {}) {
    return entries((cursor) => this.batchItems(batch, { ...options, cursor }), cursor);
  }

  /**
   * A page of your batches, newest first.
   * @param {CallOptions & Page} [options]
   * @returns {Promise<BatchList>}
   */
  async batches({ signal, ...filter } = {}) {
    return this.#read(`/api/batches${query(filter)}`, { signal });
  }

  /** @param {Batch | string} batch @param {CallOptions} [options] @returns {Promise<Batch>} being cancelled, or over */
  async cancelBatch(batch, options) {
    return this.#one("POST", `${path("batches", batch)}/cancel`, options);
  }

  /** With its runs. @param {Batch | string} batch @param {CallOptions} [options] @returns {Promise<void>} */
  async deleteBatch(batch, options) {
    await this.#call("DELETE", path("batches", batch), options);
  }

  /** The log of a run's callbacks. @param {Run | string} run @param {CallOptions} [options] @returns {Promise<Deliveries>} */
  async deliveries(run, options) {
    return this.#read(`${path("runs", run)}/deliveries`, options);
  }

  /** Send the callback of its end again. @param {Run | Batch | string} one @param {CallOptions} [options] @returns {Promise<void>} */
  async redeliver(one, options) {
    await this.#call("POST", `${eitherPath(one)}/deliveries`, options);
  }

  /**
   * A token that opens this run or batch, for a while and for these rights, to whoever has it: a page that signs in
   * nowhere uses it as `new Dormouse({ url, token })`. For servers.
   * @template {Run | Batch | string} One
   * @param {One} one
   * @param {One extends Batch ? BatchTokenBody : TokenBody} body of a batch's the only right is `read`
   * @param {CallOptions} [options]
   * @returns {Promise<RunToken>}
   */
  async createToken(one, body, options) {
    return this.#one("POST", `${eitherPath(one)}/tokens`, { ...options, body });
  }

  /** @param {CallOptions} [options] @returns {Promise<AgentList>} */
  async agents(options) {
    return this.#read("/api/agents", options);
  }

  /**
   * Everything that happens to the run, as it happens, to its end. Connections that are lost or end are made again,
   * from where they stood, for as long as it takes; only a refusal, such as 404, ends it with an error. While nobody
   * looks at the page, or the run waits for a person, it asks now and then instead. Tabs that watch the same run share
   * one stream.
   * @param {Run | string} run
   * @param {WatchOptions} [options]
   * @returns {AsyncGenerator<View, void, void>}
   */
  async *watch(run, { after, text = "", signal, onConnection, share = true } = {}) {
    const id = typeof run === "string" ? run : run.id;
    const where = this.#shared("runs", id);
    const start = typeof run !== "string" && this.#known.has(run) ? run : undefined;
    const name = `dormouse-client 1 ${this.#transport.options.url} ${id}`;
    /** @type {import("./watch.js").Server} */
    const server = {
      name,
      events: (headers, signal) => this.#call("GET", `${where}/events`, { headers, signal, retries: 0 }),
      read: (run, signal) => this.#latest(run ?? id, where, { signal, retries: 0 }),
      retryAfter: (one) => this.#retryAfter(one),
    };
    const watch = new Watch(server, { run: start, text, id: after }, onConnection, share && canShare());
    const watches = this.#watches.get(id) ?? new Set();
    this.#watches.set(id, watches.add(watch));
    try {
      yield* watch.views(signal);
    } finally {
      watches.delete(watch);
      if (watches.size === 0) this.#watches.delete(id);
    }
  }

  /**
   * @template {Run | Batch} One
   * @param {"runs" | "batches"} kind
   * @param {One | string} one
   * @param {CallOptions & { until?: ((one: One) => unknown) | undefined, onChange?: ((one: One) => void) | undefined,
   *   hold: number }} options
   * @returns {Promise<One>}
   */
  async #waited(kind, one, { until, onChange, hold, signal }) {
    const where = this.#shared(kind, one);
    let seen = await this.#latest(one, where, { signal });
    for (let [isNew, failures] = [true, 0]; ; ) {
      if (isNew) onChange?.(seen);
      if (until?.(seen) || isFinal(seen)) return seen;
      if (!hold) await sleep(this.#retryAfter(seen), signal);
      const begun = Date.now();
      try {
        const next = await this.#latest(seen, where + query({ wait: hold || undefined }), { signal, retries: 0 });
        isNew = next !== seen && JSON.stringify(next) !== JSON.stringify(seen);
        // A proxy in between may have dropped `wait`: no second request without a pause.
        if (!isNew && hold && Date.now() - begun < 1_000) await sleep(Math.min(this.#retryAfter(next), hold), signal);
        [seen, failures] = [next, 0];
      } catch (error) {
        if (!isPassing(error)) throw error;
        isNew = false;
        await sleep(error.retryAfter ?? backoff(++failures), signal);
      }
    }
  }

  /** @param {string} method @param {string} where @param {RequestOptions} [options] */
  #call(method, where, options = {}) {
    return this.#transport.call(method, where, options);
  }

  /** @param {string} where @param {RequestOptions} [options] @returns {Promise<any>} */
  async #read(where, options) {
    return content(await this.#call("GET", where, options), options?.signal);
  }

  /**
   * What is there now; the same object again when the server says that it has not changed.
   * @template {Run | Batch} One
   * @param {One | string} one
   * @param {string} where
   * @param {RequestOptions} [options]
   * @returns {Promise<One>}
   */
  async #latest(one, where, options) {
    const etag = typeof one === "string" ? null : this.#known.get(one)?.etag;
    return this.#one("GET", where, { ...options, headers: etag ? { "If-None-Match": etag } : {} }, one);
  }

  /**
   * A run, a batch or a token; what the headers of the answer said is remembered. `before`: what 304 is about.
   * @param {string} method
   * @param {string} where
   * @param {RequestOptions} [options]
   * @param {any} [before]
   * @returns {Promise<any>}
   */
  async #one(method, where, options, before) {
    const reply = await this.#call(method, where, options);
    const one = reply.status === 304 ? before : await content(reply, options?.signal);
    const etag = reply.headers.get("ETag") ?? this.#known.get(one)?.etag;
    this.#known.set(one, { etag, retryAfter: seconds(reply) });
    return one;
  }

  /**
   * The run after it was changed here: whoever watches it looks at once.
   * @param {string} method
   * @param {string} where
   * @param {RequestOptions} [options]
   * @returns {Promise<Run>}
   */
  async #changed(method, where, options) {
    const run = await this.#one(method, where, options);
    for (const each of this.#watches.get(run.id) ?? []) each.look();
    return run;
  }

  /** @param {Run | Batch} one */
  #retryAfter(one) {
    return this.#known.get(one)?.retryAfter ?? Math.max(1, one.retry_after ?? 1); // a page may not see the header
  }

  /** The address of what a run token opens too. @param {"runs" | "batches"} kind @param {Run | Batch | string} one */
  #shared(kind, one) {
    return `/api/${this.#transport.options.token === undefined ? "" : "shared/"}${kind}/${idOf(one)}`;
  }
}

/** @param {{ id: string } | string} one */
const idOf = (one) => encodeURIComponent(typeof one === "string" ? one : one.id);

/** @typedef {"runs" | "batches" | "sessions"} Kind */

/** @param {Kind} kind @param {{ id: string } | string} one */
const path = (kind, one) => `/api/${kind}/${idOf(one)}`;

/** Of a run or a batch: their ids say which. @param {{ id: string } | string} one */
const eitherPath = (one) => path(idOf(one).startsWith("batch_") ? "batches" : "runs", one);

/**
 * The name of an answer as it is sent: the id of the only one of these calls that it can mean, else as it was given.
 * @param {string} name
 * @param {{ id: string, call_id: string }[]} calls
 */
function questionOf(name, calls) {
  const [meant, ...more] = calls.filter((call) => call.call_id === name);
  return meant && more.length === 0 ? meant.id : name;
}

/**
 * All entries of a list, page after page; the next page is asked for when it is needed.
 * @template Entry
 * @param {(cursor: string | undefined) => Promise<{ data: Entry[], next_cursor?: string | undefined }>} page
 * @param {string | undefined} cursor of the first page
 * @returns {AsyncGenerator<Entry, void, void>}
 */
async function* entries(page, cursor) {
  do {
    const { data, next_cursor } = await page(cursor);
    yield* data;
    cursor = next_cursor;
  } while (cursor);
}

/** A list's parameters; several statuses are joined. @param {Record<string, unknown>} filter */
function query(filter) {
  const given = Object.entries(filter).filter(([, value]) => value !== undefined && String(value) !== "");
  return given.length ? `?${new URLSearchParams(given.map(([name, value]) => [name, String(value)]))}` : "";
}

/** A key that nobody else has; `crypto.randomUUID` is not there on plain http. */
function newKey() {
  return crypto.getRandomValues(new Uint32Array(4)).join("-");
}
