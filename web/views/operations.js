// For whoever runs the app: whether new runs are taken and anything begins, what is overdue or put aside, and what can be done.
import { Confirm, OperatorTrouble, Problem, sentence } from "../access.js";
import { Button, Dialog, Link, Loading, count, dayAndTime, html, repeatedly, t, useEffect, useRef, useState } from "../base.js";
import { visible } from "../json.js";
import { ask, beOperator, forgetOperator, useOperator } from "../operator.js";
import { WatchedList, merged, read } from "./watched.js";

/**
 * @typedef {import("../vendor/dormouse-client.js").Intake} Intake
 * @typedef {import("../vendor/dormouse-client.js").Drain} Drain
 * @typedef {import("../base.js").DormouseError} DormouseError
 * @typedef {import("./watched.js").Listed} Listed
 * @typedef {{ intake?: Intake, drain?: Drain, overdue?: Listed, quarantined?: Listed, at?: string, error?: DormouseError }} Seen
 */

const EVERY = 5000;
const SELDOM = 30_000; // what is at work is read off as many as 1,000 rows
const MOST = 60_000;
const PAGE = 20;

/** Whether the keyboard or the pointer is at a row of this list. */
const isInUse = (name) => document.querySelector(`[data-list="${name}"] li:is(:hover, :focus-within)`) !== null;

/** What an operator sees, read anew while the page is seen: seldom where answers take long, or the app says when. */
function useSeen() {
  const [seen, setSeen] = useState(/** @type {Seen} */ ({}));
  const [round, setRound] = useState(0);
  const latest = useRef(seen);
  latest.current = seen;
  const asked = useRef({ overdue: PAGE, quarantined: PAGE, drainAt: 0, held: new Set(/** @type {string[]} */ ([])) });
  useEffect(() => {
    const left = new AbortController();
    const { signal } = left;
    const keep = (more) => signal.aborted || setSeen((last) => ({ ...last, ...more }));
    const list = async (name) => {
      const fresh = await read(name, asked.current[name], signal);
      setSeen((last) => {
        const rows = merged(last[name]?.rows ?? [], fresh.rows, asked.current.held, isInUse(name));
        return signal.aborted ? last : { ...last, [name]: { ...fresh, rows } };
      });
    };
    const drain = async () => {
      const { intake, drain: known } = latest.current;
      const isOld = Date.now() - asked.current.drainAt >= SELDOM;
      if (known && !isOld && known.draining === intake?.draining && (!known.draining || known.drained)) return;
      asked.current.drainAt = Date.now();
      keep({ drain: await ask("GET", "drain", { signal }) });
    };
    const intake = async () => keep({ intake: await ask("GET", "intake", { signal }) });
    async function look() {
      if (document.hidden) return undefined;
      const begun = Date.now();
      const results = await Promise.allSettled([intake(), drain(), list("overdue"), list("quarantined")]);
      const error = results.find((each) => each.status === "rejected")?.reason;
      keep(error ? { error } : { error, at: new Date().toISOString() });
      return Math.min(MOST, Math.max(EVERY, 10 * (Date.now() - begun), 1000 * (error?.retryAfter ?? 0)));
    }
    const end = repeatedly(look, EVERY);
    return () => {
      left.abort();
      end();
    };
  }, [round]);
  /** Read again now. What was asked before that and comes later counts no more. @param {Seen} known */
  const again = (known = {}) => {
    setSeen((last) => ({ ...last, ...known }));
    asked.current.drainAt = 0;
    setRound((last) => last + 1);
  };
  return { seen, again, asked: asked.current };
}

// --- intake and drain ---

const since = (name, at) => (at ? t(`since_${name}`, { time: dayAndTime(at) }) : t(name));

/** @param {{ intake: Intake, onClose: () => void, onPause: (body: object) => Promise<void> }} given */
function Pause({ intake, onClose, onPause }) {
  const [reason, setReason] = useState(intake.reason ?? "");
  const [seconds, setSeconds] = useState(String(intake.retry_after_seconds));
  const [error, setError] = useState(/** @type {DormouseError | undefined} */ (undefined));
  const form = useRef(/** @type {any} */ (undefined));
  async function pause() {
    if (!form.current.reportValidity()) return;
    await onPause({ paused: true, reason: reason.trim() || null, retry_after_seconds: Number(seconds) });
  }
  return html`<${Dialog} title=${t("pause_title")} onClose=${onClose}><p>${t("pause_text")}</p>
    <form ref=${form} class="fields" onSubmit=${(event) => event.preventDefault()}>
      <label class="field"><span>${t("pause_reason")}</span>
        <input data-first maxlength="200" dir="auto" autocomplete="off" value=${reason} onInput=${(event) => setReason(event.target.value)} />
        <small class="dim">${t("pause_reason_hint")}</small></label>
      <label class="field"><span>${t("pause_seconds")}</span>
        <input type="number" required min="1" max="3600" value=${seconds} onInput=${(event) => setSeconds(event.target.value)} /></label>
      ${error && html`<p role="alert">${sentence(error)} <code>${error.code}</code></p>`}
      <div class="actions"><${Button} type="submit" class="main" onPress=${pause} onError=${setError}>${t("pause_yes")}<//>
        <button type="button" onClick=${onClose}>${t("back")}</button></div>
    </form>
  <//>`;
}

/** @param {{ intake: Intake, put: Function, onError: Function }} given */
function IntakeSection({ intake, put, onError }) {
  const [asks, setAsks] = useState(false);
  const { paused, reason, retry_after_seconds: seconds } = intake;
  const toggle = async () => (paused ? put("intake", { paused: false }, "told_resumed") : setAsks(true));
  const pause = async (body) => {
    await put("intake", body, "told_paused");
    setAsks(false);
  };
  return html`<section aria-labelledby="intake"><h2 id="intake">${t("intake")}</h2>
    <div class=${`card state ${paused || intake.draining ? "is-stopped" : ""}`}>
      <p><strong>${!paused && intake.draining ? t("intake_drained") : since(paused ? "intake_paused" : "intake_open", intake.since)}</strong></p>
      ${paused && html`<p>${t("intake_told", { seconds: count(seconds) })} ${reason ? html`<q dir="auto">${visible(reason)}</q>` : t("intake_no_reason")}</p>`}
      <div class="actions"><${Button} key="toggle" onPress=${toggle} onError=${(error) => onError(t("intake"), error)}>${t(paused ? "resume" : "pause")}<//>
        ${paused && html`<button type="button" onClick=${() => setAsks(true)}>${t("pause_change")}</button>`}</div>
    </div>
    ${asks && html`<${Pause} intake=${intake} onClose=${() => setAsks(false)} onPause=${pause} />`}
  </section>`;
}

/** What is still at work, in a sentence. @param {Drain} drain */
function working({ draining, drained, at_work: n, complete, looked_at }) {
  if (drained) return t("drained");
  const known = t(n ? "at_work" : "none_at_work", { n: count(n) });
  if (!complete) return `${known} ${t("not_all_looked_at", { n: count(looked_at) })}`;
  return draining && !n ? `${known} ${t("drained_soon")}` : known;
}

/** @param {{ drain: Drain, put: Function, onError: Function }} given */
function DrainSection({ drain, put, onError }) {
  const [asks, setAsks] = useState(false);
  const toggle = async () => (drain.draining ? put("drain", { draining: false }, "told_undrained") : setAsks(true));
  const begin = async () => {
    await put("drain", { draining: true }, "told_drained");
    setAsks(false);
  };
  const link = (id) => html`<li key=${id}><${Link} to=${`/runs/${id}`}><code>${id}</code><//></li>`;
  return html`<section aria-labelledby="drain"><h2 id="drain">${t("drain")}</h2>
    <div class=${`card state ${drain.draining ? "is-stopped" : ""}`}>
      <p><strong>${since(drain.draining ? "draining" : "not_draining", drain.since)}</strong></p>
      <p>${working(drain)}</p>
      ${drain.runs.length > 0 && html`<details><summary>${t("which_at_work")}</summary><ul>${drain.runs.map(link)}</ul></details>`}
      <div class="actions"><${Button} key="toggle" onPress=${toggle} onError=${(error) => onError(t("drain"), error)}>${t(drain.draining ? "drain_end" : "drain_begin")}<//></div>
    </div>
    ${asks && html`<${Confirm} title=${t("drain_title")} text=${t("drain_text")} yes=${t("drain_yes")} onClose=${() => setAsks(false)} onYes=${begin} />`}
  </section>`;
}

// --- the view ---

/** What has just happened: it is read out, and stays in sight wherever the page is scrolled to. */
function Told({ told, onClose }) {
  return html`<div class="told" role="status">${
    told &&
    html`<p class=${told.error ? "problem" : ""}>${told.text} ${told.error && html`${sentence(told.error)} <code>${told.error.code}</code>`}</p>
      <button type="button" class="quiet" onClick=${onClose}>${t("close")}</button>`
  }</div>`;
}

function Known() {
  const { seen, again, asked } = useSeen();
  const { intake, drain, overdue, quarantined, at, error } = seen;
  const [told, setTold] = useState(/** @type {{ text: string, error?: DormouseError } | undefined} */ (undefined));
  const [ends, setEnds] = useState(/** @type {import("./watched.js").Row | undefined} */ (undefined));
  if (!intake || !drain || !overdue || !quarantined)
    return error ? html`<${Problem} error=${error} onRetry=${again} />` : html`<${Loading} />`;
  const close = () => {
    setTold(undefined);
    document.getElementById("main")?.focus();
  };
  const failed = (text, problem) => setTold(problem && { text: `${text}:`, error: problem });
  async function put(name, body, words) {
    const answer = await ask("PUT", name, { body });
    setTold({ text: t(words) });
    again({ [name]: answer });
  }
  async function act(row, action) {
    const after = await ask("POST", `${row.kind === "batch" ? "batches" : "runs"}/${row.id}/${action}`);
    asked.held.add(row.id);
    setTold({ text: t(`told_${action}`, { id: row.id, status: after.status ? t(`status_${after.status}`) : t("unreadable") }) });
    const renewed = (list) => ({ ...list, rows: list.rows.map((each) => (each.id === row.id ? { ...each, ...after } : each)) });
    again({ overdue: renewed(overdue), quarantined: renewed(quarantined) });
  }
  async function press(row, action) {
    asked.held.add(row.id); // its dialog and its buttons stay, whatever becomes of it meanwhile
    if (action === "end") setEnds(row);
    else await act(row, action);
  }
  async function end() {
    await act(ends, "end");
    setEnds(undefined);
  }
  const wrong = (row, action, problem) => failed(row ? `${t(`ops_${action}`)} ${row.id}` : t("load_more"), problem);
  const list = (name, listed) => html`<${WatchedList} name=${name} rows=${listed.rows} isMore=${listed.isMore} onAct=${press} onError=${wrong}
    onMore=${async () => {
      asked[name] = Math.max(asked[name], listed.rows.length) + PAGE;
      const more = await read(name, asked[name]);
      again({ [name]: { ...more, rows: merged(listed.rows, more.rows, asked.held) } });
    }}
    onClear=${() => {
      asked.held.clear();
      again();
    }} />`;
  return html`<div class="operations">
    <div class="states"><${IntakeSection} intake=${intake} put=${put} onError=${failed} /><${DrainSection} drain=${drain} put=${put} onError=${failed} /></div>
    ${list("overdue", overdue)}${list("quarantined", quarantined)}
    <p class="dim">${t("watched", { n: count(overdue.watched) + (overdue.watched >= 1000 ? "+" : "") })}</p>
    <div class="actions"><button type="button" onClick=${forgetOperator}>${t("operator_forget")}</button></div>
    ${
      ends &&
      html`<${Confirm} title=${t(`ops_end_${ends.kind}_title`)} text=${`${ends.id}. ${t(`ops_end_${ends.kind}`)}`}
        yes=${t(`ops_end_${ends.kind}_yes`)} onYes=${end} onClose=${() => setEnds(undefined)} />`
    }
    <div class="foot">
      ${
        error &&
        html`<p class="notice" role="status">${t("not_renewed")} ${sentence(error)} <code>${error.code}</code>
          ${at && ` ${t("as_of", { time: dayAndTime(at) })}`}</p>`
      }
      <${Told} told=${told} onClose=${close} />
    </div>
  </div>`;
}

function KeyForm() {
  const [value, setValue] = useState("");
  function keep(event) {
    event.preventDefault();
    beOperator(value.trim());
  }
  return html`<form class="card" onSubmit=${keep}><p>${t("operator_text")}</p>
    <label class="field"><span>${t("operator_key")}</span>
      <input type="password" autocomplete="off" required value=${value} onInput=${(event) => setValue(event.target.value)} /></label>
    <div class="actions"><button class="main">${t("operator_use")}</button></div>
  </form>`;
}

export function Operations() {
  const { is, error } = useOperator();
  useEffect(() => {
    document.title = `${t("operations")} · Dormouse`;
  }, []);
  useEffect(() => {
    // What the keyboard was at has gone with what was here.
    if (document.activeElement === document.body) document.getElementById("main")?.focus();
  }, [is]);
  return html`<article><h1>${t("operations")}</h1>
    ${is === "taken" && html`<${Known} />`}
    ${is === "unknown" && (error?.status === 401 ? html`<${Problem} error=${error} onRetry=${() => beOperator("")} />` : !error && html`<${Loading} />`)}
    ${is !== "taken" && html`<${OperatorTrouble} />`}
    ${(is === "none" || is === "refused") && html`<${KeyForm} />`}
  </article>`;
}
