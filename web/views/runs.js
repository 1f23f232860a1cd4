// All runs, newest first. The list moves by itself; what is read does not move away under the reader.
import { Problem, client, sentence } from "../access.js";
import {
  Button,
  Empty,
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
  repeatedly,
  t,
  useEffect,
  useLoad,
  useNow,
  usePages,
  useRef,
  useState,
} from "../base.js";
import { visible } from "../json.js";
import { navigate } from "../router.js";

const TABS = {
  all: undefined,
  active: ["queued", "in_progress", "requires_action"],
  needs_you: ["requires_action"],
  failed: ["failed"],
};
const EVERY = 5000;

/** Pages of runs as one list that is kept up to date: `{ runs, more, news, error, next, show, reload }`. */
function useRuns(status, agent) {
  /** @typedef {import("../vendor/dormouse-client.js").RunSummary} RunSummary */
  /** @typedef {{ runs?: RunSummary[], news?: RunSummary[], cursor?: string | undefined, error?: import("../base.js").DormouseError }} Listed */
  const [state, setState] = useState(/** @type {Listed} */ ({}));
  const [round, setRound] = useState(0);
  const latest = useRef(state);
  latest.current = state;
  const filter = { status, agent: agent || undefined, limit: 20 };
  useEffect(() => {
    const left = new AbortController();
    const { signal } = left;
    const keep = (more) => signal.aborted || setState((last) => ({ ...last, ...more }));
    setState({});
    async function look() {
      try {
        if (!document.hidden || !latest.current.runs) await fresh(signal, keep);
      } catch (error) {
        keep({ error });
      }
    }
    const end = repeatedly(look, EVERY);
    return () => {
      left.abort();
      end();
    };
  }, [status, agent, round]);

  async function fresh(signal, keep) {
    const page = await client.list({ ...filter, signal });
    const { runs, cursor } = latest.current;
    if (!runs) return keep({ runs: page.data, cursor: page.next_cursor, news: [], error: undefined });
    const now = new Map(page.data.map((run) => [run.id, run]));
    const known = new Set(runs.map(({ id }) => id));
    const news = page.data.filter(({ id }) => !known.has(id));
    // What was shown and has left this page's filter is asked for by itself, a few at a time, and stays where it is.
    const oldest = page.data.at(-1)?.created_at ?? "";
    const gone = runs.filter((run) => !isFinal(run) && !now.has(run.id) && (!page.next_cursor || run.created_at >= oldest)).slice(0, 5);
    for (const run of gone) now.set(run.id, await client.get(run.id, { signal }).catch(() => ({ ...run, status: run.status })));
    const kept = runs.map((run) => now.get(run.id) ?? run);
    // Nobody reads further down: what is new comes at once. Else a line says so, and nothing jumps.
    if (scrollY < 80) keep({ runs: [...news, ...kept], news: [], cursor, error: undefined });
    else keep({ runs: kept, news, cursor, error: undefined });
    return undefined;
  }
  async function next() {
    const page = await client.list({ ...filter, cursor: state.cursor });
    setState(({ runs = [], ...last }) => ({
      ...last,
      runs: [...runs, ...page.data.filter(({ id }) => !runs.some((run) => run.id === id))],
      cursor: page.next_cursor,
    }));
  }
  const show = () => {
    setState(({ news = [], runs = [], ...last }) => ({ ...last, runs: [...news, ...runs], news: [] }));
    scrollTo(0, 0);
  };
  return { ...state, next, show, reload: () => setRound((last) => last + 1) };
}

function Row({ run, now }) {
  const elapsed = run.elapsed_seconds ?? Math.max(0, now - begins(run)) / 1000;
  return html`<li class="run-row"><${Link} to=${`/runs/${run.id}`}>
    <${Status} status=${run.status} />
    <strong class="title" dir="auto">${visible(run.title)}</strong>
    <span class="dim">${run.agent}</span>
    <span class="dim"><${Time} at=${run.created_at} form="ago" /></span>
    <span class="dim figure">${isLater(run, now) ? t("starts_at", { time: dayAndTime(run.start_at) }) : duration(elapsed)}</span>
    <span class="dim figure">${t("n_tokens", { n: count(run.usage.total_tokens) })}</span>
  <//></li>`;
}

function Search() {
  const [text, setText] = useState("");
  const [wrong, setWrong] = useState(false);
  function go(event) {
    event.preventDefault();
    const id = text.trim();
    if (/^run_[0-9a-f]{32}_\d{1,8}$/.test(id)) navigate(`/runs/${id}`);
    else if (/^batch_[0-9a-f]{32}$/.test(id)) navigate(`/batches/${id}`);
    else if (/^[0-9a-f]{32}$/.test(id)) navigate(`/sessions/${id}`);
    else setWrong(true);
  }
  return html`<form class="search" role="search" onSubmit=${go}>
    <input type="search" aria-label=${t("search")} placeholder=${t("search")} value=${text} aria-invalid=${wrong} spellcheck="false" onInput=${(
      event,
    ) => {
      setText(event.target.value);
      setWrong(false);
    }} />
    <button>${t("open")}</button>${wrong && html`<small role="alert">${t("search_wrong")}</small>`}
  </form>`;
}

function Batches() {
  const { pages, error, reload, next } = usePages((given) => client.batches(given), []);
  const [wrong, setWrong] = useState();
  if (!pages.length) return error ? html`<${Problem} error=${error} onRetry=${reload} />` : html`<${Loading} />`;
  const all = pages.flatMap((page) => page.data);
  if (!all.length) return html`<${Empty}>${t("no_batches")}<//>`;
  return html`<ul class="rows">${all.map(
    (batch) => html`<li class="run-row" key=${batch.id}><${Link} to=${`/batches/${batch.id}`}>
      <${Status} status=${batch.status} /><strong class="title"><code>${batch.id.slice(0, 14)}…</code></strong>
      <span class="dim">${batch.agent ?? ""}</span><span class="dim"><${Time} at=${batch.created_at} form="ago" /></span>
    <//></li>`,
  )}</ul>
    ${next && html`<${Button} onPress=${next} onError=${setWrong}>${t("load_more")}<//>`}<${Problem} error=${wrong} />`;
}

function List({ tab, agent }) {
  const { runs, news = [], cursor, error, next, show, reload } = useRuns(TABS[tab], agent);
  const [wrong, setWrong] = useState();
  const now = useNow(1000, runs?.some((run) => !isFinal(run)) ?? false);
  if (!runs) return error ? html`<${Problem} error=${error} onRetry=${reload} />` : html`<${Loading} />`;
  return html`${error && html`<p class="notice" role="status">${sentence(error)}</p>`}
    ${news.length > 0 && html`<button type="button" class="news" onClick=${show}>${t("news", { n: count(news.length) })}</button>`}
    ${runs.length > 0 && html`<ul class="rows">${runs.map((run) => html`<${Row} key=${run.id} run=${run} now=${now} />`)}</ul>`}
    ${!runs.length && html`<${Empty}>${t(`empty_${tab}`)} ${tab === "all" && html`<${Link} to="/">${t("new_run")}<//>`}<//>`}
    ${cursor && html`<${Button} onPress=${next} onError=${setWrong}>${t("load_more")}<//>`}<${Problem} error=${wrong} />`;
}

export function Runs() {
  const [tab, setTab] = useState(() => new URLSearchParams(location.search).get("tab") ?? "all");
  const [agent, setAgent] = useState("");
  const { data } = useLoad((signal) => client.agents({ signal }).catch(() => ({ data: [] })), []);
  useEffect(() => {
    document.title = `${t("runs")} · Dormouse`;
    history.replaceState(null, "", (tab === "all" ? "/ui/runs" : `/ui/runs?tab=${tab}`) + location.hash);
  }, [tab]);
  const button = (each) =>
    html`<button type="button" key=${each} aria-current=${each === known ? "page" : undefined} onClick=${() => setTab(each)}>${t(`tab_${each}`)}</button>`;
  const known = tab in TABS || tab === "batches" ? tab : "all";
  return html`<section class="runs"><header><h1>${t("runs")}</h1><${Search} /></header>
    <div class="filters">
      <nav class="tabs" aria-label=${t("runs")}>${[...Object.keys(TABS), "batches"].map(button)}</nav>
      ${
        known !== "batches" &&
        html`<label class="pick">${t("agent")}${" "}
          <select value=${agent} onChange=${(event) => setAgent(event.target.value)}>
            <option value="">${t("any")}</option>${data?.data.map(({ name }) => html`<option>${name}</option>`)}
          </select>
        </label>`
      }
    </div>
    ${known === "batches" ? html`<${Batches} />` : html`<${List} key=${`${known} ${agent}`} tab=${known} agent=${agent} />`}
  </section>`;
}
