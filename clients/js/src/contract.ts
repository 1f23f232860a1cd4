// The bodies of the contract. Written by `python -m local.openapi` from shared/api/openapi.json's sources.

/** A citation, or another mark on the text, as it comes. */
export interface AddedAnnotation {
  /** The one that is added. */
  annotation: Annotation;
  /** The event's id. */
  continuation_token: string;
}

/** An agent that this app serves. */
export interface Agent {
  /** What a request calls it. */
  name: string;
  /** What this is: always `agent`. */
  object: "agent";
  /** What it is for. */
  description: string;
  /** The tools of this app that it may call. */
  tools: Array<ToolOfAgent>;
  /** Whether the model thinks while nothing runs here. */
  background: boolean;
  /** What a caller may choose as `model`. */
  models: Array<string>;
  /** The JSON schema of a run's `output`. */
  output: Record<string, unknown> | null;
  /** Whether it answers when a run names no agent. */
  default: boolean;
}

/** The agents of this app. */
export interface AgentList {
  /** The agents; the default one first. */
  data: Array<Agent>;
}

/** A citation, or another mark that the provider has put on the text. What does not apply is null. */
export interface Annotation {
  /** The provider's word: `url_citation`, `file_citation`, `container_file_citation`; more may come. */
  type: string;
  /** The address that is cited. */
  url: string | null;
  /** The title of what is there. */
  title: string | null;
  /** The provider's id of the file that is cited. */
  file_id: string | null;
  /** That file's name. */
  filename: string | null;
  /** The provider's id of the container that the file is in. */
  container_id: string | null;
  /** Where in the text it begins, counted in Unicode characters, as the provider does; null where that is unknown. */
  start_index: number | null;
  /** The first character after it; of a mark at one point the same as `start_index`. */
  end_index: number | null;
}

/** One person's word on one call. */
export interface AnswerBody {
  /** Whether the call may be made. */
  approve: boolean;
  /** Why, for the model, which reads the reason of a refusal. */
  reason?: string | undefined;
}

/** The body of `POST /api/runs/{id}/answers`. */
export interface AnswersBody {
  /** By the `id` of each call in `required_action`. */
  answers: Record<string, AnswerBody>;
}

/** Many inputs, each of which becomes a run. */
export interface Batch {
  /** The batch's id. */
  id: string;
  /** What this is: always `batch`. */
  object: "batch";
  /** The batch's own address. */
  url: string;
  /** Where its items are read, in pages. */
  items_url: string;
  /** `completed` and `cancelled` are final and never change. */
  status: BatchStatus;
  /** How many items stand where. */
  counts: BatchCounts;
  /** The agent of items that name none; null for the app's default. */
  agent: string | null;
  /** The model of items that name none; null for the agent's own. */
  model: string | null;
  /** How many items are active at once at most. */
  concurrency: number;
  /** What its caller noted on it at submit; its runs have it too. */
  metadata: Record<string, string>;
  /** Where its end is reported; null when nowhere. */
  callback_url: string | null;
  /** What became of the callback of its end; null before there is one. */
  callback_status: "pending" | "delivered" | "given_up" | "disabled" | null;
  /** How many there were, redeliveries included. */
  callback_attempts: number;
  /** The last one; a batch keeps no log of the others. */
  callback_last: LastDelivery | null;
  /** When it was submitted. */
  created_at: string;
  /** When it last changed. */
  updated_at: string;
  /** When its last item ended; null before. */
  completed_at: string | null;
  /** Seconds between its last look and its next; null at the end. */
  retry_after: number | null;
  /** The batch whose items it runs again; null when its items are new. That batch may be deleted since. */
  retry_of: string | null;
}

/** Many inputs. An item that does not fit fails alone; the others run. */
export interface BatchBody {
  /** The agent's name (`GET /api/agents`); the app's default when nobody says another. */
  agent?: string | null | undefined;
  /** One of the `models` of the agent; its own when left out. */
  model?: string | null | undefined;
  /** Up to 16 notes of your own, which are kept with the run; those of the batch and of an item are put together. */
  metadata?: Record<string, string> | undefined;
  /** Seconds after which a run fails if it has not ended; the app's default when left out. */
  deadline_seconds?: number | null | undefined;
  /** What each run may use up. */
  limits?: LimitsBody | undefined;
  /** How many items may be active at once; as many as the app allows when left out. */
  concurrency?: number | null | undefined;
  /** An address of yours that gets a callback when the batch ends. */
  callback_url?: string | null | undefined;
  /** A run token for the batch, which the answer then holds. */
  token?: BatchTokenBody | null | undefined;
  /** The inputs, in the order in which they are begun. */
  items: Array<ItemBody>;
}

/** How many items of a batch stand where. */
export interface BatchCounts {
  /** All of them. */
  total: number;
  /** Not begun yet. */
  pending: number;
  /** At work, or waiting for a person. */
  active: number;
  /** Ended with a result. */
  completed: number;
  /** Cut short, with part of a text. */
  incomplete: number;
  /** Failed, or refused because the item does not fit. */
  failed: number;
  /** Cancelled, here or at the provider. */
  cancelled: number;
}

/** One input of a batch, and what became of it. */
export interface BatchItem {
  /** The caller's own. */
  id: string | null;
  /** What this is: always `batch.item`. */
  object: "batch.item";
  /** Its place in the batch; the first is 0. */
  index: number;
  /** Where it stands. An ended one has the word of its run. */
  status: ItemStatus;
  /** The id of its run; null before it is begun, when it was refused, and when the run was deleted. */
  run_id: string | null;
  /** The address of its run; null without one. */
  run_url: string | null;
  /** The status of its run; null without one. */
  run_status: RunStatus | null;
  /** The text of its run; empty until there is one. */
  text: string;
  /** The result as an object, for agents that promise one; else null. */
  output: unknown;
  /** Why it failed; null unless its status is `failed`. */
  error: RunError | null;
  /** Why it was cut short; null unless its status is `incomplete`. */
  incomplete_details: IncompleteDetails | null;
  /** When it ended; null before. */
  completed_at: string | null;
  /** Its `index` in the batch that is retried; null where it is new. */
  retry_of_index: number | null;
}

/** A page of a batch's items, in order. */
export interface BatchItemList {
  /** The items. */
  data: Array<BatchItem>;
  /** Only there when there is a next page. */
  next_cursor?: string | undefined;
}

/** A page of the caller's batches, newest first. */
export interface BatchList {
  /** The batches, without what changes often. */
  data: Array<BatchSummary>;
  /** Only there when there is a next page. */
  next_cursor?: string | undefined;
}

/** A batch's status, as callers see it. `completed` and `cancelled` never change. */
export type BatchStatus = "queued" | "in_progress" | "cancelling" | "completed" | "cancelled";

/** A batch in a list, as of its last change of status. What changes more often is at its own address. */
export interface BatchSummary {
  /** The batch's id. */
  id: string;
  /** What this is: always `batch`. */
  object: "batch";
  /** The batch's own address. */
  url: string;
  /** Where its items are read, in pages. */
  items_url: string;
  /** `completed` and `cancelled` are final and never change. */
  status: BatchStatus;
  /** How many items it has. */
  total: number;
  /** How many items ended how; null until all have, for until then it changes with each: the batch itself has it. */
  counts: BatchCounts | null;
  /** The agent of items that name none; null for the app's default. */
  agent: string | null;
  /** The model of items that name none; null for the agent's own. */
  model: string | null;
  /** How many items are active at once at most. */
  concurrency: number;
  /** What its caller noted on it at submit; its runs have it too. */
  metadata: Record<string, string>;
  /** The batch whose items it runs again; null when its items are new. That batch may be deleted since. */
  retry_of: string | null;
  /** When it was submitted. */
  created_at: string;
  /** When its last item ended; null before. */
  completed_at: string | null;
  /** From submit to the end; null before. */
  elapsed_seconds: number | null;
}

/** A token for one batch. Of a batch there is nothing else to be shared than how it stands. */
export interface BatchTokenBody {
  /** What it allows: to see how the batch stands. */
  rights: Array<"read">;
  /** How long it holds. Default: `3600`. */
  seconds?: number | undefined;
  /** A name for whoever gets it. */
  label?: string | null | undefined;
}

/** What went wrong with a call, as the model reads it. */
export interface CallError {
  /** A stable word for programs. */
  code: string;
  /** A sentence. */
  message: string;
}

/** Where one tool call stands. */
export type CallState = "waiting" | "open" | "started" | "finished" | "handed_over";

/** What was tried. */
export interface Checks {
  /** Table Storage. */
  storage: StorageCheck;
  /** The model provider. */
  provider: ProviderCheck;
  /** The app's settings. */
  settings: SettingsCheck;
}

/** Whether the app is well: storage, provider and settings, each tried now. */
export interface DeepHealth {
  /** `unwell` when storage or provider is. */
  status: "ok" | "unwell";
  /** What wakes the runs. */
  driver: "durable" | "timer";
  /** What was tried, and what came of it. */
  checks: Checks;
}

/** The log of a run's callbacks. */
export interface Deliveries {
  /** Where the run's end and its questions are reported; null when nowhere. */
  callback_url: string | null;
  /** What became of the last callback; null while none is due or was sent. */
  callback_status: "pending" | "delivered" | "given_up" | "disabled" | null;
  /** When the next attempt is due; null when none is. */
  next_attempt_at: string | null;
  /** The latest attempts, newest first. */
  data: Array<Delivery>;
}

/** One attempt to tell the caller's address. */
export interface Delivery {
  /** The message's id, the same in all attempts at it (the header `webhook-id`). */
  webhook_id: string;
  /** What is reported, such as `run.completed`. */
  type: string;
  /** Its number among the attempts at this message; the first is 1. */
  attempt: number;
  /** `sending`: under way, or cut off by a crash. */
  state: "sending" | "delivered" | "failed";
  /** When it was sent. */
  sent_at: string;
  /** What the receiver answered; null when no answer came. */
  http_status: number | null;
  /** A word for why there is no HTTP status. */
  error: string | null;
  /** How long the answer took; null without one. */
  seconds: number | null;
  /** When it was to be tried again; null when it was not. */
  next_attempt_at: string | null;
}

/** Whether the app begins anything, and what is still at work. */
export interface Drain {
  /** Whether an operator wants nothing to begin. */
  draining: boolean;
  /** When this was last changed; null when it never was. */
  since: string | null;
  /** Whether nothing is at work any more: some seconds after the last claim or lease, when every instance obeys. */
  drained: boolean;
  /** How many runs have a claim or a lease that has not run out: a request that starts a response, or tools. */
  at_work: number;
  /** These runs, up to 100. */
  runs: Array<string>;
  /** How many were looked at for that, 1,000 at most. */
  looked_at: number;
  /** Whether these were all there are; `drained` is never true otherwise. */
  complete: boolean;
}

/** Whether the app begins anything. */
export interface DrainBody {
  /** True: what is under way ends, and nothing else begins. False: all goes on. */
  draining: boolean;
}

/** A place that has, or may have, something of an owner. */
export interface Elsewhere {
  /** A word for it: `tombstones`, `provider`, `task_hub`, `callbacks`, `logs`, `backups`. More may come. */
  where: string;
  /** What is there, for how long, and what to do about it. */
  what: string;
}

/** A session, run, batch or schedule that could not be erased. */
export interface EraseFailure {
  /** Its id. */
  id: string;
  /** `encryption_key_unavailable`; `row_unreadable`; `agents_own`, of a schedule that stands in the code; or `busy`: erase again. */
  reason: string;
}

/** What was erased now, by this call. */
export interface ErasedCounts {
  /** Conversations. */
  sessions: number;
  /** Runs of these. */
  runs: number;
  /** Batches. */
  batches: number;
  /** Schedules. */
  schedules: number;
  /** What was kept of `Idempotency-Key`s, and of requests that a client repeats by itself. */
  keys: number;
}

/** What was erased of an owner, and what remains. */
export interface Erasure {
  /** What was erased now. */
  erased: ErasedCounts;
  /** What is still there. */
  remaining: RemainingCounts;
  /** What could not be erased. */
  failed: Array<EraseFailure>;
  /** The `cursor` of the next call; not there once all is done. */
  next_cursor?: string | undefined;
  /** At the end: where else something of the owner remains. */
  elsewhere?: Array<Elsewhere> | undefined;
}

/** A page of what is stored of an owner. */
export interface Export {
  /** The pieces, those of one session or batch one after the other. There may be none, and a next page. */
  data: Array<Exported>;
  /** The `cursor` of the next page; not there on the last. */
  next_cursor?: string | undefined;
  /** On the last page: where else something of the owner is. */
  elsewhere?: Array<Elsewhere> | undefined;
}

/** One piece of what is stored of an owner. `kind` says which of the other fields are there. */
export interface Exported {
  /** What it is. Take other words too: more may come. */
  kind: "session" | "run" | "tool_call" | "text" | "items" | "batch" | "batch_item" | "schedule" | "repeated_request" | "active_place" | "being_deleted" | "unreadable";
  /** The session or batch that it belongs to; null where it belongs to none. */
  within: string | null;
  /** Of the session, run, batch or schedule; of all that belongs to a run, the run's. Null where there is none. */
  id: string | null;
  /** `session`. */
  session?: OwnedSession | undefined;
  /** `run`: as `GET /api/runs/{id}` shows it. */
  run?: Run | undefined;
  /** `run`: options of the model that its caller set; null without any. */
  options?: unknown | undefined;
  /** `run`: what happened. */
  timeline?: Array<TimelineEntry> | undefined;
  /** `run`: the latest attempts at its callbacks, newest first. */
  deliveries?: Array<Delivery> | undefined;
  /** `run`: ids of the responses that the model provider has of it. */
  provider_responses?: Array<string> | undefined;
  /** `run`: what is kept of its `Idempotency-Key`; null without one, and after its time. */
  request_key?: RequestKey | null | undefined;
  /** `tool_call`: with all of its arguments and its result. */
  tool_call?: WholeToolCall | undefined;
  /** `tool_call`: what a person was told who was to approve it; null where nobody was. */
  why?: string | null | undefined;
  /** `text`: which of the run's, `instructions`, `tools` (functions of its caller), `outputs` (of tools, which it goes on from) or `history` (what was said before it, where it begins a branch). */
  name?: string | undefined;
  /** `text`, `items`: its place among several. */
  index?: number | undefined;
  /** `text`: in full. All but `instructions` are JSON. */
  text?: string | undefined;
  /** `items`: what was appended to the conversation at one time, in the shape of the Responses API; the first are the input. Where that is much it is in several pieces with the same `index`, in their order. */
  items?: Array<Record<string, unknown>> | undefined;
  /** `batch`: as `GET /api/batches/{id}` shows it. */
  batch?: Batch | undefined;
  /** `batch_item`: as `GET /api/batches/{id}/items` shows it. */
  item?: BatchItem | undefined;
  /** `schedule`: as `GET /api/schedules/{id}` shows it. */
  schedule?: Schedule | undefined;
  /** `batch_item`, `schedule`: what it asks for; null for an item that was refused. */
  asked?: unknown | undefined;
  /** `repeated_request` (of an OpenAI client that repeats by itself), `active_place` (in the limit of active runs). */
  created_at?: string | undefined;
  /** `being_deleted`: since when. Nobody reads it any more, and the app is removing it. */
  deleted_at?: string | undefined;
  /** `unreadable`: why. `encryption_key_unavailable`, `row_unreadable` or `parts_missing`. */
  reason?: string | undefined;
}

/** What is wrong with one field. */
export interface FieldProblem {
  /** Where in the body, with dots. */
  field: string;
  /** What is wrong there. */
  problem: string;
}

/** A file in a message, by its URL. */
export interface FilePart {
  /** What this part is. */
  type: "input_file";
  /** Where the provider fetches the file. */
  file_url: string;
}

/** Whether the app is alive. */
export interface Health {
  /** Always `ok`: another answer has another status code. */
  status: "ok";
}

/** What one of the provider's own tools (web search, code interpreter, an MCP server's, …) did. */
export interface HostedCall {
  /** The provider's. Together with `turn` it names this call. */
  id: string;
  /** The provider's word: `web_search_call`, `code_interpreter_call`, `mcp_call`; more may come. */
  type: string;
  /** The provider's word: `in_progress`, `completed`, `failed`; more may come. */
  status: string;
  /** What it was about, in at most 200 characters: the query, the first line of the code, the tool and its input. */
  summary: string;
  /** Why it failed. */
  error: string | null;
  /** The turn that it belongs to; the first is 1. */
  turn: number;
}

/** An image in a message, by its URL. */
export interface ImagePart {
  /** What this part is. */
  type: "input_image";
  /** Where the provider fetches the image. */
  image_url: string;
  /** How closely the model looks at it. Default: `"auto"`. */
  detail?: "low" | "high" | "auto" | undefined;
}

/** Why a run was cut short. */
export interface IncompleteDetails {
  /** The provider's word for it, such as `max_output_tokens` or `content_filter`. */
  reason: string;
}

/** A message as it was sent to the model. */
export interface InputMessage {
  /** Who says it: `user`. */
  role: string;
  /** Text, or the parts that the caller sent. */
  content: string | Array<Record<string, unknown>> | null;
}

/** Whether new runs and batches are taken. */
export interface Intake {
  /** Whether an operator has paused it. */
  paused: boolean;
  /** Why, as callers read it; null when nothing was said. */
  reason: string | null;
  /** After how many seconds callers are to try again. */
  retry_after_seconds: number;
  /** When this was last changed; null when it never was. */
  since: string | null;
  /** Whether the app drains: then nothing is taken either. */
  draining: boolean;
}

/** Whether new runs and batches are taken. */
export interface IntakeBody {
  /** True: every new run and batch is 503 `intake_paused`. False: they are taken again. */
  paused: boolean;
  /** Why, on one line: callers read it. */
  reason?: string | null | undefined;
  /** After how many seconds callers are to try again. Default: `60`. */
  retry_after_seconds?: number | undefined;
}

/** One of the `items`; `id` is the caller's own. */
export interface ItemBody {
  /** The agent's name (`GET /api/agents`); the app's default when nobody says another. */
  agent?: string | null | undefined;
  /** One of the `models` of the agent; its own when left out. */
  model?: string | null | undefined;
  /** Up to 16 notes of your own, which are kept with the run; those of the batch and of an item are put together. */
  metadata?: Record<string, string> | undefined;
  /** Seconds after which a run fails if it has not ended; the app's default when left out. */
  deadline_seconds?: number | null | undefined;
  /** What each run may use up. */
  limits?: LimitsBody | undefined;
  /** A name of your own for it, which its result has too. */
  id?: string | null | undefined;
  /** What the agent is to answer: a text, or messages with text, images and files. */
  input: string | Array<MessageBody>;
}

/** Where an item stands. An ended one has the word of its run. */
export type ItemStatus = "pending" | "active" | "completed" | "incomplete" | "failed" | "cancelled";

/** What the last attempt to tell of a batch met. Neither a status nor an error: it is under way, or was cut off. */
export interface LastDelivery {
  /** When it was sent. */
  sent_at: string;
  /** What the receiver answered; null when no answer came. */
  http_status: number | null;
  /** A word for why there is no HTTP status. */
  error: string | null;
  /** When it is tried again; null when it is not. */
  next_attempt_at: string | null;
}

/** What became of the time that came last. */
export interface LastOccurrence {
  /** The time that the schedule names. */
  at: string;
  /** The run that it became; null when it was refused. */
  run_id: string | null;
  /** That run's own address. */
  url: string | null;
  /** Why it was refused, the last time that it was tried; null when it was not. */
  error: RunError | null;
}

/** What the run may use up. Each at most the app's own limit. */
export interface LimitsBody {
  /** Model responses, at most. */
  turns?: number | null | undefined;
  /** Calls of tools, at most. */
  tool_calls?: number | null | undefined;
  /** Tokens of input and output together: once they are used, no further turn begins, and the run fails. */
  total_tokens?: number | null | undefined;
}

/** What was said in a run: text, or the parts that the caller sent. */
export interface Message {
  /** The run in which it was said. */
  run_id: string;
  /** Who said it: `user` or `assistant`. */
  role: string;
  /** A text, or the parts that the caller sent; null when there is nothing to show. */
  content: string | Array<Record<string, unknown>> | null;
}

/** A message of the caller, in the shape of the Responses API. */
export interface MessageBody {
  /** What this item is. Default: `"message"`. */
  type?: "message" | undefined;
  /** Whose message it is: the caller's. Default: `"user"`. */
  role?: "user" | undefined;
  /** A text, or parts: text, images, files. */
  content: string | Array<TextPart | ImagePart | FilePart>;
}

/** A setting is malformed, the agents cannot be built, or old rows are in the tables; the sentence says which. */
export interface Misconfigured {
  /** Always `misconfigured`. */
  status: "misconfigured";
  /** Which setting, and what is wrong with it. */
  detail: string;
}

/** A call of one of the provider's own tools that has begun or ended, as it now is. */
export interface MovedHostedCall {
  /** The call: one of the same `id` and `turn` takes the place of the one before. */
  hosted_call: HostedCall;
  /** The event's id. */
  continuation_token: string;
}

/** An error as OpenAI's clients know it. */
export interface OpenAIError {
  /** What went wrong. */
  error: OpenAIProblem;
}

/** What went wrong, and what to do next. */
export interface OpenAIProblem {
  /** A sentence for people that says what to do. */
  message: string;
  /** The kind of error, as OpenAI has it. */
  type: "invalid_request_error" | "rate_limit_error" | "server_error";
  /** A stable word for programs. */
  code: string;
  /** The parameter that is wrong; null when none is, or several are. */
  param: string | null;
}

/** A conversation; its runs are entries of their own. */
export interface OwnedSession {
  /** The session's id. */
  id: string;
  /** The agent that it is with. */
  agent: string;
  /** The run that is active; null when none is. */
  active_run: string | null;
  /** When its first run was submitted. */
  created_at: string;
  /** When a run of it last began or ended. */
  last_activity: string;
}

/** Whose data, and where to go on. */
export interface OwnerBody {
  /** `user:…`, `principal:…`, `key:…`, or `function` for all callers with a function key. */
  owner: string;
  /** `next_cursor` of the answer before; without it from the beginning. */
  cursor?: string | null | undefined;
}

/** More text of a run that is watched: it goes to the end of what was shown. */
export interface Piece {
  /** The text so far (`snapshot`), or what comes after it (`delta`). */
  text: string;
  /** The event's id. */
  continuation_token: string;
}

/** Where a watch stands. */
export interface Position {
  /** The event's id. */
  continuation_token: string;
}

/** An error (RFC 9457). Some have fields of their own besides, such as `active_run` or `limit`. */
export interface Problem {
  /** The code as a URN. */
  type: string;
  /** The code in words. */
  title: string;
  /** The HTTP status. */
  status: number;
  /** A stable word for programs. */
  code: string;
  /** A sentence for people that says what to do. */
  detail: string;
  /** Which fields of the request do not fit. */
  errors?: Array<FieldProblem> | undefined;
}

/** What a tool last said about its progress. */
export interface Progress {
  /** The provider's id of the call that reports. */
  call_id: string;
  /** The tool's name. */
  name: string;
  /** What the tool says, in its own words. */
  message: string;
  /** How much is done, from 0 to 1; null when the tool does not say. */
  fraction: number | null;
  /** When the tool said so. */
  at: string;
}

/** Whether the model provider answers. */
export interface ProviderCheck {
  /** `unwell` when it does not answer in time, or refuses. */
  status: "ok" | "unwell";
  /** What is wrong; not there when nothing is. */
  detail?: string | undefined;
}

/** A call that waits for a person. */
export interface Question {
  /** What an answer names: this call of this turn, with these arguments. */
  id: string;
  /** The provider's own id of the call, which it may use again. */
  call_id: string;
  /** The tool's name. */
  name: string;
  /** The JSON text that the model wrote. */
  arguments: string;
  /** Why approval is asked. */
  reason: string | null;
}

/** What the model says of its reasoning in one turn: the provider's summaries. */
export interface Reasoning {
  /** The turn that it belongs to; the first is 1. */
  turn: number;
  /** The summaries; an empty line ends each paragraph. */
  text: string;
}

/** What is still there, as far as this call has counted. Only the last calls count: add up all answers. */
export interface RemainingCounts {
  /** Rows of deleted sessions, runs and batches without any text, which the app removes after 48 hours. */
  tombstones: number;
  /** Responses that the model provider may still have: the app deletes them, and tries that for 30 days. */
  provider_copies: number;
}

/** What is kept of an `Idempotency-Key`, for 24 hours. */
export interface RequestKey {
  /** Of key and owner. */
  sha256: string;
  /** Of the request. */
  request_sha256: string;
  /** When it was first sent. */
  created_at: string;
}

/** What a person must decide before the run goes on. */
export interface RequiredAction {
  /** What is to be decided: whether calls may be made. */
  type: "approve";
  /** The calls that wait for an answer. */
  calls: Array<Question>;
}

/** One request to an agent, from submit to a final status. */
export interface Run {
  /** The run's id: its session's, and its number in that session. */
  id: string;
  /** What this is: always `run`. */
  object: "run";
  /** The run's own address. */
  url: string;
  /** The last four are final and never change. */
  status: RunStatus;
  /** The caller's, else the first line of the input. One line. */
  title: string;
  /** The first 200 characters of the input's text; the whole is at `/input`. */
  input_preview: string;
  /** The name of the agent that answers. */
  agent: string;
  /** The model that was asked for, else the agent's own; null where that is not known. */
  model: string | null;
  /** Whether its text can be watched while it is made. */
  stream: boolean;
  /** The conversation that it belongs to. */
  session_id: string;
  /** The batch that it is an item of; null for a run of its own. */
  batch_id: string | null;
  /** Why it failed; null unless its status is `failed`. */
  error: RunError | null;
  /** Why it was cut short; null unless its status is `incomplete`. */
  incomplete_details: IncompleteDetails | null;
  /** Tokens of all its turns so far; in a list, up to the last change of status. */
  usage: Usage;
  /** What its caller noted on it at submit. */
  metadata: Record<string, string>;
  /** When it was submitted. */
  created_at: string;
  /** When it was to start, as its submit asked; null when at once. */
  start_at: string | null;
  /** When it ended; null before. */
  completed_at: string | null;
  /** From submit to the end, of a run with `start_at` from its start; null before. */
  elapsed_seconds: number | null;
  /** The provider's last status or error code, for people; null before there is one. */
  provider_status: string | null;
  /** The turn that it is in, or ended in; the first is 1. */
  turn: number;
  /** How often the app was at work for it. */
  wakes: number;
  /** How long the app was at work for it: from the start of each execution to its last write. While the model thinks nothing runs, so this is far less than the time that has passed. */
  active_seconds: number;
  /** Where its end and its questions are reported; null when nowhere. */
  callback_url: string | null;
  /** What became of the last callback; null while none is due or was sent. */
  callback_status: "pending" | "delivered" | "given_up" | "disabled" | null;
  /** When something last changed that a caller sees. */
  updated_at: string;
  /** When it fails unless it has ended; null before it starts, and while it waits for a person, when this time stands still. */
  deadline_at: string | null;
  /** Until when a person can answer; null unless it waits for one. */
  answer_by: string | null;
  /** What it waits for: `start` (it was submitted for later), `provider`, `tools`, `person`, `retry` (something that passes went wrong) or `nothing`. Take other words too: more may come. */
  waiting_for: string;
  /** The same, in a sentence for people. */
  waiting_text: string;
  /** When the app looks or tries next by itself; null while tools run, while a person is to answer, and at the end. */
  wake_at: string | null;
  /** Seconds between its last look and its next; null at the end. While tools run or a person is to answer: 5 or 30 at most, as the header `Retry-After`, because the next change is not up to the schedule; before its start 3600. */
  retry_after: number | null;
  /** The text of the last turn; empty until there is one. */
  text: string;
  /** The result as an object, for agents that promise one. */
  output: unknown;
  /** What a person has to decide; null when nothing. */
  required_action: RequiredAction | null;
  /** The calls of the run's tools, in the order in which they were asked for. */
  tool_calls: Array<ToolCall>;
  /** The latest word of any of its tools; null when there is none. */
  progress: Progress | null;
  /** Citations and other marks on `text`: the first 500. Empty until the run has ended. */
  annotations: Array<Annotation>;
  /** What the provider's own tools did in the turns that are over: the latest 100 calls. */
  hosted_calls: Array<HostedCall>;
  /** Summaries of the model's reasoning in the turns that are over, where the agent asks its provider for them. */
  reasoning: Array<Reasoning>;
}

/** The body of `POST /api/runs`. */
export interface RunBody {
  /** What the agent is to answer: a text, or messages with text, images and files. */
  input: string | Array<MessageBody>;
  /** One of the `models` of the agent; its own when left out. */
  model?: string | null | undefined;
  /** The agent's name (`GET /api/agents`); the session's, or else the app's default, when left out. */
  agent?: string | null | undefined;
  /** The session that the run goes on with; a new one when left out. */
  session_id?: string | null | undefined;
  /** One line for lists; the first line of the input when left out. */
  title?: string | null | undefined;
  /** Whether its text can be watched while it is written. Default: `false`. */
  stream?: boolean | undefined;
  /** Up to 16 notes of your own, which are kept with the run. */
  metadata?: Record<string, string> | undefined;
  /** Seconds after which it fails if it has not ended, those in which a person is asked not counted; the app's default when left out. More than the app allows is refused. */
  deadline_seconds?: number | null | undefined;
  /** When it is to start: RFC 3339 with an offset or `Z`, at most 366 days ahead. At once when left out, or past. Until then it is `queued`, none of your active runs, and its deadline does not run. Not together with `session_id`. */
  start_at?: string | null | undefined;
  /** What it may use up. */
  limits?: LimitsBody | undefined;
  /** An address of yours that gets a callback when the run ends, and when a person has to decide. */
  callback_url?: string | null | undefined;
  /** A run token for the run, which the answer then holds. */
  token?: TokenBody | null | undefined;
}

/** Why a run failed. */
export interface RunError {
  /** A stable word for programs. */
  code: string;
  /** A sentence for people. */
  message: string | null;
}

/** The whole input of a run. */
export interface RunInput {
  /** The run. */
  run_id: string;
  /** As it was given; a text is one message. */
  input: Array<InputMessage>;
}

/** A page of the caller's runs, newest first. */
export interface RunList {
  /** The runs, without what is long or changes often. */
  data: Array<RunSummary>;
  /** Only there when there is a next page. */
  next_cursor?: string | undefined;
}

/** A run of a session. */
export interface RunOfSession {
  /** The run's id. */
  id: string;
  /** The run's own address. */
  url: string;
  /** The last four are final and never change. */
  status: RunStatus;
  /** When it was submitted. */
  created_at: string;
  /** When it ended; null before. */
  completed_at: string | null;
}

/** A run's status, as callers see it. The last four are terminal and never change. */
export type RunStatus = "queued" | "in_progress" | "requires_action" | "completed" | "incomplete" | "failed" | "cancelled";

/** A run in a list, as of its last change of status. What changes more often is at its own address. */
export interface RunSummary {
  /** The run's id: its session's, and its number in that session. */
  id: string;
  /** What this is: always `run`. */
  object: "run";
  /** The run's own address. */
  url: string;
  /** The last four are final and never change. */
  status: RunStatus;
  /** The caller's, else the first line of the input. One line. */
  title: string;
  /** The first 200 characters of the input's text; the whole is at `/input`. */
  input_preview: string;
  /** The name of the agent that answers. */
  agent: string;
  /** The model that was asked for, else the agent's own; null where that is not known. */
  model: string | null;
  /** Whether its text can be watched while it is made. */
  stream: boolean;
  /** The conversation that it belongs to. */
  session_id: string;
  /** The batch that it is an item of; null for a run of its own. */
  batch_id: string | null;
  /** Why it failed; null unless its status is `failed`. */
  error: RunError | null;
  /** Why it was cut short; null unless its status is `incomplete`. */
  incomplete_details: IncompleteDetails | null;
  /** Tokens of all its turns so far; in a list, up to the last change of status. */
  usage: Usage;
  /** What its caller noted on it at submit. */
  metadata: Record<string, string>;
  /** When it was submitted. */
  created_at: string;
  /** When it was to start, as its submit asked; null when at once. */
  start_at: string | null;
  /** When it ended; null before. */
  completed_at: string | null;
  /** From submit to the end, of a run with `start_at` from its start; null before. */
  elapsed_seconds: number | null;
}

/** A run token, which is shown this once. */
export interface RunToken {
  /** Goes to `/api/shared/…` as `Authorization: Bearer …`. */
  token: string;
  /** Until when it holds. */
  expires_at: string;
}

/** A request that becomes a run again and again. */
export interface Schedule {
  /** The schedule's id. */
  id: string;
  /** What this is: always `schedule`. */
  object: "schedule";
  /** The schedule's own address. */
  url: string;
  /** Of an agent's own schedule: its name; null for one that was made by a call. */
  name: string | null;
  /** The name of the agent that answers. */
  agent: string;
  /** The caller's, else the first line of the input. One line. */
  title: string;
  /** The first 200 characters of the input's text. */
  input_preview: string;
  /** What its caller noted on it; its runs have it too. */
  metadata: Record<string, string>;
  /** When: five fields, or six with the second in front. */
  cron: string;
  /** Whose local times these are. */
  time_zone: string;
  /** What becomes of times that nobody was there for. */
  missed: "skip" | "once";
  /** Whether it begins nothing. */
  paused: boolean;
  /** The time that comes next, or whose run was refused and is tried again; null while it is paused. */
  next_at: string | null;
  /** How often that was refused so far. */
  tries: number;
  /** What became of the time that came last; null before the first. */
  last: LastOccurrence | null;
  /** When it was made. */
  created_at: string;
  /** When it was last changed by a call. */
  updated_at: string;
}

/** The body of `POST /api/schedules`. */
export interface ScheduleBody {
  /** When: minute, hour, day of the month, month, day of the week; with six fields the second in front, as in Azure Functions. One second only, so that it is once a minute at most. */
  cron: string;
  /** Whose local times these are, such as `Europe/Berlin` (IANA); UTC when left out. One that the change to summer time skips counts as the first minute after it, one that comes twice counts once. */
  time_zone?: string | null | undefined;
  /** What becomes of times that nobody was there for, more than ten minutes late: `skip`, nothing, or `once`, one run for all of them. Default: `"skip"`. */
  missed?: "skip" | "once" | undefined;
  /** Whether it begins nothing until it is changed; no time that passes meanwhile counts as missed. Default: `false`. */
  paused?: boolean | undefined;
  /** What the agent is to answer each time: a text, or messages with text, images and files. */
  input: string | Array<MessageBody>;
  /** The agent's name (`GET /api/agents`); the app's default when left out. */
  agent?: string | null | undefined;
  /** One of the `models` of the agent; its own when left out. */
  model?: string | null | undefined;
  /** One line for lists; the first line of the input when left out. */
  title?: string | null | undefined;
  /** Whether the text of each run can be watched while it is written. Default: `false`. */
  stream?: boolean | undefined;
  /** Up to 16 notes of your own, which are kept with each run. */
  metadata?: Record<string, string> | undefined;
  /** Seconds after which a run fails if it has not ended; the app's default when left out. */
  deadline_seconds?: number | null | undefined;
  /** What each run may use up. */
  limits?: LimitsBody | undefined;
  /** An address of yours that gets a callback when a run ends, and when a person has to decide. */
  callback_url?: string | null | undefined;
}

/** The body of `PATCH /api/schedules/{id}`: what is left out stays as it is. */
export interface ScheduleChangeBody {
  /** When, from now on. */
  cron?: string | null | undefined;
  /** Whose local times these are. */
  time_zone?: string | null | undefined;
  /** What becomes of times that nobody was there for. */
  missed?: "skip" | "once" | null | undefined;
  /** Whether it begins nothing. */
  paused?: boolean | null | undefined;
}

/** A page of the caller's schedules, in no order that means anything. */
export interface ScheduleList {
  /** The schedules. */
  data: Array<Schedule>;
  /** Only there when there is a next page. */
  next_cursor?: string | undefined;
}

/** One conversation with one agent. */
export interface Session {
  /** The session's id. */
  id: string;
  /** What this is: always `session`. */
  object: "session";
  /** The agent that it is with. */
  agent: string;
  /** The run that is active; null when none is, and the next may be submitted. */
  active_run: string | null;
  /** When its first run was submitted. */
  created_at: string;
  /** When a run of it last began or ended. */
  last_activity: string;
  /** A page of them, newest first. */
  runs: Array<RunOfSession>;
  /** Of the runs of this page, in the order in which they were said. */
  messages: Array<Message>;
  /** Only there when there are older runs. */
  next_cursor?: string | undefined;
}

/** Whether all settings are known. */
export interface SettingsCheck {
  /** `warning` when some are unknown, which makes nothing unwell. */
  status: "ok" | "warning";
  /** Names that begin with `DORMOUSE_` and mean nothing to this version. */
  unknown: Array<string>;
}

/** Whether storage answers. */
export interface StorageCheck {
  /** `unwell` when it does not answer in time. */
  status: "ok" | "unwell";
  /** What is wrong; not there when nothing is. */
  detail?: string | undefined;
  /** Due rows: runs, batches and deletions still to come back to; up to 1,000. */
  watched?: number | undefined;
  /** Rows that this version cannot read; counted up to 1,000. */
  quarantined?: number | undefined;
}

/** A batch as the answer to its submit has it. */
export interface SubmittedBatch {
  /** The batch's id. */
  id: string;
  /** What this is: always `batch`. */
  object: "batch";
  /** The batch's own address. */
  url: string;
  /** Where its items are read, in pages. */
  items_url: string;
  /** `completed` and `cancelled` are final and never change. */
  status: BatchStatus;
  /** How many items stand where. */
  counts: BatchCounts;
  /** The agent of items that name none; null for the app's default. */
  agent: string | null;
  /** The model of items that name none; null for the agent's own. */
  model: string | null;
  /** How many items are active at once at most. */
  concurrency: number;
  /** What its caller noted on it at submit; its runs have it too. */
  metadata: Record<string, string>;
  /** Where its end is reported; null when nowhere. */
  callback_url: string | null;
  /** What became of the callback of its end; null before there is one. */
  callback_status: "pending" | "delivered" | "given_up" | "disabled" | null;
  /** How many there were, redeliveries included. */
  callback_attempts: number;
  /** The last one; a batch keeps no log of the others. */
  callback_last: LastDelivery | null;
  /** When it was submitted. */
  created_at: string;
  /** When it last changed. */
  updated_at: string;
  /** When its last item ended; null before. */
  completed_at: string | null;
  /** Seconds between its last look and its next; null at the end. */
  retry_after: number | null;
  /** The batch whose items it runs again; null when its items are new. That batch may be deleted since. */
  retry_of: string | null;
  /** Only there when it was asked for, and in no other answer. */
  token?: RunToken | undefined;
}

/** A run as the answer to its submit has it. */
export interface SubmittedRun {
  /** The run's id: its session's, and its number in that session. */
  id: string;
  /** What this is: always `run`. */
  object: "run";
  /** The run's own address. */
  url: string;
  /** The last four are final and never change. */
  status: RunStatus;
  /** The caller's, else the first line of the input. One line. */
  title: string;
  /** The first 200 characters of the input's text; the whole is at `/input`. */
  input_preview: string;
  /** The name of the agent that answers. */
  agent: string;
  /** The model that was asked for, else the agent's own; null where that is not known. */
  model: string | null;
  /** Whether its text can be watched while it is made. */
  stream: boolean;
  /** The conversation that it belongs to. */
  session_id: string;
  /** The batch that it is an item of; null for a run of its own. */
  batch_id: string | null;
  /** Why it failed; null unless its status is `failed`. */
  error: RunError | null;
  /** Why it was cut short; null unless its status is `incomplete`. */
  incomplete_details: IncompleteDetails | null;
  /** Tokens of all its turns so far; in a list, up to the last change of status. */
  usage: Usage;
  /** What its caller noted on it at submit. */
  metadata: Record<string, string>;
  /** When it was submitted. */
  created_at: string;
  /** When it was to start, as its submit asked; null when at once. */
  start_at: string | null;
  /** When it ended; null before. */
  completed_at: string | null;
  /** From submit to the end, of a run with `start_at` from its start; null before. */
  elapsed_seconds: number | null;
  /** The provider's last status or error code, for people; null before there is one. */
  provider_status: string | null;
  /** The turn that it is in, or ended in; the first is 1. */
  turn: number;
  /** How often the app was at work for it. */
  wakes: number;
  /** How long the app was at work for it: from the start of each execution to its last write. While the model thinks nothing runs, so this is far less than the time that has passed. */
  active_seconds: number;
  /** Where its end and its questions are reported; null when nowhere. */
  callback_url: string | null;
  /** What became of the last callback; null while none is due or was sent. */
  callback_status: "pending" | "delivered" | "given_up" | "disabled" | null;
  /** When something last changed that a caller sees. */
  updated_at: string;
  /** When it fails unless it has ended; null before it starts, and while it waits for a person, when this time stands still. */
  deadline_at: string | null;
  /** Until when a person can answer; null unless it waits for one. */
  answer_by: string | null;
  /** What it waits for: `start` (it was submitted for later), `provider`, `tools`, `person`, `retry` (something that passes went wrong) or `nothing`. Take other words too: more may come. */
  waiting_for: string;
  /** The same, in a sentence for people. */
  waiting_text: string;
  /** When the app looks or tries next by itself; null while tools run, while a person is to answer, and at the end. */
  wake_at: string | null;
  /** Seconds between its last look and its next; null at the end. While tools run or a person is to answer: 5 or 30 at most, as the header `Retry-After`, because the next change is not up to the schedule; before its start 3600. */
  retry_after: number | null;
  /** The text of the last turn; empty until there is one. */
  text: string;
  /** The result as an object, for agents that promise one. */
  output: unknown;
  /** What a person has to decide; null when nothing. */
  required_action: RequiredAction | null;
  /** The calls of the run's tools, in the order in which they were asked for. */
  tool_calls: Array<ToolCall>;
  /** The latest word of any of its tools; null when there is none. */
  progress: Progress | null;
  /** Citations and other marks on `text`: the first 500. Empty until the run has ended. */
  annotations: Array<Annotation>;
  /** What the provider's own tools did in the turns that are over: the latest 100 calls. */
  hosted_calls: Array<HostedCall>;
  /** Summaries of the model's reasoning in the turns that are over, where the agent asks its provider for them. */
  reasoning: Array<Reasoning>;
  /** Only there when it was asked for, and in no other answer. */
  token?: RunToken | undefined;
}

/** Text in a message. */
export interface TextPart {
  /** What this part is. */
  type: "input_text";
  /** The text. */
  text: string;
}

/** What happened to a run, in order. */
export interface Timeline {
  /** The run. */
  run_id: string;
  /** How often the app was at work for it. */
  wakes: number;
  /** How long the app was at work for it, all together. */
  active_seconds: number;
  /** What happened, oldest first. */
  data: Array<TimelineEntry>;
}

/** What happened at one time, or several alike that followed each other. */
export interface TimelineEntry {
  /** When; of several the first. */
  at: string;
  /** When the last of several was, or the work was over; null for a single moment. */
  until: string | null;
  /** What it is: `created`, `started` (of a run for later), `sent`, `turn_started`, `looked`, `no_answer`, `turn_ended`, `retry`, `tools`, `tool` (one call, from start to result), `parked`, `answered`, `waiting`, `crashed`, `ended`, `callback`, or `omitted` (entries left out where there were too many). Take other words too: more may come. */
  kind: string;
  /** The turn's number; null where it is about the whole run. */
  turn: number | null;
  /** How many it stands for. */
  count: number;
  /** How many of the run's wakes it stands for. Those of all entries add up to the run's. */
  wakes: number;
  /** How long the app was at work for it. */
  milliseconds: number;
  /** A word for why, or for what became of it. */
  code: string | null;
  /** Who answered or cancelled: a principal, a user or the label of a run token. */
  by: string | null;
  /** The tool's name, for `tool`. */
  tool: string | null;
}

/** A token for one run: what it allows, for how long, and a name for whoever gets it. */
export interface TokenBody {
  /** What it allows: to see and watch the run, to answer its questions, to cancel it. */
  rights: Array<"read" | "answer" | "cancel">;
  /** How long it holds. Default: `3600`. */
  seconds?: number | undefined;
  /** A name for whoever gets it: the run tells who answered or cancelled by it. */
  label?: string | null | undefined;
}

/** One tool call of the run. */
export interface ToolCall {
  /** Turn and place in the turn: unlike `call_id` it names one call of the run alone. */
  id: string;
  /** The call with all of its arguments and its result. */
  url: string;
  /** The provider's own id, which it may use again. */
  call_id: string;
  /** The tool. */
  name: string;
  /** The turn that asked for it; the first is 1. */
  turn: number;
  /** `cancelled` where its run ended before it was finished; `handed_over` where its caller, who brought the function, makes the call. */
  state: CallState | "cancelled";
  /** The JSON text that the model wrote: its first 500 characters. */
  arguments: string;
  /** What the model was given: its first 500 characters; null until the call is finished, and for the provider's own tools. */
  result: string | null;
  /** Whether arguments or result are longer than shown here. */
  truncated: boolean;
  /** Why there is no other result; null unless the call failed, was refused, or ran too long. */
  error: CallError | null;
  /** How often it was started: more than once after an interruption. */
  starts: number;
  /** When it was last started. */
  started_at: string | null;
  /** When its result was kept; null before. */
  finished_at: string | null;
  /** What a person said of it; null where nobody was asked. */
  approval: "pending" | "approved" | "refused" | null;
  /** Why that person approved or refused. */
  answer_reason: string | null;
  /** Who that was: a principal, a user or the label of a run token. */
  answered_by: string | null;
  /** When that person answered; null where nobody has. */
  answered_at: string | null;
  /** The last word of this call; null when its tool reports none. */
  progress: Progress | null;
}

/** A tool that an agent may call. */
export interface ToolOfAgent {
  /** The tool's name. */
  name: string;
  /** What it does, as the model reads it. */
  description: string;
  /** Whether a person is asked before a call of it, always or at times. */
  requires_approval: boolean;
}

/** Tokens, as the provider counted them. */
export interface Usage {
  /** Tokens that the model read, in all turns. */
  input_tokens: number;
  /** Tokens that it wrote, its reasoning included. */
  output_tokens: number;
  /** Both together. */
  total_tokens: number;
  /** Those of the input that the provider had in its cache. */
  cached_tokens: number;
  /** Those of the output that were reasoning. */
  reasoning_tokens: number;
}

/** The app was at work for the run, and what it says of the next time. Nothing else has changed. */
export interface Wake {
  /** How often it was, by now. */
  wakes: number;
  /** How long, all together. */
  active_seconds: number;
  /** When it looks or tries next by itself. */
  wake_at: string | null;
  /** What it waits for, in a word, as in the run. */
  waiting_for: string;
  /** The same, in a sentence for people. */
  waiting_text: string;
}

/** A page of them. */
export interface WatchedList {
  /** The page. */
  data: Array<WatchedRow>;
  /** The `cursor` of the next page; not there on the last. */
  next_cursor?: string | undefined;
  /** How many runs, batches, schedules and deletions somebody must still come back to; counted up to 1,000. */
  watched: number;
}

/** Something that somebody must still come back to. */
export interface WatchedRow {
  /** The id of the run, batch or schedule; of a deletion `session_` and the id of the session. */
  id: string;
  /** What it is. A deletion is that of a session. */
  kind: "run" | "batch" | "schedule" | "deletion";
  /** Its status; null for a deletion and a schedule, and where it cannot be read or is not there. */
  status: string | null;
  /** Its agent; null where that is not known. */
  agent: string | null;
  /** Whether this version can read it, and has the key to do so. */
  readable: boolean;
  /** When it is to be woken by its own row; null when never, or when that cannot be read. */
  wake_at: string | null;
  /** When the sweep looks at it; null when it has no due row, so that no sweep ever does. */
  due_at: string | null;
  /** How many sweeps in a row have found it overdue. */
  overdue_sweeps: number;
  /** Why it was put aside; null when it was not. */
  quarantined: string | null;
}

/** The text of a run that is watched, and what goes with it in this turn: it takes the place of what was shown. */
export interface WholeText {
  /** The text so far (`snapshot`), or what comes after it (`delta`). */
  text: string;
  /** The event's id. */
  continuation_token: string;
  /** Citations and other marks on the text. */
  annotations: Array<Annotation>;
  /** What the provider's own tools did. */
  hosted_calls: Array<HostedCall>;
  /** The summary of the model's reasoning in this turn. */
  reasoning: string;
}

/** A tool call with all that the run shows only the beginning of. */
export interface WholeToolCall {
  /** Turn and place in the turn: unlike `call_id` it names one call of the run alone. */
  id: string;
  /** The call with all of its arguments and its result. */
  url: string;
  /** The provider's own id, which it may use again. */
  call_id: string;
  /** The tool. */
  name: string;
  /** The turn that asked for it; the first is 1. */
  turn: number;
  /** `cancelled` where its run ended before it was finished; `handed_over` where its caller, who brought the function, makes the call. */
  state: CallState | "cancelled";
  /** The JSON text that the model wrote: its first 500 characters. */
  arguments: string;
  /** What the model was given: its first 500 characters; null until the call is finished, and for the provider's own tools. */
  result: string | null;
  /** Whether arguments or result are longer than shown here. */
  truncated: boolean;
  /** Why there is no other result; null unless the call failed, was refused, or ran too long. */
  error: CallError | null;
  /** How often it was started: more than once after an interruption. */
  starts: number;
  /** When it was last started. */
  started_at: string | null;
  /** When its result was kept; null before. */
  finished_at: string | null;
  /** What a person said of it; null where nobody was asked. */
  approval: "pending" | "approved" | "refused" | null;
  /** Why that person approved or refused. */
  answer_reason: string | null;
  /** Who that was: a principal, a user or the label of a run token. */
  answered_by: string | null;
  /** When that person answered; null where nobody has. */
  answered_at: string | null;
  /** The last word of this call; null when its tool reports none. */
  progress: Progress | null;
  /** All of the JSON text that the model wrote. */
  whole_arguments: string;
  /** All that the model was given; null until the call is finished. */
  whole_result: string | null;
}
