// The page: which view the address names, and what stands around it.
import { OperatorTrouble, Problem, token } from "./access.js";
import { Link, Loading, html, render, t, useEffect, useRef, useState } from "./base.js";
import { beOperator, useOperator } from "./operator.js";
import { useAddress } from "./router.js";
import { New } from "./views/new.js";
import { Run } from "./views/run.js";
import { Runs } from "./views/runs.js";
import { choose, language, languages } from "./words.js";

// What few visits need is loaded when it is asked for.
const SESSION = () => import("./views/session.js").then(({ Session }) => Session);
const BATCH = () => import("./views/batch.js").then(({ Batch }) => Batch);
const OPERATIONS = () => Promise.all([import("./views/operations.js"), import("./views/watched.js")]).then(([{ Operations }]) => Operations);
const ABOUT = () => import("./views/about.js").then(({ About }) => About);

/** A view that has to be loaded first. */
function Later({ load, ...given }) {
  const [state, setState] = useState(/** @type {{ View?: Function, error?: Error }} */ ({}));
  const get = () =>
    load().then(
      (View) => setState({ View }),
      (error) => setState({ error }),
    );
  useEffect(() => void get(), []);
  if (state.error) return html`<${Problem} error=${Object.assign(state.error, { code: "network_error" })} onRetry=${get} />`;
  return state.View ? html`<${state.View} ...${given} />` : html`<${Loading} />`;
}

/** @type {[RegExp, (id: string, state?: any) => unknown][]} */
const VIEWS = [
  [/^\/(?:new)?$/, () => html`<${New} />`],
  [/^\/runs$/, () => html`<${Runs} />`],
  [/^\/runs\/(run_[0-9a-f]{32}_[0-9]{1,8})$/, (id, state) => html`<${Run} key=${id} id=${id} start=${state} />`],
  [/^\/sessions\/([0-9a-f]{32})$/, (id) => html`<${Later} key=${id} load=${SESSION} id=${id} />`],
  [/^\/batches\/(batch_[0-9a-f]{32})$/, (id) => html`<${Later} key=${id} load=${BATCH} id=${id} />`],
  [/^\/operations$/, () => html`<${Later} key="operations" load=${OPERATIONS} />`],
  [/^\/about$/, () => html`<${Later} key="about" load=${ABOUT} />`],
];

/** @param {ReturnType<typeof useAddress>} address */
function view({ path, state }) {
  for (const [pattern, show] of VIEWS) {
    const found = pattern.exec(path);
    if (found) return show(found[1], state);
  }
  return html`<div><h1>${t("no_such_page")}</h1><p><${Link} to="/runs">${t("runs")}<//></p></div>`;
}

const PLACES = [
  ["/", "new"],
  ["/runs", "runs"],
  ["/about", "about"],
];

const toMain = () => document.getElementById("main")?.focus();

/** @param {{ path: string, operator: ReturnType<typeof useOperator> }} given */
const Header = ({ path, operator }) => {
  const places = operator.is === "taken" ? [...PLACES, ["/operations", "operations"]] : PLACES;
  // A button, not a link to `#main`: the fragment may hold a token.
  return html`<header class="top"><button type="button" class="skip" onClick=${toMain}>${t("skip")}</button>
  <span class="brand">Dormouse</span>
  ${!token && html`<nav aria-label=${t("main")}>${places.map(([to, name]) => html`<${Link} key=${to} to=${to} aria-current=${path === to ? "page" : undefined}>${t(`nav_${name}`)}<//>`)}</nav>`}
  <label class="language">
    <span class="unseen">${t("language")}</span>
    <select value=${language} onChange=${(event) => choose(event.target.value)}>
      ${Object.entries(languages).map(([code, name]) => html`<option key=${code} value=${code} lang=${code}>${name}</option>`)}
    </select>
  </label>
</header>`;
};

function App() {
  const address = useAddress();
  const operator = useOperator();
  const main = useRef(/** @type {any} */ (undefined));
  const first = useRef(true);
  useEffect(() => {
    if (operator.is === "unknown") beOperator("");
  }, []);
  useEffect(() => {
    // After a change of view the keyboard goes on in the new one.
    if (first.current) first.current = false;
    else main.current.focus();
  }, [address.path]);
  return html`<${Header} path=${address.path} operator=${operator} />
    <main id="main" ref=${main} tabindex="-1">${address.path !== "/operations" && html`<${OperatorTrouble} />`}${view(address)}</main>`;
}

document.documentElement.lang = language;
const root = /** @type {HTMLElement} */ (document.getElementById("page"));
root.replaceChildren();
render(html`<${App} />`, root);
