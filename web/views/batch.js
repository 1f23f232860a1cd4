// A batch: how far it is, what failed and why, and its results as a file.
import { Confirm, Problem, client, token } from "../access.js";
import { Button, Empty, Link, Loading, Status, Time, count, html, isFinal, t, useEffect, usePages, useState } from "../base.js";
import { visible } from "../json.js";
import { navigate } from "../router.js";

const STATES = ["completed", "incomplete", "failed", "cancelled", "active", "pending"];

function useBatch(id) {
  const [state, setState] = useState(
    /** @type {{ batch?: import("../vendor/dormouse-client.js").Batch, error?: import("../base.js").DormouseError }} */ ({}),
  );
  const [round, setRound] = useState(0);
  useEffect(() => {
    const left = new AbortController();
    const keep = (more) => left.signal.aborted || setState((last) => ({ ...last, ...more }));
    keep({ error: undefined });
    client.waitBatch(id, { signal: left.signal, onChange: (batch) => keep({ batch }) }).then(
      (batch) => keep({ batch }),
      (error) => keep({ error }),
    );
    return () => left.abort();
  }, [id, round]);
  return { ...state, retry: () => setRound((last) => last + 1) };
}

function Bar({ counts }) {
  const said = STATES.filter((each) => counts[each]).map((each) => `${count(counts[each])} ${t(`status_${each}`)}`);
  const segment = (each) => html`<span key=${each} class=${`is-${each}`} style=${{ flexGrow: counts[each] }}></span>`;
  return html`<div class="segments" role="img" aria-label=${said.join(", ")}>${STATES.filter((each) => counts[each]).map(segment)}</div>
    <ul class="legend">${STATES.filter((each) => counts[each]).map((each) => html`<li key=${each}><${Status} status=${each} /> ${count(counts[each])}</li>`)}</ul>`;
}

function Item({ item }) {
  const name = item.id ?? `#${item.index}`;
  const words = item.error?.message ?? item.error?.code ?? item.text.slice(0, 160);
  const inner = html`<${Status} status=${item.status} /><strong class="title" dir="auto">${visible(name)}</strong><span class="dim words" dir="auto">${visible(words ?? "")}</span>`;
  return html`<li class="run-row">${item.run_id && !token ? html`<${Link} to=${`/runs/${item.run_id}`}>${inner}<//>` : html`<div>${inner}</div>`}</li>`;
}

/** The items of some statuses, page after page; read anew when their number changes. */
function Items({ batch, status, title, number }) {
  const { pages, error, next } = usePages((given) => client.batchItems(batch, { ...given, status, limit: 20 }), [batch.id, number]);
  const [wrong, setWrong] = useState();
  const items = pages.flatMap((page) => page.data);
  if (!items.length) return error ? html`<${Problem} error=${error} />` : null;
  return html`<section><h2>${title}</h2><ul class="rows">${items.map((item) => html`<${Item} key=${item.index} item=${item} />`)}</ul>
    ${next && html`<${Button} onPress=${next} onError=${setWrong}>${t("load_more")}<//>`}<${Problem} error=${wrong ?? error} /></section>`;
}

async function save(batch) {
  const lines = [];
  for await (const item of client.items(batch)) lines.push(`${JSON.stringify(item)}\n`);
  const link = Object.assign(document.createElement("a"), {
    href: URL.createObjectURL(new Blob(lines, { type: "application/jsonl" })),
    download: `${batch.id}.jsonl`,
  });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

export function Batch({ id }) {
  const { batch, error, retry } = useBatch(id);
  const [wrong, setWrong] = useState();
  const [asked, setAsked] = useState(false);
  useEffect(() => void (document.title = `${t("batch")} · Dormouse`), []);
  if (!batch) return error ? html`<${Problem} title=${t("batch")} error=${error} onRetry=${retry} />` : html`<${Loading} />`;
  const { counts } = batch;
  const again = async () => navigate(`/batches/${(await client.retryBatch(batch)).id}`);
  return html`<article class="batch"><header class="head"><h1>${t("batch")}</h1>
      <p class="standing" role="status"><${Status} status=${batch.status} /> ${t("batch_progress", { done: count(counts.total - counts.pending - counts.active), total: count(counts.total) })}</p>
      <p class="dim"><code>${batch.id}</code> · <${Time} at=${batch.created_at} />${batch.retry_of && html` · <${Link} to=${`/batches/${batch.retry_of}`}>${t("retry_of")}<//>`}</p></header>
    <${Bar} counts=${counts} />
    ${error && html`<${Problem} error=${error} onRetry=${retry} />`}<${Problem} error=${wrong} />
    ${
      !token &&
      html`<div class="actions">
      ${isFinal(batch) && counts.failed > 0 && html`<${Button} class="main" onPress=${again} onError=${setWrong}>${t("retry_failed", { n: count(counts.failed) })}<//>`}
      <${Button} onPress=${() => save(batch)} onError=${setWrong}>${t("download")}<//>
      ${!isFinal(batch) && html`<button type="button" onClick=${() => setAsked(true)}>${t("cancel_batch")}</button>`}
    </div>
    <${Items} batch=${batch} status=${["failed"]} title=${t("status_failed")} number=${counts.failed} />
    <${Items} batch=${batch} status=${["active", "pending", "incomplete", "cancelled", "completed"]} title=${t(counts.failed ? "others" : "items")} number=${counts.total - counts.pending} />`
    }
    ${counts.total === 0 && html`<${Empty}>${t("no_items")}<//>`}
    ${
      asked &&
      html`<${Confirm} title=${t("cancel_batch_title")} text=${t("cancel_batch_text")} yes=${t("cancel_batch_yes")} onClose=${() => setAsked(false)} onYes=${async () => {
        await client.cancelBatch(batch);
        setAsked(false);
        retry();
      }} />`
    }
  </article>`;
}
