// A conversation: what was said, a divider for each run, and what is said next.
import { Problem, client, useIdempotencyKey } from "../access.js";
import { Button, Empty, Link, Loading, Status, Time, html, isFinal, t, useEffect, usePages, useState } from "../base.js";
import { visible } from "../json.js";
import { Markdown } from "../markdown.js";
import { textOf, useRun } from "./run.js";

const said = (message) => (message.content === null ? "" : textOf([message]));

/** The run that is at work, as it goes on. */
function Live({ id, onEnd }) {
  const { view, error, retry } = useRun(id);
  const ended = view && isFinal(view.run);
  useEffect(() => {
    if (ended) onEnd();
  }, [ended]);
  return html`<div class="message assistant" role="log" aria-busy=${!ended}>
    ${error && html`<${Problem} error=${error} onRetry=${retry} />`}
    ${view?.text ? html`<${Markdown} text=${view.text} ended=${ended} />` : html`<p class="dim">${view ? view.run.waiting_text : t("loading")}</p>`}
    ${view?.run.required_action && html`<p class="notice"><${Link} to=${`/runs/${id}`}>${t("approval_title")}<//></p>`}
  </div>`;
}

function Turn({ run, messages, onEnd }) {
  const live = !isFinal(run);
  return html`<section class="of-run">
    <p class="divider"><${Link} to=${`/runs/${run.id}`}><${Status} status=${run.status} /> <${Time} at=${run.created_at} /><//></p>
    ${messages.map(
      (message, place) => html`<div key=${place} class=${`message ${message.role}`}>
      ${message.role === "user" ? html`<pre class="plain" dir="auto">${visible(said(message))}</pre>` : html`<${Markdown} text=${said(message)} ended=${true} />`}</div>`,
    )}
    ${live && html`<${Live} key=${run.id} id=${run.id} onEnd=${onEnd} />`}
  </section>`;
}

/** The runs of these pages, newest first, as a conversation: oldest first, each once, with what was said in it. */
function turnsOf(pages) {
  const found = new Map();
  for (const { runs, messages } of pages)
    for (const run of runs)
      if (!found.has(run.id)) found.set(run.id, { run, messages: messages.filter(({ run_id }) => run_id === run.id) });
  return [...found.values()].reverse();
}

export function Session({ id }) {
  const { pages, error, reload, next } = usePages((given) => client.session(id, { ...given, limit: 20 }), [id]);
  const [text, setText] = useState("");
  const [wrong, setWrong] = useState();
  const { keyOf, forget } = useIdempotencyKey();
  useEffect(() => void (document.title = `${t("session")} · Dormouse`), []);
  const [data] = pages;
  if (!data) return error ? html`<${Problem} title=${t("session")} error=${error} onRetry=${reload} />` : html`<${Loading} />`;
  const turns = turnsOf(pages);
  const keys = ({ key, ctrlKey, metaKey, target }) => {
    if (key === "Enter" && (ctrlKey || metaKey)) target.form.querySelector("button").click();
  };
  async function send() {
    if (!text.trim()) return;
    await client.submit({ input: text, session_id: id, stream: true }, { key: keyOf(text) });
    forget();
    setText("");
    reload();
  }
  return html`<article class="session"><header><h1>${t("session")}</h1><p class="dim">${data.agent} · ${t("last_activity")} <${Time} at=${data.last_activity} form="ago" /></p></header>
    ${error && html`<${Problem} error=${error} onRetry=${reload} />`}
    ${next && html`<${Button} onPress=${next} onError=${setWrong}>${t("older")}<//>`}
    ${turns.map(({ run, messages }) => html`<${Turn} key=${run.id} run=${run} messages=${messages} onEnd=${reload} />`)}
    ${!turns.length && html`<${Empty}>${t("no_messages")}<//>`}
    <form class="composer" onSubmit=${(event) => event.preventDefault()}>
      <label class="field">
        <span>${t("say_next")}</span>
        <textarea rows="3" dir="auto" value=${text} onInput=${(event) => setText(event.target.value)} onKeyDown=${keys}></textarea>
      </label>
      <${Problem} error=${wrong} />
      <div class="actions"><${Button} class="main" onPress=${send} onError=${setWrong} disabled=${Boolean(data.active_run)}>${t("send")}<//>
        ${data.active_run && html`<span class="dim">${t("wait_for_run")}</span>`}</div>
    </form>
  </article>`;
}
