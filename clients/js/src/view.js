// @ts-check
/** @typedef {import("./contract.js").Run} Run */
/** @typedef {import("./contract.js").ToolCall} ToolCall */

/**
 * How a watch hears of its run. `open`: by a stream, of its own or of another tab. `polling`: it asks now and then,
 * while nobody looks at the page or the run waits for a person. `lost`: it tries again in `retryIn` seconds, for as long
 * as it takes; `error` says why.
 * @typedef {object} Connection
 * @property {"connecting" | "open" | "polling" | "lost"} state
 * @property {{ code: string, message: string }} [error]
 * @property {number} [retryIn]
 */

/**
 * What a viewer of a run gets. `run` has every tool call as it was last heard of, `text` is the whole text so far.
 * `stale`: the text does not grow for now. `call` is the tool call that the event is about, `id` where to go on from.
 * `connection`, as an event, means that the connection is another; `wake` that the run was looked at.
 * @typedef {object} View
 * @property {"state" | "status" | "snapshot" | "delta" | "annotation" | "hosted_call" | "reasoning" | "tool_started"
 *   | "tool_progress" | "tool_finished" | "stale" | "wake" | "end" | "connection"} event
 * @property {Run} run
 * @property {string} text
 * @property {boolean} stale
 * @property {Connection} connection
 * @property {ToolCall} [call]
 * @property {string | undefined} id
 */

/**
 * What a watch knows: a view of which nothing has been said yet.
 * @typedef {object} Known
 * @property {Run | undefined} run
 * @property {string} text
 * @property {boolean} stale
 * @property {string | undefined} id
 * @property {Connection} connection
 */

/**
 * What came: an event of the stream, or one of this client's own (`connection`; `sync`: all that another tab knows).
 * @typedef {{ event: string, data: any, id?: string | undefined }} Message
 */

/**
 * What is known once a message has come. Undefined: the message says nothing, or nothing that this client understands.
 * @param {Known} known
 * @param {Message} message
 * @returns {Known & { event: View["event"], call?: ToolCall } | undefined}
 */
export function after({ run, text, stale, id: before, connection }, { event, data, id = before }) {
  const known = { run, text, stale, id, connection };
  switch (event) {
    case "state":
    case "status":
      return { ...known, event, run: data };
    case "end":
      return { ...known, event, run: data, text: data.text, stale: false };
    case "snapshot":
      return { ...known, event, text: data.text, stale: false };
    case "delta":
      return { ...known, event, text: text + data.text };
    case "annotation":
    case "hosted_call":
    case "reasoning":
      return { ...known, event };
    case "stale":
      return { ...known, event, stale: true };
    case "tool_started":
    case "tool_progress":
    case "tool_finished":
      return { ...known, event, call: data, run: run && withCall(run, data) };
    case "wake":
      return { ...known, event, run: run && withFields(run, data) };
    case "connection":
      return { ...known, event, connection: data };
    case "sync":
      return JSON.stringify(data) === JSON.stringify(known) ? undefined : { ...data, event: "state" };
  }
  return undefined;
}

/** The run with one call as it is now, in its place. @param {Run} run @param {ToolCall} call @returns {Run} */
function withCall(run, call) {
  const same = (/** @type {ToolCall} */ each) => each.id === call.id;
  const calls = run.tool_calls;
  const tool_calls = calls.some(same) ? calls.map((each) => (same(each) ? call : each)) : [...calls, call];
  return { ...run, tool_calls, progress: call.progress ?? run.progress };
}

/** The run with what a wake says of it: only fields that a run has. @param {Run} run @param {Record<string, unknown> | undefined} data */
function withFields(run, data) {
  return { ...run, ...Object.fromEntries(Object.entries(data ?? {}).filter(([name]) => name in run && name !== "id")) };
}
