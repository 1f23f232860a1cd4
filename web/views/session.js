// A conversation: what was said, a divider for each run, and what is said next.
import { Problem, client } from "../access.js";
import { Button, Empty, Link, Loading, Status, Time, html, isFinal, t, useEffect, useLoad, useRef, useState } from "../base.js";
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

export function Session({ id }) {
  const { data, error, reload } = useLoad((signal) => client.session(id, { signal, limit: 20 }), [id]);
  const [older, setOlder] = useState([]);
  const [text, setText] = useState("");
  const [wrong, setWrong] = useState();
  const sent = useRef({});
  useEffect(() => {
    document.title = `${t("session")} · Dormouse`;
    setOlder([]);
  }, [id]);
  if (!data) return error ? html`<${Problem} title=${t("session")} error=${error} onRetry=${reload} />` : html`<${Loading} />`;
  const pages = [data, ...older];
  const cursor = pages.at(-1).next_cursor;
  const seen = new Set();
  const runs = pages
    .flatMap((page) => page.runs)
    .filter((run) => !seen.has(run.id) && seen.add(run.id))
    .reverse();
  const messages = pages.flatMap((page) => page.messages);
  const keys = ({ key, ctrlKey, metaKey, target }) => {
    if (key === "Enter" && (ctrlKey || metaKey)) target.form.querySelector("button").click();
  };
  async function send() {
    if (!text.trim()) return;
    if (sent.current.text !== text) sent.current = { text, key: crypto.getRandomValues(new Uint32Array(4)).join("-") };
    await client.submit({ input: text, session_id: id, stream: true }, { key: sent.current.key });
    sent.current = {};
    setText("");
    reload();
  }
  return html`<article class="session"><header><h1>${t("session")}</h1><p class="dim">${data.agent} · ${t("last_activity")} <${Time} at=${data.last_activity} form="ago" /></p></header>
    ${error && html`<${Problem} error=${error} onRetry=${reload} />`}
    ${
      cursor &&
      html`<${Button} onPress=${async () => {
        const page = await client.session(id, { cursor, limit: 20 });
        setOlder((last) => [...last, page]);
      }} onError=${setWrong}>${t("older")}<//>`
    }
    ${runs.map((run) => html`<${Turn} key=${run.id} run=${run} messages=${messages.filter(({ run_id }) => run_id === run.id)} onEnd=${reload} />`)}
    ${!runs.length && html`<${Empty}>${t("no_messages")}<//>`}
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
