// @ts-check
/** @typedef {import("./contract.js").Run} Run */
/** @typedef {import("./contract.js").ToolCall} ToolCall */
/** @typedef {import("./contract.js").WholeText} WholeText */

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
 * What a viewer of a run gets. `run` has every tool call as it was last heard of, and the citations, hosted calls and
 * reasoning of the turn that is being made; `text` is the whole text so far. `stale`: the text does not grow for now.
 * `call` is the tool call that the event is about, `id` where to go on from. `connection`, as an event, means that the
 * connection is another; `wake` that the app was at work for the run: `run.wake_at` is when it will be next.
 * @typedef {object} View
 * @property {"state" | "status" | "snapshot" | "delta" | "annotation" | "hosted_call" | "reasoning" | "tool_started"
 *   | "tool_progress" | "tool_finished" | "stale" | "wake" | "end" | "connection"} event
 * @property {Run} run
 * @property {string} text
 * @property {boolean} stale
 * @property {Connection} connection
 * @property {ToolCall | undefined} [call]
 * @property {string | undefined} id
 */

/**
 * What a turn has brought so far, as a snapshot has it.
 * @typedef {Omit<WholeText, "continuation_token">} Turn
 */

/**
 * What a watch knows. `run` is what the app keeps of it; the rest is of the turn that is being made, up to `id`.
 * @typedef {Turn & { run: Run | undefined, stale: boolean, id: string | undefined, connection: Connection }} Known
 */

/**
 * What came: an event of the stream, or one of this client's own (`connection`; `sync`: all that another tab knows).
 * @typedef {{ event: string, data: any, id?: string | undefined }} Message
 */

/** A turn from here on. @param {{ [Field in keyof Turn]?: Turn[Field] | undefined }} given @returns {Turn} */
export const begun = ({ text = "", annotations = [], hosted_calls = [], reasoning = "" }) => ({ text, annotations, hosted_calls, reasoning });

/**
 * What is known once a message has come. Undefined: the message says nothing, or nothing that this client understands.
 * @param {Known} known
 * @param {Message} message
 * @returns {Known & { event: View["event"], call?: ToolCall } | undefined}
 */
export function after(known, { event, data, id = known.id }) {
  const { run } = known;
  /** @type {any} */
  const next = { ...known, id, event };
  switch (event) {
    case "state":
    case "status":
      return { ...next, run: data };
    case "end":
      return { ...next, ...begun({ text: data.text }), run: data, stale: false };
    case "snapshot":
      return { ...next, ...begun(data), stale: false };
    case "delta":
      return { ...next, text: known.text + data.text };
    case "reasoning":
      return { ...next, reasoning: known.reasoning + data.text };
    case "annotation":
      return { ...next, annotations: [...known.annotations, data.annotation] };
    case "hosted_call":
      return { ...next, hosted_calls: withCall(known.hosted_calls, data.hosted_call) };
    case "stale":
      return { ...next, stale: true };
    case "tool_started":
    case "tool_progress":
    case "tool_finished":
      return { ...next, call: data, run: run && { ...run, tool_calls: withCall(run.tool_calls, data), progress: data.progress ?? run.progress } };
    case "wake":
      return { ...next, run: run && { ...run, ...data } };
    case "connection":
      return { ...next, connection: data };
    case "sync":
      return JSON.stringify(data) === JSON.stringify(known) ? undefined : { ...data, event: "state" };
  }
  return undefined;
}

/**
 * How it is shown: the run with what its turn has brought so far. What the run has of that turn is all of it.
 * @param {Known & { run: Run }} known
 */
export function shown({ run, annotations, hosted_calls, reasoning, ...known }) {
  const turn = parseInt(known.id ?? "");
  /** @type {<One extends { turn: number }>(kept: One[], more: One[]) => One[]} */
  const all = (kept, more) => (kept.some((each) => each.turn === turn) ? kept : [...kept, ...more]);
  const whole = {
    ...run,
    annotations: run.annotations.length ? run.annotations : annotations,
    hosted_calls: all(run.hosted_calls, hosted_calls),
    reasoning: all(run.reasoning, reasoning ? [{ turn, text: reasoning }] : []),
  };
  return { ...known, run: whole };
}

/**
 * The calls with one as it is now, in its place.
 * @template {{ id: string, turn: number }} Call
 * @param {Call[]} calls
 * @param {Call} call
 */
function withCall(calls, call) {
  const same = (/** @type {Call} */ each) => each.id === call.id && each.turn === call.turn;
  return calls.some(same) ? calls.map((each) => (same(each) ? call : each)) : [...calls, call];
}
