// The tools of a run: a line each, a drawer with all of it, and the card that asks a person.
import { client, sentence, token } from "../access.js";
import { Button, Copy, Dialog, Time, count, duration, html, t, useEffect, useState } from "../base.js";
import { Json } from "../json.js";

const seconds = (from, to) => (new Date(to).getTime() - new Date(from).getTime()) / 1000;

function lengthOf(call, now) {
  if (!call.started_at) return "";
  if (call.finished_at) return duration(seconds(call.started_at, call.finished_at));
  return call.state === "started" ? duration((now - new Date(call.started_at).getTime()) / 1000) : "";
}

/** Where a call stands, in words: an error or an answer of a person says more than its state. */
export function standing(call) {
  if (call.approval === "refused") return "refused";
  return call.error ? "failed" : call.state;
}

const Answered = ({ call }) => html`<dt>${t(call.approval === "approved" ? "approved_by" : "refused_by")}</dt>
  <dd dir="auto">
    ${call.answered_by}${call.answered_at && html` · <${Time} at=${call.answered_at} />`}${call.answer_reason && ` · ${call.answer_reason}`}
  </dd>`;

function Drawer({ run, call, onClose }) {
  /** @typedef {import("../vendor/dormouse-client.js").WholeToolCall} WholeToolCall */
  const [whole, setWhole] = useState(/** @type {{ data?: WholeToolCall, error?: import("../base.js").DormouseError }} */ ({}));
  useEffect(() => {
    if (!call.truncated || token) return;
    client.toolCall(run, call).then(
      (data) => setWhole({ data }),
      (error) => setWhole({ error }),
    );
  }, [call.id, call.state]);
  const given = whole.data?.whole_arguments ?? call.arguments;
  const result = whole.data?.whole_result ?? call.result;
  return html`<${Dialog} title=${call.name} class="drawer" onClose=${onClose}>
    <dl class="fields">
      <dt>${t("state")}</dt><dd>${t(`call_${standing(call)}`)}</dd>
      ${call.started_at && html`<dt>${t("started")}</dt><dd><${Time} at=${call.started_at} form="second" /> ${call.finished_at && `· ${lengthOf(call)}`}</dd>`}
      <dt>${t("starts")}</dt><dd>${count(call.starts)}${call.starts > 1 ? ` · ${t("starts_why")}` : ""}</dd>
      ${call.progress && html`<dt>${t("progress")}</dt><dd dir="auto">${call.progress.message}</dd>`}
      ${call.answered_by && html`<${Answered} call=${call} />`}
      ${call.error && html`<dt>${t("error")}</dt><dd dir="auto">${call.error.message} <code>${call.error.code}</code></dd>`}
    </dl>
    ${whole.error && html`<p role="alert">${sentence(whole.error)}</p>`}
    <h3>${t("arguments")}</h3><${Json} text=${given} />
    <h3>${t("result")}</h3>${result === null ? html`<p class="dim">${t("no_result")}</p>` : html`<${Json} text=${result} />`}
    ${call.truncated && !whole.data && html`<p class="dim">${t(token ? "beginning" : "loading")}</p>`}
    <div class="actions"><${Copy} text=${given}>${t("copy_arguments")}<//>${result !== null && html`<${Copy} text=${result}>${t("copy_result")}<//>`}</div>
  <//>`;
}

function Line({ call, now, onOpen }) {
  const stands = standing(call);
  const { progress } = call;
  return html`<li class=${`call is-${stands}`}>
    <button type="button" class="row" onClick=${onOpen} aria-haspopup="dialog">
      <span class="name">${call.name}</span>
      <span class="state">${t(`call_${stands}`)}</span>
      <span class="figure">${lengthOf(call, now)}</span>
      ${progress && call.state === "started" && html`<span class="dim" dir="auto">${progress.message}</span>`}
    </button>
    ${progress && progress.fraction !== null && call.state === "started" && html`<progress max="1" value=${progress.fraction} aria-label=${call.name}></progress>`}
  </li>`;
}

/** A call of a tool of the provider's own. */
const Hosted = ({ call }) =>
  html`<li class="call"><span class="row"><span class="name">${call.type}</span><span class="state">${call.status ?? ""}</span></span></li>`;

export function Calls({ run, now }) {
  const [open, setOpen] = useState();
  const shown = run.tool_calls.find((call) => call.id === open);
  if (!run.tool_calls.length && !run.hosted_calls.length) return null;
  return html`<section aria-labelledby="tools"><h2 id="tools">${t("tools")}</h2>
    <ul class="calls">
      ${run.tool_calls.map((call) => html`<${Line} key=${call.id} call=${call} now=${now} onOpen=${() => setOpen(call.id)} />`)}
      ${run.hosted_calls.map((call) => html`<${Hosted} key=${`hosted ${call.turn} ${call.id}`} call=${call} />`)}
    </ul>
    ${shown && html`<${Drawer} run=${run} call=${shown} onClose=${() => setOpen(undefined)} />`}
  </section>`;
}

// --- approval ---

function Question({ run, question, onError }) {
  const [reason, setReason] = useState("");
  const answer = (approve) => async () => {
    await client.answer(run, { [question.id]: reason ? { approve, reason } : { approve } });
  };
  return html`<li class="question">
    <h3>${t("wants_to_call")} <code>${question.name}</code></h3>
    ${question.reason && html`<p dir="auto">${question.reason}</p>`}
    <p class="dim">${t("exactly")}</p>
    <${Json} text=${question.arguments} data-arguments=${question.id} />
    <label>${t("reason")}<input value=${reason} maxlength="1000" dir="auto" onInput=${(event) => setReason(event.target.value)} /></label>
    <div class="actions">
      <${Button} class="main" onPress=${answer(true)} onError=${onError}>${t("approve")}<//>
      <${Button} onPress=${answer(false)} onError=${onError}>${t("refuse")}<//>
    </div>
  </li>`;
}

/** Who decided what was asked here, where somebody else was first. An id of the provider's may come again: the last counts. */
export function decided(run, questions) {
  const calls = questions.map(({ call_id, name }) => run.tool_calls.findLast((call) => call.call_id === call_id && call.name === name));
  return calls
    .filter((call) => call?.answered_at)
    .map((call) =>
      t(call.approval === "approved" ? "was_approved" : "was_refused", { tool: call.name, by: call.answered_by || t("somebody") }),
    );
}

export function Approval({ run, onError }) {
  const calls = run.required_action?.calls ?? [];
  if (!calls.length) return null;
  const failed = (error) => onError(error, calls);
  const one = (question) => html`<${Question} key=${question.id} run=${run} question=${question} onError=${failed} />`;
  return html`<section class="card approval" aria-labelledby="approval">
    <h2 id="approval">${t("approval_title")}</h2>
    ${run.answer_by && html`<p>${t("answer_by")} <${Time} at=${run.answer_by} /></p>`}
    <ul>${calls.map(one)}</ul>
  </section>`;
}
