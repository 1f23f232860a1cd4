// @ts-check
import { DormouseError, isPassing } from "./errors.js";
import { canShare } from "./tabs.js";
import { backoff, sleep } from "./timing.js";
import { Transport, content, seconds } from "./transport.js";
import { Watch, isFinal } from "./watch.js";

/** @import { AgentList, AnswerBody, Batch, BatchBody, BatchItem, BatchItemList, BatchList, BatchTokenBody, Deliveries } from "./contract.js" */
/** @import { Run, RunBody, RunInput, RunList, RunSummary, RunToken, Session, SubmittedBatch, SubmittedRun } from "./contract.js" */
/** @import { Schedule, ScheduleBody, ScheduleChangeBody, ScheduleList, Timeline, TokenBody, WholeToolCall } from "./contract.js" */
/** @import { BatchWaitOptions, CallOptions, ClientOptions, ItemFilter, Page, RunFilter, SubmitOptions } from "./options.js" */
/** @import { Until, WaitOptions, WatchOptions } from "./options.js" */
/** @import { RequestOptions } from "./transport.js" */
/** @import { View } from "./view.js" */

const USER_ID = /^[A-Za-z0-9._~@-]{1,128}$/;

/**
 * A client of one app. Where a method takes a run or a batch it takes its id as well. Every method may throw
 * `DormouseError`. What the network or a busy server prevents is tried again; all calls are safe to repeat, a submit by
 * its key.
 */
export class Dormouse {
  #transport;
  /** @type {WeakMap<object, { etag: string | undefined, retryAfter: number | undefined }>} */ #known = new WeakMap();
  /** @type {Set<Watch>} */ #watches = new Set();

  /** @param {string | ClientOptions} [url] where the app is, or all options @param {ClientOptions} [options] */
  constructor(url = "", options = {}) {
    const given = { ...options, ...(typeof url === "string" ? { url } : url) };
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
   * @param {SubmitOptions & { wait?: number | undefined }} [options]
   * @returns {Promise<SubmittedRun>}
   */
  async submit(request, { wait, ...options } = {}) {
    const headers = wait === undefined ? {} : { Prefer: `wait=${wait}` };
    return this.#submitted("/api/runs", { ...options, body: request, headers });
  }

  /**
   * The run as it stands now. Given a run, it is that same object again when nothing has changed.
   * @param {Run | string} run
   * @param {CallOptions & { wait?: number | undefined }} [options] `wait`: seconds to wait for a change
   * @returns {Promise<Run>}
   */
  async get(run, options) {
    return this.#latest("runs", run, options);
  }

  /**
   * The run as soon as it has ended, or as `until` holds. Each `onChange` is for something that is new. Once the run was
   * read, no failure that may pass ends the wait; `signal` does.
   * @param {Run | string} run
   * @param {WaitOptions} [options]
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
  async list(options) {
    return this.#one("GET", "/api/runs", options);
  }

  /**
   * All your runs, newest first, page after page: the next page, of `limit` runs, is asked for when it is needed.
   * @param {CallOptions & RunFilter & Page} [options]
   * @returns {AsyncGenerator<RunSummary, void, void>}
   */
  runs(options) {
    return entries((page) => this.list(page), options);
  }

  /** @param {Run | string} run @param {CallOptions} [options] @returns {Promise<Run>} cancelled, unless it had ended */
  async cancel(run, options) {
    return this.#changed(`${path("runs", run)}/cancel`, options);
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
    const calls = Object(run).required_action?.calls ?? [];
    const answers = Object.fromEntries(Object.entries(given).map(([name, answer]) => [questionOf(name, calls), answer]));
    return this.#changed(`${path("runs", run)}/answers`, { ...options, body: { answers } });
  }

  /** The whole input, which `input_preview` begins. @param {Run | string} run @param {CallOptions} [options] @returns {Promise<RunInput>} */
  async input(run, options) {
    return this.#one("GET", `${path("runs", run)}/input`, options);
  }

  /** What happened, oldest first. @param {Run | string} run @param {CallOptions} [options] @returns {Promise<Timeline>} */
  async timeline(run, options) {
    return this.#one("GET", `${path("runs", run)}/timeline`, options);
  }

  /**
   * A tool call with all of its arguments and its result; `call` is one of the run's, or its `id`.
   * @param {Run | string} run
   * @param {{ id: string } | string} call
   * @param {CallOptions} [options]
   * @returns {Promise<WholeToolCall>}
   */
  async toolCall(run, call, options) {
    return this.#one("GET", `${path("runs", run)}/tool_calls/${idOf(call)}`, options);
  }

  /** @param {Run | string} run @param {CallOptions} [options] @returns {Promise<void>} */
  async delete(run, options) {
    await this.#transport.call("DELETE", path("runs", run), options);
  }

  /**
   * The session with a page of its runs, newest first, and their messages, in the order in which they were said.
   * `next_cursor`, where it is there, is the `cursor` for the page of older ones.
   * @param {string} id
   * @param {CallOptions & Page} [options]
   * @returns {Promise<Session>}
   */
  async session(id, options) {
    return this.#one("GET", path("sessions", id), options);
  }

  /** @param {string} id @param {CallOptions} [options] @returns {Promise<void>} */
  async deleteSession(id, options) {
    await this.#transport.call("DELETE", path("sessions", id), options);
  }

  /**
   * Have a request run again and again, at the times that `request.cron` names. `key` is as for `submit`.
   * @param {ScheduleBody} request
   * @param {SubmitOptions} [options]
   * @returns {Promise<Schedule>}
   */
  async createSchedule(request, options) {
    return this.#submitted("/api/schedules", { ...options, body: request });
  }

  /** A page of your schedules. @param {CallOptions & Page} [options] @returns {Promise<ScheduleList>} */
  async schedules(options) {
    return this.#one("GET", "/api/schedules", options);
  }

  /** @param {Schedule | string} schedule @param {CallOptions} [options] @returns {Promise<Schedule>} */
  async schedule(schedule, options) {
    return this.#one("GET", path("schedules", schedule), options);
  }

  /**
   * Change when it runs, from now on; pause it, or let it go on.
   * @param {Schedule | string} schedule
   * @param {ScheduleChangeBody} change
   * @param {CallOptions} [options]
   * @returns {Promise<Schedule>}
   */
  async changeSchedule(schedule, change, options) {
    return this.#one("PATCH", path("schedules", schedule), { ...options, body: change });
  }

  /** No further run begins. @param {Schedule | string} schedule @param {CallOptions} [options] @returns {Promise<void>} */
  async deleteSchedule(schedule, options) {
    await this.#transport.call("DELETE", path("schedules", schedule), options);
  }

  /**
   * Start a batch: many inputs, each of which becomes a run. `key` is as for `submit`.
   * @param {BatchBody} request
   * @param {SubmitOptions} [options]
   * @returns {Promise<SubmittedBatch>}
   */
  async submitBatch(request, options) {
    return this.#submitted("/api/batches", { ...options, body: request });
  }

  /**
   * Run the failed items of an ended batch again, or those of other statuses, in a new batch, whose `retry_of` is this.
   * @param {Batch | string} batch
   * @param {SubmitOptions & { status?: ("failed" | "incomplete" | "cancelled")[] | undefined }} [options]
   * @returns {Promise<Batch>}
   */
  async retryBatch(batch, options) {
    return this.#submitted(`${path("batches", batch)}/retry`, options);
  }

  /**
   * The batch as it stands now. Given a batch, it is that same object again when nothing has changed.
   * @param {Batch | string} batch
   * @param {CallOptions} [options]
   * @returns {Promise<Batch>}
   */
  async batch(batch, options) {
    return this.#latest("batches", batch, options);
  }

  /**
   * The batch as soon as it has ended, asked for after `Retry-After` each time. Each `onChange` is for something new.
   * @param {Batch | string} batch
   * @param {BatchWaitOptions} [options]
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
  async batchItems(batch, options) {
    return this.#one("GET", `${path("batches", batch)}/items`, options);
  }

  /**
   * All items of the batch, in order, page after page, as `runs`.
   * @param {Batch | string} batch
   * @param {CallOptions & ItemFilter & Page} [options]
   * @returns {AsyncGenerator<BatchItem, void, void>}
   */
  items(batch, options) {
    return entries((page) => this.batchItems(batch, page), options);
  }

  /** A page of your batches, newest first. @param {CallOptions & Page} [options] @returns {Promise<BatchList>} */
  async batches(options) {
    return this.#one("GET", "/api/batches", options);
  }

  /** @param {Batch | string} batch @param {CallOptions} [options] @returns {Promise<Batch>} being cancelled, or over */
  async cancelBatch(batch, options) {
    return this.#one("POST", `${path("batches", batch)}/cancel`, options);
  }

  /** With its runs. @param {Batch | string} batch @param {CallOptions} [options] @returns {Promise<void>} */
  async deleteBatch(batch, options) {
    await this.#transport.call("DELETE", path("batches", batch), options);
  }

  /** The log of a run's callbacks. @param {Run | string} run @param {CallOptions} [options] @returns {Promise<Deliveries>} */
  async deliveries(run, options) {
    return this.#one("GET", `${path("runs", run)}/deliveries`, options);
  }

  /** Send the callback of its end again. @param {Run | Batch | string} one @param {CallOptions} [options] @returns {Promise<void>} */
  async redeliver(one, options) {
    await this.#transport.call("POST", `${eitherPath(one)}/deliveries`, options);
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
    return this.#one("GET", "/api/agents", options);
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
    // What a submit has brought besides the run is nobody else's: what is known goes to other tabs.
    const start = typeof run !== "string" && this.#known.has(run) ? { ...run, token: undefined } : undefined;
    /** @type {import("./watch.js").Server} */
    const server = {
      id,
      name: `dormouse-client 1 ${this.#transport.options.url} ${id}`,
      events: (headers, signal) => this.#transport.call("GET", `${path("runs", id)}/events`, { headers, signal, retries: 0 }),
      read: (run, signal) => this.#latest("runs", run ?? id, { signal, retries: 0 }),
      retryAfter: (one) => this.#retryAfter(one),
    };
    const watch = new Watch(server, { run: start, text, id: after }, onConnection, share && canShare());
    this.#watches.add(watch);
    try {
      yield* watch.views(signal);
    } finally {
      this.#watches.delete(watch);
    }
  }

  /**
   * @template {Run | Batch} One
   * @param {"runs" | "batches"} kind
   * @param {One | string} one
   * @param {Until<One> & { hold: number }} options
   * @returns {Promise<One>}
   */
  async #waited(kind, one, { until, onChange, hold, signal }) {
    let seen = await this.#latest(kind, one, { signal });
    for (let [isNew, failures] = [true, 0]; ; ) {
      if (isNew) onChange?.(seen);
      if (until?.(seen) || isFinal(seen)) return seen;
      if (!hold) await sleep(this.#retryAfter(seen), signal);
      const begun = Date.now();
      try {
        const next = await this.#latest(kind, seen, { signal, retries: 0, wait: hold || undefined });
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

  /**
   * What is there now; the same object again when the server says that it has not changed.
   * @template {Run | Batch} One
   * @param {"runs" | "batches"} kind
   * @param {One | string} one
   * @param {RequestOptions} [options]
   * @returns {Promise<One>}
   */
  async #latest(kind, one, options) {
    const etag = this.#known.get(Object(one))?.etag;
    return this.#one("GET", path(kind, one), { ...options, headers: etag ? { "If-None-Match": etag } : {} }, one);
  }

  /**
   * What the answer holds; what its headers said is remembered. `before`: what 304 is about.
   * @param {string} method
   * @param {string} where
   * @param {RequestOptions} [options]
   * @param {any} [before]
   * @returns {Promise<any>}
   */
  async #one(method, where, options, before) {
    const reply = await this.#transport.call(method, where, options);
    const one = reply.status === 304 ? before : await content(reply, options?.signal);
    const etag = reply.headers.get("ETag") ?? this.#known.get(one)?.etag;
    this.#known.set(one, { etag, retryAfter: seconds(reply) });
    return one;
  }

  /** On plain http there is no `crypto.randomUUID`. @param {string} where @param {RequestOptions & SubmitOptions} [options] */
  #submitted(where, { key = crypto.getRandomValues(new Uint32Array(4)).join("-"), ...options } = {}) {
    return this.#one("POST", where, { ...options, headers: { "Idempotency-Key": key, ...options.headers } });
  }

  /**
   * The run after it was changed here: whoever watches it looks at once.
   * @param {string} where
   * @param {RequestOptions} [options]
   * @returns {Promise<Run>}
   */
  async #changed(where, options) {
    const run = await this.#one("POST", where, options);
    for (const each of this.#watches) each.look(run.id);
    return run;
  }

  /** @param {Run | Batch} one */
  #retryAfter(one) {
    return this.#known.get(one)?.retryAfter ?? Math.max(1, one.retry_after ?? 1); // a page may not see the header
  }
}

/** @param {{ id: string } | string} one */
const idOf = (one) => encodeURIComponent(typeof one === "string" ? one : one.id);

/** @typedef {"runs" | "batches" | "sessions" | "schedules"} Kind */

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
 * @template {Page} Options
 * @param {(options: Options) => Promise<{ data: Entry[], next_cursor?: string | undefined }>} page
 * @param {Options} [options] of the first page
 * @returns {AsyncGenerator<Entry, void, void>}
 */
async function* entries(page, options) {
  const next = /** @type {Options} */ ({ ...options });
  do {
    const { data, next_cursor } = await page(next);
    yield* data;
    next.cursor = next_cursor;
  } while (next.cursor);
}
