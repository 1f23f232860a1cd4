// How the page gets at the app: with the platform's sign-in, with a key that an operator types in, or with a run's token.
import { Button, Dialog, Link, html, t, useRef, useState } from "./base.js";
import { functionKey, headers, keepFunctionKey } from "./keys.js";
import { beOperator, forgetOperator, useOperator } from "./operator.js";
import { Dormouse } from "./vendor/dormouse-client.js";

const { auth, login } = document.documentElement.dataset;
const SENT_AWAY = "dormouse-signing-in";

/** The token of one run, for who has nothing else. It never leaves the fragment but in a header. */
export const token = new URLSearchParams(location.hash.slice(1)).get("token") ?? "";

export const client = new Dormouse(token ? { token, retries: 2 } : { headers, retries: 2 });

export const needsKey = auth === "key";

function signIn() {
  sessionStorage.setItem(SENT_AWAY, String(Date.now()));
  const here = location.pathname + location.search + location.hash;
  location.assign(`${login}?post_login_redirect_uri=${encodeURIComponent(here)}`);
}

/** Somebody who was sent to sign in a moment ago, and still has no access, is not sent again by itself. */
const wasJustSent = () => Date.now() - Number(sessionStorage.getItem(SENT_AWAY)) < 30_000;

function KeyForm({ onRetry }) {
  const [value, setValue] = useState("");
  const [operators, setOperators] = useState("");
  function keep(event) {
    event.preventDefault();
    keepFunctionKey(value.trim());
    beOperator(operators.trim());
    onRetry();
  }
  return html`<form class="card key" onSubmit=${keep}>
    <h1>${t("key_title")}</h1>
    <p>${t(functionKey() ? "key_wrong" : "key_text")}</p>
    <label>${t("key_label")}<input type="password" autocomplete="off" required value=${value} onInput=${(event) => setValue(event.target.value)} /></label>
    <label>${t("operator_key_too")}<input type="password" autocomplete="off" value=${operators} onInput=${(event) => setOperators(event.target.value)} /></label>
    <button class="main">${t("key_use")}</button>
  </form>`;
}

/**
 * The idempotency key of a text: the same while the text is, so that it is one run if it is sent again after an answer
 * that was lost. Once it is handed in, `forget` it: the same text is then another run.
 */
export function useIdempotencyKey() {
  const last = useRef(/** @type {{ text?: string, key?: string }} */ ({}));
  function keyOf(text) {
    if (last.current.text !== text) last.current = { text, key: crypto.getRandomValues(new Uint32Array(4)).join("-") };
    return last.current.key;
  }
  return { keyOf, forget: () => void (last.current = {}) };
}

/** What an error says to people, in their language where there is a sentence for it. */
export function sentence(error) {
  if (error.status === 401) return t(token ? "error_token" : "error_401");
  for (const name of [`error_${error.code}`, `error_${error.status}`]) if (t.has(name)) return t(name, { detail: error.message });
  return error.message;
}

/** An error as a sentence with the next step. */
export function Problem({ title, error, onRetry }) {
  if (!error) return null;
  if (error.status === 401 && !token) {
    if (auth === "appservice") {
      if (!wasJustSent()) signIn();
      return html`<div class="card problem" role="alert"><h1>${t("sign_in")}</h1><p>${t("sign_in_text")}</p><button type="button" class="main" onClick=${signIn}>${t("sign_in")}</button><p><${Link} to="/operations">${t("operator_enter")}<//></p></div>`;
    }
    if (auth === "key") return html`<${KeyForm} onRetry=${onRetry} />`;
  }
  const known = sentence(error);
  const more = error.problem?.errors?.map(({ field, problem }) => html`<li><code>${field}</code> ${problem}</li>`);
  const detail = known !== error.message && error.message && html`<p class="dim">${error.message}</p>`;
  return html`${title && html`<h1>${title}</h1>`}<div class="card problem" role="alert">
    <p>${known}</p>
    ${more?.length ? html`<ul>${more}</ul>` : detail}
    <p class="dim"><code>${error.code ?? error.name}</code></p>
    ${onRetry && html`<${Button} onPress=${async () => onRetry()}>${t("try_again")}<//>`}
  </div>`;
}

/** What is wrong with the operator's key, and what to do about it; nothing where nothing is. */
export function OperatorTrouble() {
  const { is, error } = useOperator();
  // Without a function key nobody could see whether the operator's is right: the view asks for that first.
  if (!error || (is === "unknown" && error.status === 401)) return null;
  return html`<div class="card problem" role="alert"><p>${t(`operator_${is}`)} ${is === "unknown" && sentence(error)}</p><p class="dim"><code>${error.code}</code></p>
    <div class="actions">${is !== "refused" && html`<${Button} onPress=${() => beOperator("")}>${t("try_again")}<//>`}<button type="button" onClick=${forgetOperator}>${t("operator_forget")}</button></div></div>`;
}

/** Asks before something that cannot be taken back. */
export function Confirm({ title, text, yes, onYes, onClose }) {
  const [error, setError] = useState(/** @type {import("./base.js").DormouseError | undefined} */ (undefined));
  return html`<${Dialog} title=${title} onClose=${onClose}><p>${text}</p>
    ${error && html`<p role="alert">${sentence(error)} <code>${error.code}</code></p>`}
    <div class="actions"><${Button} class="danger" onError=${setError} onPress=${onYes}>${yes}<//><button type="button" data-first onClick=${onClose}>${t("back")}</button></div>
  <//>`;
}
