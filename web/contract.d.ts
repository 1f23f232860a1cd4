// The bodies of the contract. Written by `python -m local.openapi` from shared/api/openapi.json's sources.

/** An agent that this app serves. */
export interface Agent {
  name: string;
  object: "agent";
  description: string;
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
  data: Array<Agent>;
}

/** One person's word on one call. */
export interface AnswerBody {
  approve: boolean;
  reason?: string;
}

/** The body of `POST /api/runs/{id}/answers`. */
export interface AnswersBody {
  answers: Record<string, AnswerBody>;
}

/** Many inputs, each of which becomes a run. */
export interface Batch {
  id: string;
  object: "batch";
  url: string;
  items_url: string;
  /** `completed` and `cancelled` are final and never change. */
  status: BatchStatus;
  counts: BatchCounts;
  agent: string | null;
  model: string | null;
  /** How many items are active at once at most. */
  concurrency: number;
  metadata: Record<string, string>;
  callback_url: string | null;
  /** What became of the callback of its end; null before there is one. */
  callback_status: "pending" | "delivered" | "given_up" | "disabled" | null;
  /** How many there were, redeliveries included. */
  callback_attempts: number;
  /** The last one; a batch keeps no log of the others. */
  callback_last: LastDelivery | null;
  /** RFC 3339, in UTC. */
  created_at: string;
  /** RFC 3339, in UTC. */
  updated_at: string;
  completed_at: string | null;
  /** Seconds between its last look and its next; null at the end. */
  retry_after: number | null;
}

/** Many inputs. An item that does not fit fails alone; the others run. */
export interface BatchBody {
  agent?: string | null;
  model?: string | null;
  metadata?: Record<string, string>;
  deadline_seconds?: number | null;
  limits?: LimitsBody;
  concurrency?: number | null;
  callback_url?: string | null;
  token?: BatchTokenBody | null;
  items: Array<ItemBody>;
}

/** How many items of a batch stand where. */
export interface BatchCounts {
  total: number;
  pending: number;
  active: number;
  completed: number;
  incomplete: number;
  failed: number;
  cancelled: number;
}

/** One input of a batch, and what became of it. */
export interface BatchItem {
  /** The caller's own. */
  id: string | null;
  object: "batch.item";
  index: number;
  status: ItemStatus;
  run_id: string | null;
  run_url: string | null;
  run_status: RunStatus | null;
  text: string;
  output: unknown;
  error: RunError | null;
  incomplete_details: IncompleteDetails | null;
  completed_at: string | null;
}

/** A page of a batch's items, in order. */
export interface BatchItemList {
  data: Array<BatchItem>;
  /** Only there when there is a next page. */
  next_cursor?: string;
}

/** A page of the caller's batches, newest first. */
export interface BatchList {
  data: Array<Batch>;
  /** Only there when there is a next page. */
  next_cursor?: string;
}

/** A batch's status, as callers see it. `completed` and `cancelled` never change. */
export type BatchStatus = "queued" | "in_progress" | "cancelling" | "completed" | "cancelled";

/** A token for one batch. Of a batch there is nothing else to be shared than how it stands. */
export interface BatchTokenBody {
  rights: Array<"read">;
  seconds?: number;
  label?: string | null;
}

/** What went wrong with a call, as the model was told. */
export interface CallError {
  code: string;
  message: string;
}

/** Where one tool call stands. */
export type CallState = "waiting" | "open" | "started" | "finished";

/** What was tried. */
export interface Checks {
  storage: StorageCheck;
  provider: ProviderCheck;
  settings: SettingsCheck;
}

/** Whether the app is well: storage, provider and settings, each tried now. */
export interface DeepHealth {
  status: "ok" | "unwell";
  driver: "durable" | "timer";
  checks: Checks;
}

/** The log of a run's callbacks. */
export interface Deliveries {
  callback_url: string | null;
  callback_status: "pending" | "delivered" | "given_up" | "disabled" | null;
  next_attempt_at: string | null;
  /** The latest attempts, newest first. */
  data: Array<Delivery>;
}

/** One attempt to tell the caller's address. */
export interface Delivery {
  webhook_id: string;
  type: string;
  attempt: number;
  state: "sending" | "delivered" | "failed";
  /** RFC 3339, in UTC. */
  sent_at: string;
  http_status: number | null;
  /** A word for why there is no HTTP status. */
  error: string | null;
  seconds: number | null;
  next_attempt_at: string | null;
}

/** What is wrong with one field. */
export interface FieldProblem {
  field: string;
  problem: string;
}

/** A file in a message, by its URL. */
export interface FilePart {
  type: "input_file";
  file_url: string;
}

/** Whether the app is alive. */
export interface Health {
  status: "ok";
}

/** An image in a message, by its URL. */
export interface ImagePart {
  type: "input_image";
  image_url: string;
  detail?: "low" | "high" | "auto";
}

/** Why a run was cut short. */
export interface IncompleteDetails {
  reason: string;
}

/** A message as it was sent to the model. */
export interface InputMessage {
  role: string;
  /** Text, or the parts that the caller sent. */
  content: string | Array<Record<string, unknown>> | null;
}

/** One of the `items`; `id` is the caller's own. */
export interface ItemBody {
  agent?: string | null;
  model?: string | null;
  metadata?: Record<string, string>;
  deadline_seconds?: number | null;
  limits?: LimitsBody;
  id?: string | null;
  input: string | Array<MessageBody>;
}

/** Where an item stands. An ended one has the word of its run. */
export type ItemStatus = "pending" | "active" | "completed" | "incomplete" | "failed" | "cancelled";

/** What the last attempt to tell of a batch met. Neither a status nor an error: it is under way, or was cut off. */
export interface LastDelivery {
  /** RFC 3339, in UTC. */
  sent_at: string;
  http_status: number | null;
  /** A word for why there is no HTTP status. */
  error: string | null;
  next_attempt_at: string | null;
}

/** What the run may use up. Each at most the app's own limit. */
export interface LimitsBody {
  turns?: number | null;
  tool_calls?: number | null;
  total_tokens?: number | null;
}

/** What was said in a run: text, or the parts that the caller sent. */
export interface Message {
  run_id: string;
  role: string;
  content: string | Array<Record<string, unknown>> | null;
}

/** A message of the caller, in the shape of the Responses API. */
export interface MessageBody {
  type?: "message";
  role?: "user";
  content: string | Array<TextPart | ImagePart | FilePart>;
}

/** A setting is malformed, the agents cannot be built, or old rows are in the tables; the sentence says which. */
export interface Misconfigured {
  status: "misconfigured";
  detail: string;
}

/** An error as OpenAI's clients know it. */
export interface OpenAIError {
  error: OpenAIProblem;
}

/** What went wrong, and what to do next. */
export interface OpenAIProblem {
  message: string;
  type: "invalid_request_error" | "rate_limit_error" | "server_error";
  /** A stable word for programs. */
  code: string;
  param: string | null;
}

/** Text of a run that is watched: a snapshot takes the place of what was shown, a delta goes to its end. */
export interface Piece {
  text: string;
  /** The event's id. */
  continuation_token: string;
}

/** Where a watch stands. */
export interface Position {
  continuation_token: string;
}

/** An error (RFC 9457). Some have fields of their own besides, such as `active_run` or `limit`. */
export interface Problem {
  type: string;
  title: string;
  status: number;
  /** A stable word for programs. */
  code: string;
  /** A sentence for people that says what to do. */
  detail: string;
  /** Which fields of the request do not fit. */
  errors?: Array<FieldProblem>;
}

/** The last word of a tool on how far it is. */
export interface Progress {
  call_id: string;
  name: string;
  message: string;
  fraction: number | null;
  /** RFC 3339, in UTC. */
  at: string;
}

/** Whether the model provider answers. */
export interface ProviderCheck {
  status: "ok" | "unwell";
  detail?: string;
}

/** A call that waits for a person. */
export interface Question {
  /** What an answer names: this call of this turn, with these arguments. */
  id: string;
  /** The provider's own id of the call, which it may use again. */
  call_id: string;
  name: string;
  /** The JSON text that the model wrote. */
  arguments: string;
  /** Why approval is asked. */
  reason: string | null;
}

/** What a person must decide before the run goes on. */
export interface RequiredAction {
  type: "approve";
  calls: Array<Question>;
}

/** One request to an agent, from submit to a final status. */
export interface Run {
  id: string;
  object: "run";
  url: string;
  /** The last four are final and never change. */
  status: RunStatus;
  /** The caller's, else the first line of the input. One line. */
  title: string;
  /** The first 200 characters of the input's text; the whole is at `/input`. */
  input_preview: string;
  agent: string;
  /** The model that was asked for, else the agent's own; null where that is not known. */
  model: string | null;
  /** Whether its text can be watched while it is made. */
  stream: boolean;
  session_id: string;
  batch_id: string | null;
  error: RunError | null;
  incomplete_details: IncompleteDetails | null;
  provider_status: string | null;
  usage: Usage;
  turn: number;
  /** How often the app was at work for it. */
  wakes: number;
  /** How long the app was at work for it: from the start of each execution to its last write. While the model thinks nothing runs, so this is far less than the time that has passed. */
  active_seconds: number;
  /** From submit to the end; null before. */
  elapsed_seconds: number | null;
  metadata: Record<string, string>;
  callback_url: string | null;
  /** What became of the last callback; null while none is due or was sent. */
  callback_status: "pending" | "delivered" | "given_up" | "disabled" | null;
  /** RFC 3339, in UTC. */
  created_at: string;
  /** RFC 3339, in UTC. */
  updated_at: string;
  completed_at: string | null;
  /** When it fails unless it has ended; null while it waits for a person, when this time stands still. */
  deadline_at: string | null;
  /** Until when a person can answer; null unless it waits for one. */
  answer_by: string | null;
  /** What it waits for: `provider`, `tools`, `person`, `retry` (something that passes went wrong) or `nothing`. Take other words too: more may come. */
  waiting_for: string;
  /** The same, in a sentence for people. */
  waiting_text: string;
  /** When the app looks or tries next by itself; null while tools run, while a person is to answer, and at the end. */
  wake_at: string | null;
  /** Seconds between its last look and its next; null at the end. While tools run or a person is to answer: 5 or 30 at most, as the header `Retry-After`, because the next change is not up to the schedule. */
  retry_after: number | null;
  /** The text of the last turn; empty until there is one. */
  text: string;
  /** The result as an object, for agents that promise one. */
  output: unknown;
  required_action: RequiredAction | null;
  tool_calls: Array<ToolCall>;
  progress: Progress | null;
}

/** The body of `POST /api/runs`. */
export interface RunBody {
  input: string | Array<MessageBody>;
  model?: string | null;
  agent?: string | null;
  session_id?: string | null;
  title?: string | null;
  stream?: boolean;
  metadata?: Record<string, string>;
  deadline_seconds?: number | null;
  limits?: LimitsBody;
  callback_url?: string | null;
  token?: TokenBody | null;
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
  run_id: string;
  /** As it was given; a text is one message. */
  input: Array<InputMessage>;
}

/** A page of the caller's runs, newest first. */
export interface RunList {
  data: Array<RunSummary>;
  /** Only there when there is a next page. */
  next_cursor?: string;
}

/** A run of a session. */
export interface RunOfSession {
  id: string;
  url: string;
  status: RunStatus;
  /** RFC 3339, in UTC. */
  created_at: string;
  completed_at: string | null;
}

/** A run's status, as callers see it. The last four are terminal and never change. */
export type RunStatus = "queued" | "in_progress" | "requires_action" | "completed" | "incomplete" | "failed" | "cancelled";

/** A run in a list: without what is long, or lies elsewhere. */
export interface RunSummary {
  id: string;
  object: "run";
  url: string;
  /** The last four are final and never change. */
  status: RunStatus;
  /** The caller's, else the first line of the input. One line. */
  title: string;
  /** The first 200 characters of the input's text; the whole is at `/input`. */
  input_preview: string;
  agent: string;
  /** The model that was asked for, else the agent's own; null where that is not known. */
  model: string | null;
  /** Whether its text can be watched while it is made. */
  stream: boolean;
  session_id: string;
  batch_id: string | null;
  error: RunError | null;
  incomplete_details: IncompleteDetails | null;
  provider_status: string | null;
  usage: Usage;
  turn: number;
  /** How often the app was at work for it. */
  wakes: number;
  /** How long the app was at work for it: from the start of each execution to its last write. While the model thinks nothing runs, so this is far less than the time that has passed. */
  active_seconds: number;
  /** From submit to the end; null before. */
  elapsed_seconds: number | null;
  metadata: Record<string, string>;
  callback_url: string | null;
  /** What became of the last callback; null while none is due or was sent. */
  callback_status: "pending" | "delivered" | "given_up" | "disabled" | null;
  /** RFC 3339, in UTC. */
  created_at: string;
  /** RFC 3339, in UTC. */
  updated_at: string;
  completed_at: string | null;
  /** When it fails unless it has ended; null while it waits for a person, when this time stands still. */
  deadline_at: string | null;
  /** Until when a person can answer; null unless it waits for one. */
  answer_by: string | null;
  /** What it waits for: `provider`, `tools`, `person`, `retry` (something that passes went wrong) or `nothing`. Take other words too: more may come. */
  waiting_for: string;
  /** The same, in a sentence for people. */
  waiting_text: string;
  /** When the app looks or tries next by itself; null while tools run, while a person is to answer, and at the end. */
  wake_at: string | null;
  /** Seconds between its last look and its next; null at the end. While tools run or a person is to answer: 5 or 30 at most, as the header `Retry-After`, because the next change is not up to the schedule. */
  retry_after: number | null;
}

/** A run token, which is shown this once. */
export interface RunToken {
  /** Goes to `/api/shared/…` as `Authorization: Bearer …`. */
  token: string;
  /** RFC 3339, in UTC. */
  expires_at: string;
}

/** One conversation with one agent. */
export interface Session {
  id: string;
  object: "session";
  agent: string;
  active_run: string | null;
  /** RFC 3339, in UTC. */
  created_at: string;
  /** RFC 3339, in UTC. */
  last_activity: string;
  /** A page of them, newest first. */
  runs: Array<RunOfSession>;
  /** Of the runs of this page, in the order in which they were said. */
  messages: Array<Message>;
  /** Only there when there are older runs. */
  next_cursor?: string;
}

/** Whether all settings are known. */
export interface SettingsCheck {
  status: "ok" | "warning";
  unknown: Array<string>;
}

/** Whether storage answers. */
export interface StorageCheck {
  status: "ok" | "unwell";
  detail?: string;
  /** Due rows: runs, batches and deletions still to come back to; up to 1,000. */
  watched?: number;
  /** Rows that this version cannot read; counted up to 1,000. */
  quarantined?: number;
}

/** A batch as the answer to its submit has it. */
export interface SubmittedBatch {
  id: string;
  object: "batch";
  url: string;
  items_url: string;
  /** `completed` and `cancelled` are final and never change. */
  status: BatchStatus;
  counts: BatchCounts;
  agent: string | null;
  model: string | null;
  /** How many items are active at once at most. */
  concurrency: number;
  metadata: Record<string, string>;
  callback_url: string | null;
  /** What became of the callback of its end; null before there is one. */
  callback_status: "pending" | "delivered" | "given_up" | "disabled" | null;
  /** How many there were, redeliveries included. */
  callback_attempts: number;
  /** The last one; a batch keeps no log of the others. */
  callback_last: LastDelivery | null;
  /** RFC 3339, in UTC. */
  created_at: string;
  /** RFC 3339, in UTC. */
  updated_at: string;
  completed_at: string | null;
  /** Seconds between its last look and its next; null at the end. */
  retry_after: number | null;
  /** Only there when it was asked for, and in no other answer. */
  token?: RunToken;
}

/** A run as the answer to its submit has it. */
export interface SubmittedRun {
  id: string;
  object: "run";
  url: string;
  status: RunStatus;
  title: string;
  input_preview: string;
  agent: string;
  model: string | null;
  stream: boolean;
  session_id: string;
  batch_id: string | null;
  error: RunError | null;
  incomplete_details: IncompleteDetails | null;
  provider_status: string | null;
  usage: Usage;
  turn: number;
  wakes: number;
  active_seconds: number;
  elapsed_seconds: number | null;
  metadata: Record<string, string>;
  callback_url: string | null;
  callback_status: "pending" | "delivered" | "given_up" | "disabled" | null;
  /** RFC 3339, in UTC. */
  created_at: string;
  /** RFC 3339, in UTC. */
  updated_at: string;
  completed_at: string | null;
  deadline_at: string | null;
  answer_by: string | null;
  waiting_for: string;
  waiting_text: string;
  wake_at: string | null;
  retry_after: number | null;
  /** The text of the last turn; empty until there is one. */
  text: string;
  /** The result as an object, for agents that promise one. */
  output: unknown;
  required_action: RequiredAction | null;
  tool_calls: Array<ToolCall>;
  progress: Progress | null;
  /** Only there when it was asked for, and in no other answer. */
  token?: RunToken;
}

/** Text in a message. */
export interface TextPart {
  type: "input_text";
  text: string;
}

/** What happened to a run, in order. */
export interface Timeline {
  run_id: string;
  wakes: number;
  /** How long the app was at work for it, all together. */
  active_seconds: number;
  data: Array<TimelineEntry>;
}

/** What happened at one time, or several alike that followed each other. */
export interface TimelineEntry {
  /** RFC 3339, in UTC. */
  at: string;
  /** When the last of several was, or the work was over; null for a single moment. */
  until: string | null;
  /** What it is: `created`, `sent`, `turn_started`, `looked`, `no_answer`, `turn_ended`, `retry`, `tools`, `tool` (one call, from start to result), `parked`, `answered`, `waiting`, `crashed`, `ended`, `callback`, or `omitted` (entries left out where there were too many). Take other words too: more may come. */
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
  rights: Array<"read" | "answer" | "cancel">;
  seconds?: number;
  label?: string | null;
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
  turn: number;
  /** `cancelled` where its run ended before it was finished. */
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
  finished_at: string | null;
  /** What a person said of it; null where nobody was asked. */
  approval: "pending" | "approved" | "refused" | null;
  /** Why that person approved or refused. */
  answer_reason: string | null;
  /** Who that was: a principal, a user or the label of a run token. */
  answered_by: string | null;
  answered_at: string | null;
  progress: Progress | null;
}

/** A tool that an agent may call. */
export interface ToolOfAgent {
  name: string;
  description: string;
  requires_approval: boolean;
}

/** Tokens, as the provider counted them. */
export interface Usage {
  input_tokens: number;
  output_tokens: number;
  total_tokens: number;
  cached_tokens: number;
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
  waiting_for: string;
  waiting_text: string;
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
  turn: number;
  /** `cancelled` where its run ended before it was finished. */
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
  finished_at: string | null;
  /** What a person said of it; null where nobody was asked. */
  approval: "pending" | "approved" | "refused" | null;
  /** Why that person approved or refused. */
  answer_reason: string | null;
  /** Who that was: a principal, a user or the label of a run token. */
  answered_by: string | null;
  answered_at: string | null;
  progress: Progress | null;
  /** All of the JSON text that the model wrote. */
  whole_arguments: string;
  /** All that the model was given; null until the call is finished. */
  whole_result: string | null;
}
