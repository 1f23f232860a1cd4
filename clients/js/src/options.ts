// What the client's methods take besides what they are about.
import type { Batch, ItemStatus, Run, RunStatus } from "./contract.js";
import type { Connection } from "./view.js";

/** How to call the app. */
export interface ClientOptions {
  /** Where the app is, without `/api`; a page on the app's own site needs none. */
  url?: string | undefined;
  /**
   * A run token, or a function that gets one that is still good: this client then reads, watches, answers and cancels
   * that run, or reads that batch, and nothing else.
   */
  token?: string | (() => string | Promise<string>) | undefined;
  /** Whose calls these are, from a server that signs its own people in: 1 to 128 of `A-Za-z0-9._~@-`. */
  onBehalfOf?: string | undefined;
  /** Sent with every request, or a function that makes them. */
  headers?: Record<string, string> | (() => Record<string, string> | Promise<Record<string, string>>) | undefined;
  /** In place of the platform's. */
  fetch?: typeof globalThis.fetch | undefined;
  /** How often a request that failed is tried again, 4 unless given. */
  retries?: number | undefined;
}

/** Options of every call. */
export interface CallOptions {
  /** Ends the call. */
  signal?: AbortSignal | undefined;
}

/** Options of what is submitted. */
export interface SubmitOptions extends CallOptions {
  /** The `Idempotency-Key`, a fresh one unless given: the same again gives what it gave before. */
  key?: string | undefined;
}

/** Which page of a list. */
export interface Page {
  /** How many entries at most. */
  limit?: number | undefined;
  /** The `next_cursor` of the page before. */
  cursor?: string | undefined;
}

/** Which runs of a list. */
export interface RunFilter {
  status?: RunStatus[] | undefined;
  agent?: string | undefined;
}

/** Which items of a batch. */
export interface ItemFilter {
  status?: ItemStatus[] | undefined;
}

/** How to wait for a run or a batch. */
export interface Until<One> extends CallOptions {
  /** Until when: its end unless given. */
  until?: ((one: One) => unknown) | undefined;
  /** Called with what is new. */
  onChange?: ((one: One) => void) | undefined;
}

/** How to wait for a run. */
export interface WaitOptions extends Until<Run> {
  /** For how many seconds the server may keep a request open, 30 unless given: 0 asks after `Retry-After` instead. */
  hold?: number | undefined;
}

/** How to wait for a batch. */
export interface BatchWaitOptions extends Until<Batch> {}

/** How to watch a run. To go on after a reload give `after` and `text`. */
export interface WatchOptions extends CallOptions {
  /** The `id` of the last view. */
  after?: string | undefined;
  /** The `text` of that view. */
  text?: string | undefined;
  /** Called at each change of the connection, also before the run is known. */
  onConnection?: ((connection: Connection) => void) | undefined;
  /** One stream for all tabs that watch the run; where browsers can, unless false. */
  share?: boolean | undefined;
}
