// What this app is: its agents, whether it is well, and what a watching tab costs.
import { Problem, client, sentence } from "../access.js";
import { Empty, Link, Loading, html, t, useEffect, useLoad } from "../base.js";
import { headers } from "../keys.js";

/** Asked for as it is: an app that is unwell answers 503, with what is wrong in the body. */
const body = async (address, signal) => {
  const reply = await fetch(address, { headers: headers(), signal });
  const content = await reply.json().catch(() => undefined);
  if (content === undefined) throw Object.assign(new Error(`HTTP ${reply.status}`), { status: reply.status, code: `http_${reply.status}` });
  return content;
};

function said({ status, unknown = [] }) {
  if (status === "ok") return t("well");
  return status === "warning" ? t("unknown_settings", { names: unknown.join(", ") }) : t("unwell");
}

const Check = ({ name, check }) => html`<dt>${t(`check_${name}`)}</dt>
  <dd>${said(check)} <span class="dim">${check.detail} ${check.watched !== undefined && t("watched", { n: check.watched })}</span></dd>`;

function Health() {
  const { data, error } = useLoad((signal) => body("/api/health/deep", signal), []);
  if (error) return html`<p>${sentence(error)}</p>`;
  if (!data) return html`<${Loading} />`;
  if (!data.checks) return html`<p role="alert">${data.detail ?? t("unwell")}</p>`;
  return html`<dl class="fields">${Object.entries(data.checks).map(([name, check]) => html`<${Check} key=${name} name=${name} check=${check} />`)}<dt>${t("driver")}</dt><dd>${data.driver}</dd></dl>`;
}

const Tool = ({ tool }) => html`<dt><code>${tool.name}</code></dt>
  <dd>${tool.description} ${tool.requires_approval && html`<strong>${t("asks_person")}</strong>`}</dd>`;

const Agent = ({ agent }) => html`<section class="card"><h3>${agent.name}</h3><p>${agent.description}</p>
  ${agent.tools.length > 0 && html`<dl class="fields">${agent.tools.map((tool) => html`<${Tool} key=${tool.name} tool=${tool} />`)}</dl>`}
  <p class="dim">${t("models")} ${agent.models.join(", ") || t("its_own")}${agent.background ? "" : ` · ${t("not_background")}`}</p></section>`;

export function About() {
  const { data, error, reload } = useLoad((signal) => client.agents({ signal }), []);
  useEffect(() => void (document.title = `${t("about")} · Dormouse`), []);
  return html`<article class="about"><h1>${t("about")}</h1><p>${t("about_text")}</p>
    <h2>${t("health")}</h2><${Health} />
    <h2>${t("agents")}</h2>
    ${error ? html`<${Problem} error=${error} onRetry=${reload} />` : !data && html`<${Loading} />`}
    ${data?.data.map((agent) => html`<${Agent} key=${agent.name} agent=${agent} />`)}
    ${data?.data.length === 0 && html`<${Empty}>${t("no_agents")}<//>`}
    <h2>${t("watching")}</h2><p>${t("watching_text")}</p>
    <h2>${t("for_programs")}</h2><p>${t("for_programs_text")} <a href="/api/openapi.json" target="_blank">${t("contract")}</a></p>
    <h2>${t("for_operators")}</h2><p>${t("for_operators_text")} <${Link} to="/operations">${t("operations")}<//></p>
    <p class="dim">${t("version")} ${document.documentElement.dataset.version}</p>
  </article>`;
}
