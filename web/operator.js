// The operator's calls, `/api/ops`: the only ones that the operator's key is sent with.
import { useEffect, useState } from "./base.js";
import { headers, keepOperatorKey, operatorKey } from "./keys.js";
import { DormouseError } from "./vendor/dormouse-client.js";

const TAKEN = "dormouse-operator";
// No key has other characters, and such a header may stop the app's worker (SECURITY.md).
const VISIBLE = /^[!-~]+$/;

/**
 * Where this tab stands with the app as an operator: `none` has no key; `unknown` has one that the app has not answered
 * to yet, with the error if that was tried; `taken`; `refused`; `off`: the app has no such calls.
 * @typedef {{ is: "none" | "unknown" | "taken" | "refused" | "off", error?: DormouseError }} Standing
 */

/** @type {Standing} */
let standing = { is: !operatorKey() ? "none" : sessionStorage.getItem(TAKEN) ? "taken" : "unknown" };
const changed = new EventTarget();

/** @param {Standing} next */
function stand(next) {
  if (next.is === "taken") sessionStorage.setItem(TAKEN, "yes");
  else sessionStorage.removeItem(TAKEN);
  if (next.is === standing.is && next.error === standing.error) return;
  standing = next;
  changed.dispatchEvent(new Event("change"));
}

export function useOperator() {
  const [now, setNow] = useState(standing);
  useEffect(() => {
    const moved = () => setNow(standing);
    moved();
    changed.addEventListener("change", moved);
    return () => changed.removeEventListener("change", moved);
  }, []);
  return now;
}

/** Keep this key, and see whether the app takes it. Without one: see whether it takes the one that is kept. */
export async function beOperator(key) {
  if (key) keepOperatorKey(key);
  const kept = operatorKey();
  if (!kept) return;
  if (!VISIBLE.test(kept)) return stand({ is: "refused", error: new DormouseError("invalid_operator_key", "It has other characters.") });
  stand({ is: "unknown" });
  await ask("GET", "intake").catch((error) => standing.is === "unknown" && stand({ is: "unknown", error }));
}

export function forgetOperator() {
  keepOperatorKey("");
  stand({ is: "none" });
}

/** Whether an answer says that the key is not the operator's, or that the app has none; undefined where it says neither. */
export function said({ status, code }) {
  if (code === "invalid_operator_key" || status === 403) return "refused";
  // A run that is not there has a code of its own. A version without these calls has none.
  return status === 404 && ["not_found", "http_404"].includes(code) ? "off" : undefined;
}

/**
 * One call of an operator: `where` is what stands behind `/api/ops/`. Raises ``DormouseError``.
 * @param {"GET" | "PUT" | "POST"} method
 * @param {string} where
 * @param {{ body?: object, signal?: AbortSignal }} [more]
 * @returns {Promise<any>}
 */
export async function ask(method, where, { body, signal } = {}) {
  const key = operatorKey() ?? "";
  const json = body && { "Content-Type": "application/json" };
  const all = { ...headers(), "x-dormouse-operator-key": key, ...json };
  let reply;
  try {
    const init = { method, headers: all, signal: signal ?? null, body: body ? JSON.stringify(body) : null };
    reply = await fetch(`/api/ops/${where}`, init);
  } catch (cause) {
    signal?.throwIfAborted();
    throw new DormouseError(navigator.onLine ? "network_error" : "offline", "There was no answer.", { cause });
  }
  const content = await reply.json().catch(() => undefined);
  signal?.throwIfAborted();
  if (reply.ok && !content) throw new DormouseError("unexpected_response", "The answer is not Dormouse's.", { status: reply.status });
  const error = reply.ok ? undefined : refusal(reply, content ?? {});
  const is = error ? said(error) : "taken";
  // Another key may have been typed in meanwhile.
  if (is && key === operatorKey()) stand(error ? { is, error } : { is });
  if (error) throw error;
  return content;
}

function refusal(reply, problem) {
  const retryAfter = parseInt(reply.headers.get("Retry-After") ?? "");
  const known = { status: reply.status, problem, retryAfter: retryAfter >= 0 ? retryAfter : undefined };
  return new DormouseError(problem.code ?? `http_${reply.status}`, problem.detail ?? `The server answered ${reply.status}.`, known);
}
