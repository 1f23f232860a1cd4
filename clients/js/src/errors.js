// @ts-check
/** @typedef {import("./contract.js").Problem} Problem */

/**
 * What is known of an error beside its code.
 * @typedef {object} ErrorDetails
 * @property {number | undefined} [status]
 * @property {Partial<Problem> | undefined} [problem]
 * @property {number | undefined} [retryAfter]
 * @property {unknown} [cause]
 */

/** A refusal, or a failure on the way. Programs go by `code`, people read the message. */
export class DormouseError extends Error {
  /** A stable word: the server's own, or one of this client's (README). */
  code;
  /** The HTTP status; 0 when there was no answer. @type {number} */
  status = 0;
  /** The whole body of the refusal. @type {Partial<Problem> | undefined} */
  problem;
  /** Seconds, when the server said so. @type {number | undefined} */
  retryAfter;

  /** @param {string} code @param {string} message @param {ErrorDetails} [details] */
  constructor(code, message, { cause, ...details } = {}) {
    super(message, { cause });
    this.name = "DormouseError";
    this.code = code;
    Object.assign(this, details);
  }
}

/**
 * Whether the same request may do better later: it was not answered, or the answer is about the moment.
 * @param {unknown} error
 * @returns {error is DormouseError}
 */
export function isPassing(error) {
  if (!(error instanceof DormouseError)) return false;
  const { code, status } = error;
  if (status === 0) return code === "network_error" || code === "offline";
  return status >= 500 || [408, 425, 429].includes(status) || code === "unexpected_response";
}
