// One run: what it is at, what it has said, what it asks, what it took.
import { Confirm, Problem, client, needsKey, sentence, token } from "../access.js";
import {
  Button,
  Copy,
  Dialog,
  Link,
  Loading,
  Status,
  Time,
  begins,
  count,
  dayAndTime,
  duration,
  html,
  isFinal,
  isLater,
  t,
  useEffect,
  useNow,
  useRef,
  useState,
} from "../base.js";
import { Output, visible } from "../json.js";
import { Markdown } from "../markdown.js";
import { navigate } from "../router.js";
import { Timeline } from "../timeline.js";
import { Approval, Calls, decided, standing } from "./calls.js";
import { snippets } from "./snippets.js";

/**
 * @typedef {import("../vendor/dormouse-client.js").View} View
 * @typedef {import("../vendor/dormouse-client.js").Connection} ConnectionState
 * @typedef {import("../vendor/dormouse-client.js").RunInput} RunInput
 * @typedef {import("../vendor/dormouse-client.js").RunBody} RunBody
 * @typedef {import("../base.js").DormouseError} DormouseError
 * @typedef {{ view?: View, connection?: ConnectionState, error?: DormouseError }} Watched
 */

/** A run as it goes on: `{ view, error, connection, retry }`. */
export function useRun(id, start) {
  const [state, setState] = useState(
    () => /** @type {Watched} */ ({ view: start && { run: start, text: start.text ?? "", connection: { state: "connecting" } } }),
  );
  const [round, setRound] = useState(0);
  useEffect(() => {
    const left = new AbortController();
    const keep = (more) => left.signal.aborted || setState((last) => ({ ...last, ...more }));
    keep({ error: undefined });
    (async () => {
      const options = { signal: left.signal, onConnection: (connection) => keep({ connection }) };
      for await (const view of client.watch(start?.tool_calls ? start : id, options)) keep({ view, connection: view.connection });
    })().catch((error) => keep({ error }));
    return () => left.abort();
  }, [id, round]);
  return { ...state, retry: () => setRound((last) => last + 1) };
}

/** The timeline, read anew when something has happened, at most every two seconds. */
function useTimeline(run) {
  const [timeline, setTimeline] = useState(/** @type {import("../vendor/dormouse-client.js").Timeline | undefined} */ (undefined));
  const last = useRef(0);
  const happened = run && [run.id, run.status, run.wakes, run.turn, run.tool_calls.filter((call) => call.finished_at).length].join();
  useEffect(() => {
    if (!run || token) return undefined;
    const left = new AbortController();
    const timer = setTimeout(
      () => {
        last.current = Date.now();
        client.timeline(run, { signal: left.signal }).then(setTimeline, () => {}); // the next change reads it again
      },
      Math.max(0, last.current + 2000 - Date.now()),
    );
    return () => {
      clearTimeout(timer);
      left.abort();
    };
  }, [happened]);
  return timeline?.run_id === run?.id ? timeline : undefined;
}

// --- head ---

/** What it waits for, as a sentence, with the time until the next look counted down. */
function waitingSentence(run, now) {
  if (isFinal(run))
    return run.status === "failed"
      ? (run.error?.message ?? t("ended_failed"))
      : t(`ended_${run.status}`, { reason: run.incomplete_details?.reason ?? "" });
  if (run.waiting_for === "start") return isLater(run, now) ? t("waiting_start", { time: dayAndTime(run.start_at) }) : t("waiting_room");
  const text = t.has(`waiting_${run.waiting_for}`) ? t(`waiting_${run.waiting_for}`) : run.waiting_text;
  const left = run.wake_at ? Math.ceil((new Date(run.wake_at).getTime() - now) / 1000) : undefined;
  if (left === undefined || !["provider", "retry"].includes(run.waiting_for)) return text;
  return `${text} ${left > 0 ? t("next_look", { time: duration(left) }) : t("looking")}`;
}

function Figures({ run, now }) {
  const sinceSubmit = (now - begins(run)) / 1000; // by this device's clock, a second old at most
  const elapsed = run.elapsed_seconds ?? Math.max(sinceSubmit, run.active_seconds);
  const worked = t("worked_of", { active: duration(run.active_seconds), elapsed: duration(elapsed) });
  return html`<p class="worked">${isLater(run, now) ? t("starts_in", { time: duration(-sinceSubmit) }) : worked}</p>
    <dl class="figures">
      <div><dt>${t("wakes")}</dt><dd>${count(run.wakes)}</dd></div>
      <div><dt>${t("turns")}</dt><dd>${count(run.turn)}</dd></div>
      <div><dt>${t("tokens")}</dt><dd title=${t("tokens_of", { input: count(run.usage.input_tokens), output: count(run.usage.output_tokens) })}>${count(run.usage.total_tokens)}</dd></div>
      <div><dt>${t("submitted")}</dt><dd><${Time} at=${run.created_at} /></dd></div>
      <div><dt>${t("agent")}</dt><dd>${run.agent}</dd></div>
    </dl>`;
}

/** The one line that is read out: status and connection. What counts down is not in it. */
function Announcement({ run, connection }) {
  const parts = [t(`status_${run.status}`)];
  if (connection?.state === "lost" && !isFinal(run)) parts.push(t("reconnecting"));
  if (run.progress && !isFinal(run)) parts.push(run.progress.message);
  return html`<p class="unseen" role="status">${parts.join(". ")}</p>`;
}

function Connection({ run, connection, now }) {
  const since = useRef(now);
  useEffect(() => void (since.current = Date.now()), [connection]);
  if (isFinal(run) || connection?.state !== "lost") return null;
  const left = connection.retryIn === undefined ? 0 : Math.ceil(connection.retryIn - (now - since.current) / 1000);
  return html`<p class="notice">${t(navigator.onLine ? "reconnecting" : "offline")} ${left > 1 ? t("retry_in", { time: duration(left) }) : ""} ${t("goes_on")}</p>`;
}

// --- what it says ---

function Input({ run }) {
  const [whole, setWhole] = useState(/** @type {{ data?: RunInput, error?: DormouseError } | undefined} */ (undefined));
  const isCut = run.input_preview.length >= 200;
  const open = (event) => {
    if (event.target.open && isCut && !token && !whole)
      client.input(run).then(
        (data) => setWhole({ data }),
        (error) => setWhole({ error }),
      );
  };
  const text = whole?.data ? textOf(whole.data.input) : run.input_preview;
  return html`<details class="task" onToggle=${open}><summary><strong>${t("task")}</strong><span class="dim" dir="auto"> ${visible(run.input_preview.slice(0, 120))}</span></summary>
    <pre class="plain" dir="auto">${visible(text)}${isCut && !whole ? "…" : ""}</pre>${whole?.error && html`<p role="alert">${sentence(whole.error)}</p>`}
  </details>`;
}

export function textOf(messages) {
  const part = (one) => one.text ?? t("attachment", { name: one.filename ?? one.type ?? "" });
  return messages.map(({ content }) => (typeof content === "string" ? content : (content ?? []).map(part).join("\n"))).join("\n\n");
}

function Text({ run, text, stale }) {
  const [plain, setPlain] = useState(false);
  const ended = isFinal(run);
  const structured = ended && run.output !== null && run.output !== undefined;
  const idle = !ended && !text;
  return html`<section class="answer" aria-labelledby="answer"><header><h2 id="answer">${t(structured ? "result_title" : "text_title")}</h2>
      ${
        text &&
        html`<label class="toggle"><input type="checkbox" checked=${plain} onChange=${(event) => setPlain(event.target.checked)} />${t(structured ? "as_json" : "as_plain")}</label>
        <${Copy} text=${text}>${t("copy_text")}<//>`
      }</header>
    <div role="log" aria-busy=${!ended} aria-label=${t("text_title")} class=${stale ? "stale" : ""}>
      ${plain ? html`<pre class="plain" dir="auto" data-text>${text}</pre>` : structured ? html`<${Output} value=${run.output} />` : text ? html`<${Markdown} text=${text} ended=${ended} />` : null}
    </div>
    ${stale && !ended && html`<p class="dim">${t("stale")}</p>`}
    ${idle && html`<p class="empty">${t(run.stream ? "no_text_yet" : "no_live_text")}</p>`}
    ${ended && !text && html`<p class="empty">${t("no_text")}</p>`}
    <${Reasoning} run=${run} /><${Sources} run=${run} />
  </section>`;
}

const Reasoning = ({ run }) =>
  run.reasoning.length > 0 &&
  html`<details>
    <summary>${t("reasoning")}</summary>
    ${run.reasoning.map(
      ({ turn, text }) => html`<div key=${turn}><h3>${t("turn_n", { n: turn })}</h3><${Markdown} text=${text} ended=${true} /></div>`,
    )}
  </details>`;

function Sources({ run }) {
  const found = run.annotations.filter((each) => each.url && /^https?:/i.test(each.url));
  const one = [...new Map(found.map((each) => [each.url, each])).values()];
  if (!one.length) return null;
  return html`<details open><summary>${t("sources", { n: count(one.length) })}</summary><ol>
    ${one.map((each) => html`<li><a href=${each.url} title=${each.url} target="_blank" rel="noopener noreferrer nofollow" dir="auto">${each.title || each.url}</a></li>`)}
  </ol></details>`;
}

// --- actions ---

function Cancelled({ run }) {
  if (run.status !== "cancelled") return null;
  const finished = run.tool_calls.filter((call) => standing(call) === "finished");
  const dropped = run.tool_calls.filter((call) => call.state === "cancelled");
  if (!run.tool_calls.length) return html`<p class="notice">${t("cancelled_nothing")}</p>`;
  return html`<div class="notice"><p>${finished.length ? t("cancelled_finished") : t("cancelled_no_tool")}</p>
    ${finished.length > 0 && html`<ul>${finished.map((call) => html`<li><code>${call.name}</code></li>`)}</ul>`}
    ${dropped.length > 0 && html`<p>${t("cancelled_dropped", { tools: dropped.map((call) => call.name).join(", ") })}</p>`}</div>`;
}

function Actions({ run, onError }) {
  const [asked, setAsked] = useState(/** @type {"cancel" | "delete" | "code" | undefined} */ (undefined));
  const ended = isFinal(run);
  const close = () => setAsked(undefined);
  async function again() {
    const { input } = await client.input(run);
    const same = { agent: run.agent, stream: run.stream, metadata: run.metadata };
    const messages = input.map(({ role, content }) => ({ role, content }));
    const next = await client.submit({ ...same, input: /** @type {RunBody["input"]} */ (messages) });
    navigate(`/runs/${next.id}`, next);
  }
  return html`<div class="actions">
    ${!ended && html`<button type="button" onClick=${() => setAsked("cancel")}>${t("cancel")}</button>`}
    ${
      !token &&
      html`<${Link} class="button" to=${`/sessions/${run.session_id}`}>${t("continue")}<//>
    ${ended && html`<${Button} onPress=${again} onError=${onError}>${t("run_again")}<//>`}
    <button type="button" onClick=${() => setAsked("code")}>${t("as_code")}</button>
    ${run.batch_id && html`<${Link} class="button" to=${`/batches/${run.batch_id}`}>${t("its_batch")}<//>`}
    ${ended && html`<button type="button" class="danger" onClick=${() => setAsked("delete")}>${t("delete")}</button>`}`
    }
    ${
      asked === "cancel" &&
      html`<${Confirm} title=${t("cancel_title")} text=${t("cancel_text")} yes=${t("cancel_yes")} onClose=${close} onYes=${async () => {
        await client.cancel(run);
        close();
      }} />`
    }
    ${
      asked === "delete" &&
      html`<${Confirm} title=${t("delete_title")} text=${t("delete_text")} yes=${t("delete_yes")} onClose=${close} onYes=${async () => {
        await client.delete(run);
        navigate("/runs");
      }} />`
    }
    ${asked === "code" && html`<${Code} run=${run} onClose=${close} />`}
  </div>`;
}

function Code({ run, onClose }) {
  const [made, setMade] = useState(/** @type {{ parts?: { name: string, text: string }[], error?: DormouseError }} */ ({}));
  useEffect(() => {
    client.input(run).then(
      ({ input }) => setMade({ parts: snippets(run, input, needsKey) }),
      (error) => setMade({ error }),
    );
  }, [run.id]);
  return html`<${Dialog} title=${t("as_code")} class="drawer" onClose=${onClose}>
    ${made.error && html`<p role="alert">${sentence(made.error)}</p>`}
    ${!made.parts && !made.error && html`<${Loading} />`}
    ${made.parts?.map(
      ({ name, text }) => html`<section key=${name}>
        <header><h3>${name}</h3><${Copy} text=${text}>${t("copy")}<//></header>
        <pre class="json" dir="ltr" tabindex="0">${visible(text)}</pre>
      </section>`,
    )}
  <//>`;
}

// --- the view ---

export function Run({ id, start }) {
  const { view, error, connection, retry } = useRun(id, start);
  const run = view?.run;
  const ended = run && isFinal(run);
  const now = useNow(1000, !ended);
  const timeline = useTimeline(run);
  const [wrong, setWrong] = useState();
  const [asked, setAsked] = useState(/** @type {import("../vendor/dormouse-client.js").Question[]} */ ([]));
  useEffect(() => {
    if (run) document.title = `${t(`status_${run.status}`)} · ${run.title}`;
  }, [run?.status, run?.title]);
  if (!run)
    return error
      ? html`<${Problem} title=${t("run")} error=${error} onRetry=${retry} />`
      : html`<${Loading} />${connection?.state === "lost" && html`<p class="notice" role="status">${t("reconnecting")} ${connection.error?.message ?? ""}</p>`}`;
  const failed = (problem, ids = []) => {
    setWrong(problem);
    setAsked(problem ? ids : []);
  };
  const others = wrong ? decided(run, asked) : [];
  return html`<article class="run">
    <${Announcement} run=${run} connection=${connection} />
    <header class="head"><h1 dir="auto">${visible(run.title)}</h1>
      <p class="standing"><${Status} status=${run.status} /> <span class="sentence" dir="auto">${waitingSentence(run, now)}</span></p>
      <${Connection} run=${run} connection=${connection} now=${now} />
      <${Figures} run=${run} now=${now} /></header>
    ${run.error && html`<p class="dim">${t("error_code")} <code>${run.error.code}</code></p>`}
    ${error && html`<${Problem} error=${error} onRetry=${retry} />`}
    ${others.length > 0 ? html`<p class="notice" role="alert">${others.join(" ")}</p>` : wrong && html`<${Problem} error=${wrong} />`}
    <${Approval} run=${run} onError=${failed} />
    <${Cancelled} run=${run} />
    <${Input} run=${run} />
    <${Text} run=${run} text=${view.text} stale=${view.stale} />
    <${Calls} run=${run} now=${now} />
    ${timeline && !isLater(run, now) && html`<${Timeline} timeline=${timeline} run=${run} now=${ended ? 0 : now} />`}
    <${Actions} run=${run} onError=${failed} />
  </article>`;
}
