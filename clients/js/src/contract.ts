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
  reason?: string | undefined;
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
  agent?: string | null | undefined;
  model?: string | null | undefined;
  metadata?: Record<string, string> | undefined;
  deadline_seconds?: number | null | undefined;
  limits?: LimitsBody | undefined;
  concurrency?: number | null | undefined;
  callback_url?: string | null | undefined;
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
  next_cursor?: string | undefined;
}

/** A page of the caller's batches, newest first. */
export interface BatchList {
  data: Array<Batch>;
  /** Only there when there is a next page. */
  next_cursor?: string | undefined;
}

/** A batch's status, as callers see it. `completed` and `cancelled` never change. */
export type BatchStatus = "queued" | "in_progress" | "cancelling" | "completed" | "cancelled";

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
  detail?: "low" | "high" | "auto" | undefined;
}

/** Why a run was cut short. */
export interface IncompleteDetails {
  reason: string;
}

/** One of the `items`; `id` is the caller's own. */
export interface ItemBody {
  agent?: string | null | undefined;
  model?: string | null | undefined;
  metadata?: Record<string, string> | undefined;
  deadline_seconds?: number | null | undefined;
  limits?: LimitsBody | undefined;
  id?: string | null | undefined;
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
  turns?: number | null | undefined;
  tool_calls?: number | null | undefined;
  total_tokens?: number | null | undefined;
}

/** What was said in a run: text, or the parts that the caller sent. */
export interface Message {
  run_id: string;
  role: string;
  content: string | Array<Record<string, unknown>> | null;
}

/** A message of the caller, in the shape of the Responses API. */
export interface MessageBody {
  type?: "message" | undefined;
  role?: "user" | undefined;
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
  errors?: Array<FieldProblem> | undefined;
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
  detail?: string | undefined;
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
  agent: string;
  session_id: string;
  batch_id: string | null;
  error: RunError | null;
  incomplete_details: IncompleteDetails | null;
  provider_status: string | null;
  usage: Usage;
  turn: number;
  wakes: number;
  metadata: Record<string, string>;
  callback_url: string | null;
  /** What became of the last callback; null while none is due or was sent. */
  callback_status: "pending" | "delivered" | "given_up" | "disabled" | null;
  /** RFC 3339, in UTC. */
  created_at: string;
  /** RFC 3339, in UTC. */
  updated_at: string;
  completed_at: string | null;
  /** When the run is looked at next; null once it has ended. */
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
  model?: string | null | undefined;
  agent?: string | null | undefined;
  session_id?: string | null | undefined;
  stream?: boolean | undefined;
  metadata?: Record<string, string> | undefined;
  deadline_seconds?: number | null | undefined;
  limits?: LimitsBody | undefined;
  callback_url?: string | null | undefined;
}

/** Why a run failed. */
export interface RunError {
  /** A stable word for programs. */
  code: string;
  /** A sentence for people. */
  message: string | null;
}

/** A page of the caller's runs, newest first. */
export interface RunList {
  data: Array<RunSummary>;
  /** Only there when there is a next page. */
  next_cursor?: string | undefined;
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
  agent: string;
  session_id: string;
  batch_id: string | null;
  error: RunError | null;
  incomplete_details: IncompleteDetails | null;
  provider_status: string | null;
  usage: Usage;
  turn: number;
  wakes: number;
  metadata: Record<string, string>;
  callback_url: string | null;
  /** What became of the last callback; null while none is due or was sent. */
  callback_status: "pending" | "delivered" | "given_up" | "disabled" | null;
  /** RFC 3339, in UTC. */
  created_at: string;
  /** RFC 3339, in UTC. */
  updated_at: string;
  completed_at: string | null;
  /** When the run is looked at next; null once it has ended. */
  wake_at: string | null;
  /** Seconds between its last look and its next; null at the end. While tools run or a person is to answer: 5 or 30 at most, as the header `Retry-After`, because the next change is not up to the schedule. */
  retry_after: number | null;
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
  next_cursor?: string | undefined;
}

/** Whether all settings are known. */
export interface SettingsCheck {
  status: "ok" | "warning";
  unknown: Array<string>;
}

/** Whether storage answers. */
export interface StorageCheck {
  status: "ok" | "unwell";
  detail?: string | undefined;
  /** Due rows: runs, batches and deletions still to come back to; up to 1,000. */
  watched?: number | undefined;
  /** Rows that this version cannot read; counted up to 1,000. */
  quarantined?: number | undefined;
}

/** Text in a message. */
export interface TextPart {
  type: "input_text";
  text: string;
}

/** One tool call of the run. */
export interface ToolCall {
  call_id: string;
  name: string;
  turn: number;
  state: CallState;
  starts: number;
  started_at: string | null;
  finished_at: string | null;
  approval: "pending" | "approved" | "refused" | null;
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
