// Hand in a task.
import { Problem, client, useIdempotencyKey } from "../access.js";
import { Button, Empty, Loading, html, t, useEffect, useLoad, useRef, useState } from "../base.js";
import { navigate } from "../router.js";

const DRAFT = "dormouse-draft";

/** What was written but not handed in outlives a reload. */
function useDraft() {
  const [draft, setDraft] = useState(() => {
    try {
      return JSON.parse(sessionStorage.getItem(DRAFT) ?? "{}");
    } catch {
      return {};
    }
  });
  const change = (more) =>
    setDraft((last) => {
      const next = { ...last, ...more };
      sessionStorage.setItem(DRAFT, JSON.stringify(next));
      return next;
    });
  return [draft, change, () => sessionStorage.removeItem(DRAFT)];
}

const asked = (agent) => agent.tools.filter((tool) => tool.requires_approval).map((tool) => tool.name);

function AgentCard({ agent, chosen, onChoose }) {
  const questions = asked(agent);
  return html`<label class=${`card agent ${chosen ? "is-chosen" : ""}`}>
    <input type="radio" name="agent" value=${agent.name} checked=${chosen} onChange=${() => onChoose(agent.name)} />
    <strong>${agent.name}</strong>
    <span>${agent.description}</span>
    ${agent.tools.length > 0 && html`<span class="dim">${t("its_tools")} ${agent.tools.map((tool, place) => html`${place ? ", " : ""}<span title=${tool.description}>${tool.name}</span>`)}</span>`}
    ${questions.length > 0 && html`<span class="asks">${t("asks_before", { tools: questions.join(", ") })}</span>`}
  </label>`;
}

const Field = ({ label, hint, children }) =>
  html`<label class="field"><span>${label}</span>${children}${hint && html`<small class="dim">${hint}</small>`}</label>`;

/** Lines `name = value` as an object; undefined when there is none. */
function notes(text = "") {
  const lines = text.split("\n").filter((line) => line.trim());
  return lines.length
    ? Object.fromEntries(lines.map((line) => [line.split("=")[0].trim(), line.split("=").slice(1).join("=").trim()]))
    : undefined;
}

const numeric = (value) => (value ? Number(value) : undefined);

function requestOf(draft, agent) {
  const limits = { turns: numeric(draft.turns), tool_calls: numeric(draft.tool_calls), total_tokens: numeric(draft.total_tokens) };
  const given = {
    input: draft.input,
    agent: agent.name,
    stream: draft.stream ?? true,
    title: draft.title?.trim() || undefined,
    model: draft.model || undefined,
    session_id: draft.session_id?.trim() || undefined,
    deadline_seconds: draft.deadline ? Number(draft.deadline) * 60 : undefined,
    callback_url: draft.callback_url?.trim() || undefined,
    metadata: notes(draft.metadata),
    limits: Object.values(limits).some((each) => each !== undefined) ? limits : undefined,
  };
  return JSON.parse(JSON.stringify(given)); // what is undefined is left out
}

function More({ draft, change, agent }) {
  const bind = (name) => ({ value: draft[name] ?? "", onInput: (event) => change({ [name]: event.target.value }) });
  return html`<details class="more"><summary>${t("more_options")}</summary><div class="fields-grid">
    <${Field} label=${t("title")} hint=${t("title_hint")}><input maxlength="200" dir="auto" ...${bind("title")} /><//>
    ${
      agent.models.length > 1 &&
      html`<${Field} label=${t("model")}>
        <select ...${bind("model")}><option value="">${t("its_own")}</option>${agent.models.map((each) => html`<option>${each}</option>`)}</select>
      <//>`
    }
    <${Field} label=${t("session")} hint=${t("session_hint")}><input pattern="[0-9a-f]{32}" spellcheck="false" ...${bind("session_id")} /><//>
    <${Field} label=${t("deadline")} hint=${t("deadline_hint")}><input type="number" min="1" step="any" ...${bind("deadline")} /><//>
    <${Field} label=${t("limit_turns")}><input type="number" min="1" ...${bind("turns")} /><//>
    <${Field} label=${t("limit_calls")}><input type="number" min="1" ...${bind("tool_calls")} /><//>
    <${Field} label=${t("limit_tokens")}><input type="number" min="1" ...${bind("total_tokens")} /><//>
    <${Field} label=${t("callback")} hint=${t("callback_hint")}><input type="url" ...${bind("callback_url")} /><//>
    <${Field} label=${t("metadata")} hint=${t("metadata_hint")}><textarea rows="2" spellcheck="false" ...${bind("metadata")}></textarea><//>
    <label class="toggle"><input type="checkbox" checked=${draft.stream ?? true} onChange=${(event) => change({ stream: event.target.checked })} />${t("live_text")}</label>
  </div></details>`;
}

export function New() {
  const { data, error, reload } = useLoad((signal) => client.agents({ signal }), []);
  const [draft, change, forget] = useDraft();
  const [wrong, setWrong] = useState();
  const form = useRef(/** @type {any} */ (undefined));
  const { keyOf } = useIdempotencyKey();
  useEffect(() => void (document.title = `${t("new_run")} · Dormouse`), []);
  if (error) return html`<${Problem} title=${t("new_run")} error=${error} onRetry=${reload} />`;
  if (!data) return html`<${Loading} />`;
  if (!data.data.length) return html`<${Empty}>${t("no_agents")}<//>`;
  const agent = data.data.find(({ name }) => name === draft.agent) ?? data.data[0];
  async function start() {
    if (!form.current.reportValidity()) return;
    const request = requestOf(draft, agent);
    const run = await client.submit(request, { key: keyOf(JSON.stringify(request)) });
    forget();
    navigate(`/runs/${run.id}`, run);
  }
  const write = (event) => change({ input: event.target.value });
  const keys = (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.current.querySelector("button.main").click();
  };
  return html`<form ref=${form} class="new" onSubmit=${(event) => event.preventDefault()} onKeyDown=${keys}>
    <h1>${t("new_run")}</h1>
    <fieldset class="agents"><legend>${t("agent")}</legend>
      ${data.data.map((each) => html`<${AgentCard} key=${each.name} agent=${each} chosen=${each === agent} onChoose=${(name) => change({ agent: name, model: "" })} />`)}
    </fieldset>
    <${Field} label=${t("task")}>
      <textarea name="input" rows="6" required dir="auto" placeholder=${t("task_hint")} value=${draft.input ?? ""} onInput=${write}></textarea>
    <//>
    <${More} draft=${draft} change=${change} agent=${agent} />
    <${Problem} error=${wrong} />
    <div class="actions"><${Button} class="main" onPress=${start} onError=${setWrong}>${t("start")}<//><span class="dim">${t("start_hint")}</span></div>
  </form>`;
}
