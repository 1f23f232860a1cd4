// @ts-check
import { DormouseError, isPassing } from "./errors.js";
import { backoff, sleep } from "./timing.js";

/**
 * @typedef {object} TransportOptions
 * @property {string} url without a slash at its end
 * @property {Record<string, string> | (() => Record<string, string> | Promise<Record<string, string>>)} headers
 * @property {string | (() => string | Promise<string>) | undefined} token
 * @property {string | undefined} onBehalfOf
 * @property {typeof globalThis.fetch} fetch
 * @property {number} retries
 */

/**
 * What a request is made of; any other option is a parameter of its address.
 * @typedef {object} RequestOptions
 * @property {unknown} [body]
 * @property {Record<string, string> | undefined} [headers]
 * @property {AbortSignal | undefined} [signal]
 * @property {number | undefined} [retries] in place of the client's
 * @property {number | undefined} [wait] how many seconds the server may wait
 */

const OPENED_BY_TOKENS = /^\/api\/(runs\/[^/]+(\/(events|answers|cancel))?|batches\/[^/]+)$/;

/** Sends requests: the caller's headers, tries again where that may help, and says what went wrong. */
export class Transport {
  /** @readonly */ options;
  /** Whether an answer could be read once. Then this origin is allowed, and a failure is the network's. */
  #reached = false;

  /** @param {TransportOptions} options */
  constructor(options) {
    this.options = options;
  }

  /**
   * One request, again and again where that may help; an answer that is good, or 304.
   * @param {string} method
   * @param {string} where
   * @param {RequestOptions} [more]
   * @returns {Promise<Response>}
   */
  async call(method, where, { body, headers, signal, retries = this.options.retries, ...parameters } = {}) {
    if (this.options.token !== undefined) {
      if (method === "DELETE" || !OPENED_BY_TOKENS.test(where)) {
        throw new DormouseError("not_with_a_token", "A run token does not open this. Ask your server for it.");
      }
      where = where.replace("/api", "/api/shared");
    }
    for (let failures = 0; ; ) {
      const json = body === undefined ? {} : { "Content-Type": "application/json" };
      const all = { ...(await this.#own()), ...json, ...headers };
      const init = { method, headers: all, signal: signal ?? null, body: body ? JSON.stringify(body) : null };
      /** @type {DormouseError} */
      let error;
      try {
        const reply = await this.options.fetch(this.options.url + where + query(parameters), init);
        this.#reached = true;
        if (reply.ok || reply.status === 304) return reply;
        if (method === "DELETE" && reply.status === 404 && failures) return reply; // gone by the try before
        error = await refusal(reply);
      } catch (cause) {
        signal?.throwIfAborted();
        error = await this.#explained(cause, signal);
      }
      if (failures++ >= retries || !isPassing(error)) throw error;
      await sleep(error.retryAfter ?? backoff(failures), signal);
    }
  }

  /** @returns {Promise<Record<string, string>>} */
  async #own() {
    const { headers, token, onBehalfOf } = this.options;
    return {
      ...(await valueOf(headers)),
      ...(onBehalfOf === undefined ? {} : { "Dormouse-On-Behalf-Of": onBehalfOf }),
      ...(token === undefined ? {} : { Authorization: `Bearer ${await valueOf(token)}` }),
    };
  }

  /**
   * Why there was no answer. A browser tells a page only that there was none, also when the server did answer and does
   * not name the page's origin. But it lets a page know whether *some* answer came, to a request that reads nothing.
   * @param {unknown} cause
   * @param {AbortSignal} [signal]
   * @returns {Promise<DormouseError>}
   */
  async #explained(cause, signal) {
    if (globalThis.navigator?.onLine === false) {
      return new DormouseError("offline", "This device is offline.", { cause });
    }
    const { url } = this.options;
    const origin = globalThis.document && globalThis.location.origin;
    const [server] = /^https?:..[^/]+/.exec(url.toLowerCase()) ?? [];
    if (origin && server && server !== origin && !this.#reached) {
      /** @type {RequestInit} */
      const blind = { mode: "no-cors", cache: "no-store", signal: signal ?? null };
      const answer = await this.options.fetch(`${url}/api/health`, blind).catch(() => undefined);
      signal?.throwIfAborted();
      if (answer) {
        const message =
          `${server} answers, but pages of ${origin} may not read it: allow them there ` +
          "(DORMOUSE_ALLOWED_ORIGINS for run tokens, else CORS). A gateway's error looks the same.";
        return new DormouseError("origin_not_allowed", message, { cause });
      }
    }
    return new DormouseError("network_error", "No answer: the server or the network is down.", { cause });
  }
}

/** What was given, or what the function that was given says now. @template Value @param {Value | (() => Value | Promise<Value>)} given */
const valueOf = (given) => (given instanceof Function ? given() : given);

/** Of several values: with commas in between. @param {Record<string, unknown>} parameters */
function query(parameters) {
  const given = Object.entries(parameters).filter(([, value]) => `${value ?? ""}`);
  const text = new URLSearchParams(/** @type {any} */ (given)).toString();
  return text && `?${text}`;
}

/** @param {Response} reply @returns {Promise<DormouseError>} */
async function refusal(reply) {
  /** @type {Partial<import("./errors.js").Problem>} */
  const problem = (await reply.json().catch(() => null)) ?? {};
  const code = problem.code ?? `http_${reply.status}`;
  const message = problem.detail ?? `The server answered ${reply.status}.`;
  return new DormouseError(code, message, { status: reply.status, problem, retryAfter: seconds(reply) });
}

/** @param {Response} reply @returns {number | undefined} what `Retry-After` says */
export function seconds(reply) {
  const given = parseInt(reply.headers.get("Retry-After") ?? "");
  return given >= 0 ? given : undefined;
}

/** The error of an answer that cannot be one of Dormouse's. @param {Response} reply @param {unknown} [cause] */
export function unexpected(reply, cause) {
  const message = "The answer is not Dormouse's: a proxy's?";
  return new DormouseError("unexpected_response", message, { status: reply.status, cause });
}

/** @param {Response} reply @param {AbortSignal} [signal] @returns {Promise<any>} the object in the answer */
export async function content(reply, signal) {
  const read = await reply.json().catch((cause) => {
    signal?.throwIfAborted();
    throw unexpected(reply, cause);
  });
  if (Object(read) !== read) throw unexpected(reply);
  return read;
}
